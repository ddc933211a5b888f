//! What a service may use, checked before anything is written.
//!
//! The kernel says `EINVAL` to what it refuses and nothing at all when it silently changes a
//! value. So what can be known is checked here, with the service file's own words.

use std::fmt::Display;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use shared::spec::Service;
use shared::{Error, Result};

use crate::cpuset::CpuSet;

/// Docker's least memory: with less, starting a program already fails.
const LEAST_MEMORY: u64 = 6 << 20;

/// A block device as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Its driver's number.
    pub major: u64,
    /// Which of the driver's devices.
    pub minor: u64,
}

impl Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The rates of one block device: bytes or operations per second; None is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// Which device.
    pub device: DeviceNumber,
    /// `device_read_bps`.
    pub read_bps: Option<u64>,
    /// `device_write_bps`.
    pub write_bps: Option<u64>,
    /// `device_read_iops`.
    pub read_iops: Option<u64>,
    /// `device_write_iops`.
    pub write_iops: Option<u64>,
}

/// A service's limits. None is unlimited, or what the kernel gives a new cgroup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// `mem_limit`: bytes, whole pages.
    pub memory: Option<u64>,
    /// `mem_reservation`: bytes, whole pages.
    pub reservation: Option<u64>,
    /// `memswap_limit`: bytes of memory and swap together, whole pages; -1 unlimited.
    pub memory_and_swap: Option<i64>,
    /// `cpus`: how many CPUs' time.
    pub cpus: Option<f64>,
    /// `cpu_shares`: 2–262144.
    pub shares: Option<u64>,
    /// `cpuset`.
    pub cpuset: Option<CpuSet>,
    /// `pids_limit`: -1 unlimited.
    pub pids: Option<i64>,
    /// `blkio_config.weight`: 10–1000.
    pub io_weight: Option<u16>,
    /// `blkio_config.weight_device`.
    pub io_weights: Vec<(DeviceNumber, u64)>,
    /// `blkio_config.device_…`, each device once.
    pub io_rates: Vec<Rates>,
}

impl Limits {
    /// The limits of a service. Looks at its block devices; changes nothing.
    ///
    /// # Errors
    /// A limit that the kernel would refuse or change, or a device that is no block device.
    pub fn of(service: &Service) -> Result<Self> {
        let page = page_size();
        let pages = |bytes: u64| bytes - bytes % page;
        let mut limits = Self {
            memory: service.mem_limit.map(pages),
            reservation: service.mem_reservation.map(pages),
            memory_and_swap: service.memswap_limit.map(|total| match u64::try_from(total) {
                Ok(bytes) => pages(bytes) as i64,
                Err(_) => -1,
            }),
            cpus: service.cpus,
            shares: service.cpu_shares,
            cpuset: service.cpuset.as_deref().map(CpuSet::parse).transpose()?,
            pids: service.pids_limit,
            io_weight: service.blkio.weight,
            io_weights: Vec::new(),
            io_rates: Vec::new(),
        };
        limits.check(service)?;
        limits.find_devices(service)?;
        Ok(limits)
    }

    /// Checks that all CPUs asked for are among those a container can have here.
    ///
    /// # Errors
    /// It names those that are not.
    pub fn check_cpus(&self, available: &CpuSet) -> Result<()> {
        let Some(asked) = &self.cpuset else { return Ok(()) };
        let lacking = asked.without(available);
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("cpuset: {asked} cannot be had"))
            .because(format!("there is no CPU {lacking} to use here"))
            .hint(format!("choose from {available}")))
    }

    fn check(&self, service: &Service) -> Result<()> {
        let refuse = |key: &str, cause: String, hint: String| {
            let line = service.lines.get(key).map(|line| format!(" (line {line})"));
            Err(Error::new(format!("{key}{}: cannot be set", line.unwrap_or_default()))
                .because(cause)
                .hint(hint))
        };
        if let Some(memory) = self.memory.filter(|memory| *memory < LEAST_MEMORY) {
            let cause = format!("{memory} bytes are too few to start a program");
            return refuse("mem_limit", cause, "6m or more".into());
        }
        match (self.reservation, self.memory) {
            (Some(reserved), Some(limit)) if reserved > limit => {
                let cause = "it is more than mem_limit".into();
                return refuse("mem_reservation", cause, format!("{limit} or less"));
            }
            _ => {}
        }
        match (self.memory_and_swap, self.memory) {
            (Some(0..), None) => {
                let cause = "it is memory and swap together, and mem_limit is not set".into();
                return refuse("memswap_limit", cause, "set mem_limit, too".into());
            }
            (Some(total @ 0..), Some(memory)) if (total as u64) < memory => {
                let cause = "it is memory and swap together, but less than mem_limit".into();
                return refuse("memswap_limit", cause, format!("{memory} or more; -1: unlimited"));
            }
            _ => {}
        }
        // Not `cpus < 0.01`: NaN is neither less nor more.
        if self.cpus.is_some_and(|cpus| !(0.01..=8192.0).contains(&cpus)) {
            let cause = "the kernel takes 0.01 CPUs or more".into();
            return refuse("cpus", cause, "0.5 is half a CPU's time".into());
        }
        if self.shares.is_some_and(|shares| !(2..=262_144).contains(&shares)) {
            let cause = "the kernel takes 2 to 262144".into();
            return refuse("cpu_shares", cause, "1024 is what everybody has".into());
        }
        if self.pids.is_some_and(|pids| pids < -1 || pids == 0) {
            let cause = "a container has at least one process".into();
            return refuse("pids_limit", cause, "1 or more; -1: unlimited".into());
        }
        if self.io_weight.is_some_and(|weight| !(10..=1000).contains(&weight)) {
            let cause = "a weight is 10 to 1000".into();
            return refuse("blkio_config", cause, "100 is what everybody has".into());
        }
        Ok(())
    }

    fn find_devices(&mut self, service: &Service) -> Result<()> {
        let blkio = &service.blkio;
        for (path, weight) in &blkio.weight_device {
            self.io_weights.push((disk(path)?, *weight));
        }
        type Field = fn(&mut Rates) -> &mut Option<u64>;
        let lists: [(&Vec<(PathBuf, u64)>, Field); 4] = [
            (&blkio.read_bps, |rates| &mut rates.read_bps),
            (&blkio.write_bps, |rates| &mut rates.write_bps),
            (&blkio.read_iops, |rates| &mut rates.read_iops),
            (&blkio.write_iops, |rates| &mut rates.write_iops),
        ];
        for (list, field) in lists {
            for (path, rate) in list {
                if *rate == 0 {
                    return Err(Error::new(format!("blkio_config: a rate of 0 for {path:?}"))
                        .because("the kernel takes 0 for unlimited")
                        .hint("1 or more, or leave it out"));
                }
                *field(self.rates_of(disk(path)?)) = Some(*rate);
            }
        }
        Ok(())
    }

    fn rates_of(&mut self, device: DeviceNumber) -> &mut Rates {
        let known = self.io_rates.iter().position(|rates| rates.device == device);
        let at = known.unwrap_or_else(|| {
            self.io_rates.push(Rates {
                device,
                read_bps: None,
                write_bps: None,
                read_iops: None,
                write_iops: None,
            });
            self.io_rates.len() - 1
        });
        &mut self.io_rates[at]
    }
}

