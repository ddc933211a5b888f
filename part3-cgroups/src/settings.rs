//! From limits to what is written into which file of a cgroup, and whether it took effect.
//!
//! [`v1`] and [`v2`] only compute. The files are described in the kernel's
//! `Documentation/admin-guide/cgroup-v1/` and `cgroup-v2.rst`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use shared::error::{Call, Failed};
use shared::recipe::Outcome;
use shared::shell::quoted;

use crate::hierarchy::{Controller, Version};
use crate::limits::{Limits, Rates};

/// The time over which a quota of CPU time is counted, in microseconds; the kernel's default.
const PERIOD: u64 = 100_000;
/// cgroup v2's weight of a cgroup that was given none.
const DEFAULT_WEIGHT: u64 = 100;
/// cgroup v1's shares of a cgroup that was given none.
const DEFAULT_SHARES: u64 = 1024;

/// One value for one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Whose file it is.
    pub controller: Controller,
    /// The limit, as the service file calls it.
    pub key: &'static str,
    /// Where it is written: to all of these that exist.
    pub files: &'static [&'static str],
    /// What is written.
    pub value: String,
    /// Where the effect is read back, if not in the same file.
    pub effect: Option<&'static str>,
    /// Whether it does not matter if none of the files exists.
    pub optional: bool,
}

impl Setting {
    fn new(
        controller: Controller,
        key: &'static str,
        files: &'static [&'static str],
        value: impl ToString,
    ) -> Self {
        Self { controller, key, files, value: value.to_string(), effect: None, optional: false }
    }

    /// Docker's default for swap is not worth refusing a container on a kernel without it.
    fn optional_if(self, optional: bool) -> Self {
        Self { optional, ..self }
    }
}

/// What is written for these limits.
pub fn settings(limits: &Limits, version: Version) -> Vec<Setting> {
    match version {
        Version::V1 => v1(limits),
        Version::V2 => v2(limits),
    }
}

// ANCHOR: v1
/// What is written on cgroup v1.
pub fn v1(limits: &Limits) -> Vec<Setting> {
    use Controller::{Cpu, Cpuset, Io, Memory, Pids};
    let mut all = Vec::new();
    let mut set = |controller, key, files, value: String| {
        all.push(Setting::new(controller, key, files, value));
    };
    if let Some(bytes) = limits.memory {
        set(Memory, "mem_limit", &["memory.limit_in_bytes"], bytes.to_string());
    }
    if let Some(bytes) = limits.reservation {
        set(Memory, "mem_reservation", &["memory.soft_limit_in_bytes"], bytes.to_string());
    }
    if let Some(shares) = limits.shares {
        set(Cpu, "cpu_shares", &["cpu.shares"], shares.to_string());
    }
    if let Some(cpus) = limits.cpus {
        set(Cpu, "cpus", &["cpu.cfs_quota_us"], quota(cpus).to_string());
    }
    // ANCHOR_END: v1
    if let Some(pids) = limits.pids {
        set(Pids, "pids_limit", &["pids.max"], or_max(pids));
    }
    if let Some(weight) = limits.io_weight {
        const FILES: &[&str] = &["blkio.weight", "blkio.bfq.weight"];
        set(Io, "blkio_config", FILES, weight.to_string());
    }
    for (device, weight) in &limits.io_weights {
        const FILES: &[&str] = &["blkio.weight_device", "blkio.bfq.weight_device"];
        set(Io, "blkio_config", FILES, format!("{device} {weight}"));
    }
    for rates in &limits.io_rates {
        let rate_files: [(&[&str], _); 4] = [
            (&["blkio.throttle.read_bps_device"], rates.read_bps),
            (&["blkio.throttle.write_bps_device"], rates.write_bps),
            (&["blkio.throttle.read_iops_device"], rates.read_iops),
            (&["blkio.throttle.write_iops_device"], rates.write_iops),
        ];
        for (files, rate) in rate_files {
            if let Some(rate) = rate {
                set(Io, "blkio_config", files, format!("{} {rate}", rates.device));
            }
        }
    }
    // After the memory limit: the sum must never be less than it.
    if let Some(total) = memory_and_swap(limits) {
        const FILES: &[&str] = &["memory.memsw.limit_in_bytes"];
        let optional = limits.memory_and_swap.is_none();
        all.push(Setting::new(Memory, "memswap_limit", FILES, total).optional_if(optional));
    }
    if let Some(cpus) = &limits.cpuset {
        let setting = Setting::new(Cpuset, "cpuset", &["cpuset.cpus"], cpus);
        all.push(Setting { effect: Some("cpuset.effective_cpus"), ..setting });
    }
    all
}

