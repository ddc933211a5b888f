//! What was measured, and what was aimed at.

use std::time::Duration;

use crate::measure::Sample;
use crate::{floor, ours};

/// Prints the table and the aims.
///
/// `smallest_peak` is the least memory that could be seen, `supervisor` the private memory of a
/// detached container's supervisor; both in kB.
pub fn print(samples: &[Sample], smallest_peak: u64, supervisor: Option<u64>) {
    let all = Samples(samples);
    println!("Start to exit of a static program that does nothing, in ms.\n");
    println!(
        "{:<20} {:>7} {:>7} {:>7} {:>7}   {:>7}",
        "", "median", "floors", "10 %", "90 %", "peak kB"
    );
    for sample in samples {
        println!(
            "{:<20} {:>7.2} {:>7} {:>7.2} {:>7.2}   {:>7}",
            sample.name,
            milliseconds(sample.median()),
            all.floors(&sample.name).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            milliseconds(sample.percentile(10)),
            milliseconds(sample.percentile(90)),
            sample.peak,
        );
    }
    println!("\n{} runs each. Peak: the largest process of the tree;", samples[0].times.len());
    println!("less than {smallest_peak} kB cannot be seen.\n");
    aims(&all, supervisor);
}

fn aims(all: &Samples, supervisor: Option<u64>) {
    let (part2, part5) = (ours::PART2, ours::PART5);
    let megabytes = |name| Some(all.find(name)?.peak as f64 / 1024.0);
    aim("part 2, in floors", all.floors(part2), Limit::AtMost(1.5));
    aim("part 2, in times of bwrap", all.ratio(part2, "bwrap"), Limit::Below(1.0));
    aim("part 5, in times of crun", all.ratio(part5, "crun"), Limit::Below(1.0));
    aim("part 5, in floors", all.floors(part5), Limit::AtMost(3.0));
    aim("part 2, peak in MB", megabytes(part2), Limit::Below(4.0));
    aim("part 5, peak in MB", megabytes(part5), Limit::Below(4.0));
    let supervisor = supervisor.map(|kb| kb as f64);
    aim("a supervisor, private kB", supervisor, Limit::Below(200.0));
}

/// What an aim allows.
enum Limit {
    AtMost(f64),
    Below(f64),
}

fn aim(what: &str, found: Option<f64>, limit: Limit) {
    let (words, limit, reached) = match limit {
        Limit::AtMost(limit) => ("at most", limit, found.map(|found| found <= limit)),
        Limit::Below(limit) => ("below", limit, found.map(|found| found < limit)),
    };
    let verdict = match reached {
        Some(true) => "reached",
        Some(false) => "NOT REACHED",
        None => "not measured",
    };
    let found = found.map_or("-".to_owned(), |found| format!("{found:.2}"));
    println!("{what:<26} {found:>7}   aim: {words} {limit:<5} {verdict}");
}

struct Samples<'a>(&'a [Sample]);

impl Samples<'_> {
    /// The side whose name starts so.
    fn find(&self, name: &str) -> Option<&Sample> {
        self.0.iter().find(|sample| sample.name.starts_with(name))
    }

    /// How many times the median of `other` that of `name` is.
    fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        let (this, other) = (self.find(name)?, self.find(other)?);
        Some(this.median().as_secs_f64() / other.median().as_secs_f64())
    }

    fn floors(&self, name: &str) -> Option<f64> {
        self.ratio(name, floor::NAME)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
