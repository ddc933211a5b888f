//! Running the sides: time and memory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{UsageWho, getrusage};
use shared::{Call, Error, Result};

/// Tells this binary to run a program and to print the peak of its memory.
pub const PEAK_FLAG: &str = "--peak";

/// How often the peak of memory is measured; the median counts.
const PEAK_RUNS: usize = 9;

/// A runtime, and how it is told to start `/bin/true`.
pub struct Side {
    /// As it stands in the table.
    pub name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// The mount namespace it runs in; None: ours.
    view: Option<File>,
}

impl Side {
    /// A side that runs `program`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            view: None,
        }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Adds a variable to its environment.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// Lets it run in another mount namespace.
    pub fn in_view(mut self, view: File) -> Self {
        self.view = Some(view);
        self
    }

    fn command(&self) -> Command {
        self.started_by(Command::new(&self.program))
    }

    fn started_by(&self, mut command: Command) -> Command {
        let environment = self.environment.iter().map(|(key, value)| (key, value));
        command.args(&self.arguments).envs(environment);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Does `action` in the side's mount namespace. The bench has one thread, so it can go there
    /// and come back, outside of what is timed.
    fn in_its_view<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(view) = &self.view else { return action() };
        let ours = File::open("/proc/self/ns/mnt").call("open(\"/proc/self/ns/mnt\")")?;
        setns(view, CloneFlags::CLONE_NEWNS).call("setns")?;
        let result = action();
        setns(&ours, CloneFlags::CLONE_NEWNS).call("setns")?;
        result
    }
}

/// What was measured of a side.
pub struct Sample {
    /// The side's name.
    pub name: String,
    /// From before its process is made until it has been waited for; sorted.
    pub times: Vec<Duration>,
    /// The largest process of its tree, in kB.
    pub peak: u64,
}

impl Sample {
    /// The time that `percent` of the runs did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.times[(self.times.len() - 1) * percent / 100]
    }

    /// The median time.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }
}

/// Runs all sides in turn, `rounds` times after some uncounted ones.
pub fn measure(sides: &[Side], rounds: usize, warm_up: usize) -> Result<Vec<Sample>> {
    let mut times = vec![Vec::with_capacity(rounds); sides.len()];
    let mut order = Order::of(sides.len());
    for round in 0..warm_up + rounds {
        for &side in order.shuffled() {
            let time = once(&sides[side])?;
            if round >= warm_up {
                times[side].push(time);
            }
        }
    }
    let mut samples = Vec::new();
    for (side, mut times) in sides.iter().zip(times) {
        times.sort();
        samples.push(Sample { name: side.name.clone(), times, peak: peak(side)? });
    }
    Ok(samples)
}

/// The sides in an order that changes: what the kernel cleans up after one run (a network
/// namespace, say) then slows down not always the same successor.
struct Order {
    order: Vec<usize>,
    state: u64,
}

impl Order {
    fn of(length: usize) -> Self {
        Self { order: (0..length).collect(), state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn shuffled(&mut self) -> &[usize] {
        for last in (1..self.order.len()).rev() {
            // xorshift: any will do, and it is the same in every run of the bench.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.order.swap(last, self.state as usize % (last + 1));
        }
        &self.order
    }
}

fn once(side: &Side) -> Result<Duration> {
    let mut command = side.command();
    side.in_its_view(|| {
        let start = Instant::now();
        let status = command.status();
        let time = start.elapsed();
        match status {
            Ok(status) if status.success() => Ok(time),
            Ok(status) => Err(Error::new(format!("{} failed: {status}", side.name))),
            Err(error) => Err(Error::new(format!("cannot start {}", side.name)).because(error)),
        }
    })
}

/// Runs a side once and answers its exit status and what it complained about.
pub fn output(side: &Side) -> Result<(Option<i32>, String)> {
    let mut command = side.command();
    side.in_its_view(|| {
        let output = command.stderr(Stdio::piped()).output();
        let output =
            output.map_err(|e| Error::new(format!("cannot start {}", side.name)).because(e))?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    })
}

/// The peak of a side's memory in kB: `ru_maxrss` of the largest process of its tree.
///
/// A process hands the peak of its memory on through `fork` and `execve`, so a runtime started by
/// the bench would show at least the bench's. A fresh, small process starts it: this binary
/// again, which has done nothing yet. Its own size is the smallest peak that can be seen; see
/// [`smallest_peak`].
fn peak(side: &Side) -> Result<u64> {
    let this = std::env::current_exe().call("readlink(\"/proc/self/exe\")")?;
    let mut peaks = Vec::new();
    for _ in 0..PEAK_RUNS {
        let mut launcher = Command::new(&this);
        launcher.arg(PEAK_FLAG).arg(&side.program);
        let mut command = side.started_by(launcher);
        command.stdout(Stdio::piped());
        let output = side.in_its_view(|| Ok(command.output().call("execve(the bench)")?))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let peak = text.lines().last().and_then(|line| line.trim().parse().ok());
        peaks.push(peak.ok_or_else(|| Error::new(format!("cannot measure {}", side.name)))?);
    }
    peaks.sort_unstable();
    Ok(peaks[PEAK_RUNS / 2])
}

/// What [`peak`] answers for a program that needs nothing, in kB.
pub fn smallest_peak() -> Result<u64> {
    peak(&Side::new("nothing", "/proc/self/exe").args([PEAK_FLAG, "/nothing"]))
}

/// Runs a program, waits, and prints the peak of its memory in kB: [`PEAK_FLAG`].
pub fn report_peak(program: &str, arguments: &[&str]) -> Result<()> {
    // `posix_spawn` does not copy us, and `wait4` has counted it and all it waited for.
    let _ = Command::new(program).args(arguments).stdout(Stdio::null()).status();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).call("getrusage")?;
    println!("{}", usage.max_rss());
    Ok(())
}