/// What is written on cgroup v2.
pub fn v2(limits: &Limits) -> Vec<Setting> {
    use Controller::{Cpu, Cpuset, Io, Memory, Pids};
    let mut all = Vec::new();
    let mut set = |controller, key, files, value: String| {
        all.push(Setting::new(controller, key, files, value));
    };
    if let Some(bytes) = limits.memory {
        set(Memory, "mem_limit", &["memory.max"], bytes.to_string());
    }
    if let Some(bytes) = limits.reservation {
        set(Memory, "mem_reservation", &["memory.low"], bytes.to_string());
    }
    if let Some(shares) = limits.shares {
        set(Cpu, "cpu_shares", &["cpu.weight"], weight_of(shares).to_string());
    }
    if let Some(cpus) = limits.cpus {
        set(Cpu, "cpus", &["cpu.max"], format!("{} {PERIOD}", quota(cpus)));
    }
    if let Some(pids) = limits.pids {
        set(Pids, "pids_limit", &["pids.max"], or_max(pids));
    }
    const WEIGHTS: &[&str] = &["io.weight", "io.bfq.weight"];
    if let Some(weight) = limits.io_weight {
        set(Io, "blkio_config", WEIGHTS, format!("default {weight}"));
    }
    for (device, weight) in &limits.io_weights {
        set(Io, "blkio_config", WEIGHTS, format!("{device} {weight}"));
    }
    for rates in &limits.io_rates {
        set(Io, "blkio_config", &["io.max"], io_max(rates));
    }
    // ANCHOR: swap
    if let Some(total) = memory_and_swap(limits) {
        // Version 2 limits swap alone, the service file memory and swap together.
        let memory = limits.memory.unwrap_or_default();
        let swap = u64::try_from(total).map_or(-1, |total| total.saturating_sub(memory) as i64);
        let optional = limits.memory_and_swap.is_none();
        let setting = Setting::new(Memory, "memswap_limit", &["memory.swap.max"], or_max(swap));
        all.push(setting.optional_if(optional));
    }
    // ANCHOR_END: swap
    if let Some(cpus) = &limits.cpuset {
        let setting = Setting::new(Cpuset, "cpuset", &["cpuset.cpus"], cpus);
        all.push(Setting { effect: Some("cpuset.cpus.effective"), ..setting });
    }
    all
}

/// Memory and swap together in bytes, -1 unlimited. As with Docker, a container with a memory
/// limit may use as much swap again unless told.
fn memory_and_swap(limits: &Limits) -> Option<i64> {
    limits.memory_and_swap.or_else(|| {
        let memory = i64::try_from(limits.memory?).unwrap_or(i64::MAX);
        Some(memory.saturating_mul(2))
    })
}

// ANCHOR: quota
/// Microseconds of CPU time in each [`PERIOD`].
fn quota(cpus: f64) -> u64 {
    (cpus * PERIOD as f64).round() as u64
}
// ANCHOR_END: quota

fn or_max(number: i64) -> String {
    if number < 0 { "max".to_owned() } else { number.to_string() }
}

// ANCHOR: weight
/// From cgroup v1's shares (2–262144, default 1024) to version 2's weight (1–10000, default 100).
///
/// systemd's formula: default becomes default, and twice the shares stay twice the weight.
/// runc's and crun's do not keep both: their first, `1 + (shares - 2) · 9999 / 262142`, makes 39
/// of 1024; their second, a curve through (1024, 100), makes 59 of 512, so that two services
/// configured 2 : 1 share 5 : 3. The price: beyond 102400 all are equal.
fn weight_of(shares: u64) -> u64 {
    (shares * DEFAULT_WEIGHT / DEFAULT_SHARES).clamp(1, 10_000)
}
// ANCHOR_END: weight

