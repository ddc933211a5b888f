//! `probe hog memory SIZE` and `probe hog cpu SECONDS`: use up what a limit should bound.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::args::{Args, Bytes, Seconds};

const MIB: u64 = 1 << 20;
/// The smallest page of any Linux; touching one byte in each makes all of them real.
const PAGE: usize = 4096;

/// Uses memory or a CPU.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    match args.word::<String>("memory or cpu")?.as_str() {
        "memory" => {
            let hold: Option<Seconds> = args.option("--hold")?;
            let Bytes(size) = args.word("SIZE")?;
            args.end()?;
            memory(size, hold.map(|Seconds(time)| time))
        }
        "cpu" => {
            let Seconds(time) = args.word("SECONDS")?;
            args.end()?;
            cpu(time);
            Ok(())
        }
        other => Err(format!("hog {other:?}: it is memory or cpu")),
    }
}

/// Takes `size` bytes, one MiB at a time, so that the last line printed says how far it came
/// when the kernel kills it.
fn memory(size: u64, hold: Option<Duration>) -> Outcome {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    let step = (size / 16).clamp(MIB, 64 * MIB);
    let mut taken = 0;
    let mut printed = 0;
    while taken < size {
        let length = MIB.min(size - taken);
        chunks.push(
            touched(length)
                .map_err(|error| format!("no more memory after {}: {error}", in_mib(taken)))?,
        );
        taken += length;
        if taken - printed >= step || taken == size {
            say(&format!("{} of {}", in_mib(taken), in_mib(size)));
            printed = taken;
        }
    }
    std::thread::sleep(hold.unwrap_or_default());
    black_box(&chunks);
    Ok(())
}

/// `length` bytes, each page of them written to: memory counts only once it is touched.
fn touched(length: u64) -> Result<Vec<u8>, String> {
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    let mut chunk: Vec<u8> = Vec::new();
    chunk.try_reserve_exact(length).map_err(|error| error.to_string())?;
    chunk.resize(length, 0);
    for byte in chunk.iter_mut().step_by(PAGE) {
        *byte = 1;
    }
    Ok(black_box(chunk))
}

/// Spins for `time` of the clock and says how much it got done: half the CPU, half the number.
fn cpu(time: Duration) {
    let start = Instant::now();
    let mut iterations: u64 = 0;
    let mut next = Duration::from_secs(1);
    loop {
        for _ in 0..100_000 {
            iterations = black_box(iterations + 1);
        }
        let elapsed = start.elapsed();
        if elapsed >= time {
            break;
        }
        if elapsed >= next {
            say(&format!("{:.1} s: {iterations} iterations", elapsed.as_secs_f64()));
            next += Duration::from_secs(1);
        }
    }
    say(&format!("{iterations} iterations in {:.2} s", start.elapsed().as_secs_f64()));
}

/// Prints at once: the next moment may be the last.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever read us may be gone; that is no reason to stop.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn in_mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}