/// `getpagesize(2)`: the kernel counts memory in these and rounds a limit down.
fn page_size() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// The number of a whole disk: the kernel counts I/O per disk, not per partition.
fn disk(path: &Path) -> Result<DeviceNumber> {
    let failed = || Error::new(format!("blkio_config: cannot limit {}", path.display()));
    let about = std::fs::metadata(path).map_err(|e| failed().because(e).hint("see `lsblk`"))?;
    if !about.file_type().is_block_device() {
        return Err(failed().because("it is not a block device").hint("see `lsblk`"));
    }
    let device = DeviceNumber {
        major: nix::sys::stat::major(about.rdev()),
        minor: nix::sys::stat::minor(about.rdev()),
    };
    let known = PathBuf::from(format!("/sys/dev/block/{device}"));
    if known.join("partition").exists() {
        let disk = known.canonicalize().ok();
        let disk = disk.as_deref().and_then(Path::parent).and_then(Path::file_name);
        return Err(failed().because("it is a partition, and the kernel counts whole disks").hint(
            match disk {
                Some(name) => format!("/dev/{}", name.to_string_lossy()),
                None => "name the disk it is on".into(),
            },
        ));
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use shared::spec::Blkio;

    use super::*;

    fn refused(service: Service) -> String {
        Limits::of(&service).expect_err("must be refused").to_string()
    }

    #[test]
    fn what_the_kernel_would_refuse_or_change_is_refused() {
        let with = |change: fn(&mut Service)| {
            let mut service = Service::default();
            change(&mut service);
            refused(service)
        };
        assert!(with(|s| s.mem_limit = Some(4096)).starts_with("mem_limit: "));
        assert!(with(|s| s.memswap_limit = Some(64 << 20)).contains("mem_limit is not set"));
        assert!(with(|s| s.cpus = Some(0.001)).starts_with("cpus: "));
        assert!(with(|s| s.cpus = Some(f64::NAN)).starts_with("cpus: "));
        assert!(with(|s| s.cpu_shares = Some(1)).starts_with("cpu_shares: "));
        assert!(with(|s| s.pids_limit = Some(0)).starts_with("pids_limit: "));
        assert!(with(|s| s.cpuset = Some("2-1".into())).contains("not a list of CPUs"));
        assert!(
            with(|s| (s.mem_limit, s.memswap_limit) = (Some(64 << 20), Some(32 << 20)))
                .contains("less than mem_limit")
        );
    }

    #[test]
    fn the_line_of_the_file_is_named() {
        let mut service = Service { mem_limit: Some(1), ..Service::default() };
        service.lines.insert("mem_limit".into(), 12);
        assert!(refused(service).starts_with("mem_limit (line 12): "));
    }

    #[test]
    fn only_block_devices_have_rates() {
        let blkio =
            |path: &str, rate| Blkio { read_bps: vec![(path.into(), rate)], ..Blkio::default() };
        let with = |path, rate| refused(Service { blkio: blkio(path, rate), ..Service::default() });
        assert!(with("/dev/null", 1).contains("not a block device"));
        assert!(with("/dev/no-such-disk", 1).contains("No such file"));
        assert!(with("/dev/null", 0).contains("rate of 0"));
    }

    #[test]
    fn memory_is_counted_in_pages() {
        let service = Service { mem_limit: Some((64 << 20) + 1), ..Service::default() };
        assert_eq!(Limits::of(&service).map(|l| l.memory), Ok(Some(64 << 20)));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let service = Service { cpuset: Some("0,7-9".into()), ..Service::default() };
        let limits = Limits::of(&service).expect("limits");
        let online = CpuSet::parse("0-3").expect("cpus");
        let error = limits.check_cpus(&online).expect_err("7-9 are not there").to_string();
        assert!(error.contains("no CPU 7-9") && error.contains("choose from 0-3"), "{error}");
    }
}