// ANCHOR: io
fn io_max(rates: &Rates) -> String {
    let names = ["rbps", "wbps", "riops", "wiops"];
    let values = [rates.read_bps, rates.write_bps, rates.read_iops, rates.write_iops];
    let mut line = rates.device.to_string();
    for (name, value) in names.iter().zip(values) {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    }
    line
}
// ANCHOR_END: io

/// A [`Setting`] with the cgroup it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The cgroup's directory.
    pub dir: PathBuf,
    /// What is set.
    pub setting: Setting,
}

/// Writes all settings and reads back whether each took effect.
///
/// # Errors
/// The limit, the file and what the kernel answered; `ERANGE` when it took something else.
pub fn write_all(all: &[Located]) -> Outcome {
    // Memory may not exceed memory and swap together, at any moment: which of the two goes first
    // depends on whether they rise or fall. So what is refused is tried again after the rest.
    let refused: Vec<_> = all.iter().filter(|located| located.write().is_err()).collect();
    refused.into_iter().try_for_each(Located::write)?;
    all.iter().try_for_each(Located::check)
}

impl Located {
    /// The same on a command line, where the cgroup's directory is called `variable`.
    pub fn shell(&self, variable: &str) -> String {
        let name = |file| format!("\"${variable}/{file}\"");
        let files: Vec<_> = self.setting.files.iter().map(name).collect();
        let value = quoted(&self.setting.value);
        match files.as_slice() {
            [file] if self.setting.optional => format!("[[ ! -e {file} ]] || echo {value} >{file}"),
            [file] => format!("echo {value} >{file}"),
            several => format!(
                "for f in {}; do [[ ! -e $f ]] || echo {value} >\"$f\"; done",
                several.join(" ")
            ),
        }
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.setting.files.iter().map(|file| self.dir.join(file))
    }

    fn write(&self) -> Outcome {
        let mut written = false;
        for path in self.paths() {
            match write(&path, &self.setting.value) {
                Err(Errno::ENOENT) => {}
                result => {
                    result.call(self.describe(&path))?;
                    written = true;
                }
            }
        }
        match written || self.setting.optional {
            true => Ok(()),
            false => Err(Errno::ENOENT).call(self.describe(&self.dir.join(self.setting.files[0]))),
        }
    }

    fn describe(&self, path: &Path) -> String {
        format!("{}: write({}, \"{}\")", self.setting.key, path.display(), self.setting.value)
    }

    // ANCHOR: check
    fn check(&self) -> Outcome {
        let effect = self.setting.effect.map(|file| self.dir.join(file));
        let paths = effect.map_or_else(|| self.paths().collect(), |path| vec![path]);
        for path in paths {
            let Ok(content) = std::fs::read_to_string(&path) else { continue };
            if !has_taken(&content, &self.setting.value) {
                let found = content.trim_end();
                let call = format!("{}, but it holds \"{found}\"", self.describe(&path));
                return Err(Failed::new(call, Errno::ERANGE));
            }
        }
        Ok(())
    }
    // ANCHOR_END: check
}

/// Writes a value in one go, as the files of a cgroup want it.
pub fn write(path: &Path, value: &str) -> Result<(), Errno> {
    use shared::error::AsErrno;
    File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|e| e.as_errno())
}

