//! What the cgroups of a container have counted.

use std::path::PathBuf;
use std::time::Duration;

use crate::oom::value_of;

/// The counters of a container at one moment. None: nothing counts it here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time used so far.
    pub cpu: Option<Duration>,
    /// Memory in bytes, without files that the kernel can forget at once (as `docker stats`).
    pub memory: Option<u64>,
    /// Memory in bytes that only swapping or killing can give back.
    pub anonymous: Option<u64>,
    /// The limit in bytes; None: unlimited.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How many there may be; None: unlimited.
    pub pids_limit: Option<u64>,
    /// Bytes read from and written to block devices.
    pub io: Option<(u64, u64)>,
    /// In how many periods (0.1 s) it was stopped because its CPU time was used up.
    pub throttled: Option<u64>,
    /// How many of its processes the kernel killed because its memory was used up.
    pub oom_kills: Option<u64>,
}

/// Version 1 shows "unlimited" as the largest whole page.
const UNLIMITED: u64 = 1 << 62;

impl Usage {
    /// Reads the counters of a container that is in `cgroups`.
    pub fn of(cgroups: &[PathBuf]) -> Self {
        let read = |name: &str| {
            cgroups.iter().find_map(|dir| std::fs::read_to_string(dir.join(name)).ok())
        };
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let memory_stat = read("memory.stat").unwrap_or_default();
        let in_stat = |v1, v2| value_of(&memory_stat, v1).or_else(|| value_of(&memory_stat, v2));
        let forgettable = in_stat("total_inactive_file", "inactive_file").unwrap_or(0);
        let cpu_stat = read("cpu.stat").unwrap_or_default();
        let micros = value_of(&cpu_stat, "usage_usec").map(Duration::from_micros);
        Self {
            cpu: micros.or_else(|| number("cpuacct.usage").map(Duration::from_nanos)),
            memory: number("memory.current")
                .or_else(|| number("memory.usage_in_bytes"))
                .map(|bytes| bytes.saturating_sub(forgettable)),
            anonymous: in_stat("total_rss", "anon"),
            memory_limit: number("memory.max")
                .or_else(|| number("memory.limit_in_bytes"))
                .filter(|bytes| *bytes < UNLIMITED),
            pids: number("pids.current"),
            pids_limit: number("pids.max"),
            io: read("io.stat")
                .map(|text| io_v2(&text))
                .or_else(|| read("blkio.throttle.io_service_bytes").map(|text| io_v1(&text))),
            throttled: value_of(&cpu_stat, "nr_throttled"),
            oom_kills: ["memory.events", "memory.oom_control"]
                .iter()
                .find_map(|name| value_of(&read(name)?, "oom_kill")),
        }
    }
}

/// Lines like `254:0 rbytes=1 wbytes=2 rios=…`.
fn io_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        text.split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// Lines like `254:0 Read 1`.
fn io_v1(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        text.lines()
            .filter_map(|line| line.split_once(' ')?.1.strip_prefix(kind)?.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    };
    (sum("Read "), sum("Write "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_sum_over_devices() {
        let v1 = "254:0 Read 10\n254:0 Write 20\n254:0 Sync 5\n7:0 Read 1\nTotal 36\n";
        let v2 = "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=9 dios=0\n7:0 rbytes=1 wbytes=0\n";
        assert_eq!(io_v1(v1), (11, 20));
        assert_eq!(io_v2(v2), (11, 20));
        assert_eq!(io_v2(""), (0, 0));
    }

    #[test]
    fn nothing_is_counted_without_a_cgroup() {
        assert_eq!(Usage::of(&[]), Usage::default());
    }
}