/// Whether a file's content says what was written: one of its lines has all the words.
fn has_taken(content: &str, value: &str) -> bool {
    // Version 1 shows "unlimited" as the largest whole page.
    if value == "-1" && content.trim().parse::<u64>().is_ok_and(|bytes| bytes > 1 << 62) {
        return true;
    }
    content
        .lines()
        .any(|line| value.split(' ').all(|word| line.split_whitespace().any(|found| found == word)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpuset::CpuSet;
    use crate::limits::DeviceNumber;

    fn full() -> Limits {
        let device = DeviceNumber { major: 254, minor: 0 };
        Limits {
            memory: Some(64 << 20),
            reservation: Some(32 << 20),
            memory_and_swap: Some(96 << 20),
            cpus: Some(0.5),
            shares: Some(512),
            cpuset: CpuSet::parse("0,1").ok(),
            pids: Some(100),
            io_weight: Some(200),
            io_weights: vec![(device, 300)],
            io_rates: vec![Rates {
                device,
                read_bps: Some(1 << 20),
                write_bps: None,
                read_iops: None,
                write_iops: Some(50),
            }],
        }
    }

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|s| format!("{} {}", s.files.join("|"), s.value)).collect()
    }

    #[test]
    fn everything_on_version_1() {
        assert_eq!(
            lines(&v1(&full())),
            [
                "memory.limit_in_bytes 67108864",
                "memory.soft_limit_in_bytes 33554432",
                "cpu.shares 512",
                "cpu.cfs_quota_us 50000",
                "pids.max 100",
                "blkio.weight|blkio.bfq.weight 200",
                "blkio.weight_device|blkio.bfq.weight_device 254:0 300",
                "blkio.throttle.read_bps_device 254:0 1048576",
                "blkio.throttle.write_iops_device 254:0 50",
                "memory.memsw.limit_in_bytes 100663296",
                "cpuset.cpus 0-1",
            ]
        );
    }

    #[test]
    fn everything_on_version_2() {
        assert_eq!(
            lines(&v2(&full())),
            [
                "memory.max 67108864",
                "memory.low 33554432",
                "cpu.weight 50",
                "cpu.max 50000 100000",
                "pids.max 100",
                "io.weight|io.bfq.weight default 200",
                "io.weight|io.bfq.weight 254:0 300",
                "io.max 254:0 rbps=1048576 wiops=50",
                "memory.swap.max 33554432",
                "cpuset.cpus 0-1",
            ]
        );
    }

    #[test]
    fn no_limit_no_setting() {
        assert_eq!(v1(&Limits::default()), []);
        assert_eq!(v2(&Limits::default()), []);
    }

    #[test]
    fn unlimited_is_said() {
        let limits = Limits { memory_and_swap: Some(-1), pids: Some(-1), ..Limits::default() };
        assert_eq!(lines(&v1(&limits)), ["pids.max max", "memory.memsw.limit_in_bytes -1"]);
        assert_eq!(lines(&v2(&limits)), ["pids.max max", "memory.swap.max max"]);
    }

    #[test]
    fn the_default_weight_is_the_default_weight() {
        assert_eq!(weight_of(DEFAULT_SHARES), DEFAULT_WEIGHT);
        assert_eq!((weight_of(2), weight_of(262_144)), (1, 10_000));
    }

    #[test]
    fn what_was_taken_is_told_from_what_was_not() {
        for (content, value, taken) in [
            ("67108864\n", "67108864", true),
            ("67104768\n", "67108864", false),
            ("max\n", "max", true),
            ("9223372036854771712\n", "-1", true),
            ("50000 100000\n", "50000 100000", true),
            ("max 100000\n", "50000 100000", false),
            ("default 200\n254:0 300\n", "254:0 300", true),
            ("default 300\n254:0 200\n", "254:0 300", false),
            ("254:0 rbps=1048576 wbps=max riops=max wiops=50\n", "254:0 rbps=1048576", true),
            ("", "100", false),
        ] {
            assert_eq!(has_taken(content, value), taken, "{content:?} {value}");
        }
    }

    proptest! {
        #[test]
        fn weights_are_valid_and_keep_the_order(a in 2..=262_144u64, b in 2..=262_144u64) {
            prop_assert!((1..=10_000).contains(&weight_of(a)));
            prop_assert!(a > b || weight_of(a) <= weight_of(b));
        }

        #[test]
        fn weights_keep_the_ratio(shares in 200..=25_600u64) {
            let ratio = weight_of(4 * shares) as f64 / weight_of(shares) as f64;
            prop_assert!((3.8..=4.3).contains(&ratio), "{}", ratio);
        }

        #[test]
        fn a_quota_is_never_below_the_kernels_least(cpus in 0.01..=512.0) {
            prop_assert!(quota(cpus) >= 1000);
        }

        #[test]
        fn both_versions_mean_the_same_memory(
            memory in 1536..1u64 << 30, swap in 0..1u64 << 30,
        ) {
            let (memory, total) = (memory * 4096, (memory + swap) * 4096);
            let limits = Limits {
                memory: Some(memory), memory_and_swap: Some(total as i64), ..Limits::default()
            };
            let number = |all: Vec<Setting>| all.last().and_then(|s| s.value.parse::<u64>().ok());
            prop_assert_eq!(number(v1(&limits)), Some(total));
            prop_assert_eq!(number(v2(&limits)).map(|swap| swap + memory), Some(total));
        }
    }
}
