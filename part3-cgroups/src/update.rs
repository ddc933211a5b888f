//! `update`: other limits for a container that runs.

use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches};
use shared::cli::output;
use shared::error::Call;
use shared::home::Home;
use shared::journal::{Due, Journal, Undo};
use shared::part::Command;
use shared::spec::Service;
use shared::spec::units::parse_size;
use shared::state::{self, Record};
use shared::{Error, Result};

use crate::cpuset::CpuSet;
use crate::hierarchy::{Cgroups, Controller, Version, names_in};
use crate::limits::Limits;
use crate::placement::Group;
use crate::settings::{self, Located, Setting, settings};
use crate::stats::running;
use crate::steps;
use crate::usage::Usage;

#[derive(Debug, Default, Args)]
struct Update {
    /// The container
    name: String,

    /// mem_limit: 64m, 1.5g
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,

    /// memswap_limit: memory and swap together; -1: unlimited
    #[arg(long, value_name = "SIZE", value_parser = size_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,

    /// cpus: how many CPUs' time, 0.01 or more
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<f64>,

    /// cpu_shares: relative weight, 2 to 262144
    #[arg(long, value_name = "NUMBER")]
    cpu_shares: Option<u64>,

    /// cpuset: which CPUs, as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset: Option<String>,

    /// pids_limit: processes and threads; -1: unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

/// The command.
pub fn command() -> Command {
    Command {
        name: "update",
        define: || {
            Update::augment_args(
                clap::Command::new("update")
                    .about("Change the limits of a container that runs")
                    .after_help("Example: update web --memory 128m --cpus 0.5"),
            )
        },
        run: |_, matches| {
            let update =
                Update::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            apply(&Home::of_this_user(), &update)
        },
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| format!("{text:?} is not a size; write 64m or 1.5g"))
}

fn size_or_unlimited(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        _ => size(text).and_then(|bytes| i64::try_from(bytes).map_err(|e| e.to_string())),
    }
}

fn apply(home: &Home, update: &Update) -> Result<u8> {
    let record = running(home, &update.name)?;
    let service = update.changed(&record.service);
    let (old, new) = (Limits::of(&record.service)?, Limits::of(&service)?);
    if old == new {
        output::note("nothing to change");
        return Ok(0);
    }
    if record.cgroups.is_empty() {
        return Err(Error::new(format!("cannot limit {:?}", record.name))
            .because("it has no cgroup")
            .hint("`inspect` shows in its notes why"));
    }
    check_memory_in_use(&record, &old, &new)?;
    let mut cgroups = record.cgroups.clone();
    let located = locate(home, &record, &old, &new, &mut cgroups)?;
    write_or_restore(&located)?;
    state::amend(home, &record.name, |record| {
        record.service = service;
        record.cgroups = cgroups;
    })?;
    for Located { setting, .. } in located.iter().filter(|l| !l.setting.optional) {
        println!("{}: {}: {} {}", record.name, setting.key, setting.files[0], setting.value);
    }
    Ok(0)
}

impl Update {
    fn changed(&self, service: &Service) -> Service {
        let mut service = service.clone();
        service.mem_limit = self.memory.or(service.mem_limit);
        service.memswap_limit = self.memory_swap.or(service.memswap_limit);
        service.cpus = self.cpus.or(service.cpus);
        service.cpu_shares = self.cpu_shares.or(service.cpu_shares);
        service.cpuset = self.cpuset.clone().or(service.cpuset);
        service.pids_limit = self.pids_limit.or(service.pids_limit);
        // They no longer stand in a file.
        service.lines.clear();
        service
    }
}

/// A limit below what is in use would have the kernel kill, not refuse.
fn check_memory_in_use(record: &Record, old: &Limits, new: &Limits) -> Result<()> {
    if new.memory == old.memory {
        return Ok(());
    }
    match (Usage::of(&record.cgroups).anonymous, new.memory) {
        (Some(used), Some(limit)) if used > limit => {
            Err(Error::new(format!("cannot limit the memory of {:?}", record.name))
                .because(format!("it uses {} now and would be killed", output::size(used)))
                .hint("a higher limit"))
        }
        _ => Ok(()),
    }
}

/// Which of the container's cgroups takes each changed value. A cgroup or controller that the
/// container has done without is added, to `cgroups`, too.
fn locate(
    home: &Home,
    record: &Record,
    old: &Limits,
    new: &Limits,
    cgroups: &mut Vec<PathBuf>,
) -> Result<Vec<Located>> {
    let mut located: Vec<Located> = Vec::new();
    let changed = |version| {
        let before = settings(old, version);
        settings(new, version).into_iter().filter(move |setting| !before.contains(setting))
    };
    for setting in changed(Version::V1).chain(changed(Version::V2)) {
        let known = located.iter().any(|l| l.setting.key == setting.key);
        if let (false, Some(dir)) = (known, dir_with(cgroups, &setting)) {
            located.push(Located { dir, setting });
        }
    }
    for setting in changed(Version::V2) {
        if setting.optional || located.iter().any(|l| l.setting.key == setting.key) {
            continue;
        }
        let (version, dir) = add(home, record, setting.controller, cgroups)?;
        let setting = changed(version).find(|s| s.key == setting.key).unwrap_or(setting);
        located.push(Located { dir, setting });
    }
    for Located { dir, setting } in &located {
        if setting.controller == Controller::Cpuset {
            new.check_cpus(&available_cpus(dir))?;
        }
    }
    Ok(located)
}

fn dir_with(cgroups: &[PathBuf], setting: &Setting) -> Option<PathBuf> {
    let has = |dir: &&PathBuf| setting.files.iter().any(|file| dir.join(file).exists());
    cgroups.iter().find(has).cloned()
}

/// The CPUs that the cgroup above passes on.
pub fn available_cpus(dir: &Path) -> CpuSet {
    let parent = dir.parent().unwrap_or(dir);
    let files = [parent.join("cpuset.cpus.effective"), parent.join("cpuset.effective_cpus")];
    let online = PathBuf::from("/sys/devices/system/cpu/online");
    let list = files.iter().chain([&online]).find_map(|file| std::fs::read_to_string(file).ok());
    CpuSet::parse(&list.unwrap_or_default()).unwrap_or_default()
}

/// Gives a running container a controller that it was started without.
fn add(
    home: &Home,
    record: &Record,
    controller: Controller,
    cgroups: &mut Vec<PathBuf>,
) -> Result<(Version, PathBuf)> {
    let lacking = || {
        let name = controller.v1_name();
        Error::new(format!("cannot limit {:?}", record.name))
            .because(format!("this machine or user has no {name} controller to give it"))
            .hint("see /proc/cgroups, and `stat -fc %T /sys/fs/cgroup`")
    };
    let machine = Cgroups::detect();
    let hierarchy = machine.with(controller).ok_or_else(lacking)?;
    if hierarchy.version == Version::V2 {
        let dir = cgroups.iter().find(|dir| dir.join("cgroup.controllers").exists());
        let dir = dir.ok_or_else(lacking)?.clone();
        let parent = dir.parent().ok_or_else(lacking)?;
        let name = controller.v2_name().ok_or_else(lacking)?;
        if !names_in(&parent.join("cgroup.controllers")).iter().any(|n| n == name) {
            return Err(lacking());
        }
        steps::switch_on(parent, &[name])?;
        return Ok((Version::V2, dir));
    }
    let sibling = cgroups.iter().find(|dir| dir.join("tasks").exists()).ok_or_else(lacking)?;
    let parent = hierarchy.parent().map_err(|_| lacking())?;
    let dir = parent.join(sibling.file_name().ok_or_else(lacking)?);
    let group = Group {
        version: Version::V1,
        controllers: hierarchy.controllers.clone(),
        parent,
        dir: dir.clone(),
        switch_on: Vec::new(),
    };
    // First its undo, then the cgroup, as when a container starts.
    let undo = Undo::RemoveCgroup { path: dir.clone() };
    Journal::open(&home.containers().join(&record.name))?.record(Due::Stop, &undo)?;
    steps::make_late(&group, &sibling.join("cgroup.procs"))?;
    if record.process().is_none() {
        // It ended meanwhile, and its journal may have been played back before our line.
        let _ = std::fs::remove_dir(&dir);
        return Err(Error::new(format!("{:?} has just ended", record.name)));
    }
    cgroups.push(dir.clone());
    Ok((Version::V1, dir))
}

/// Writes the new values; when one is refused, all are as before.
fn write_or_restore(located: &[Located]) -> Result<()> {
    let mut before = Vec::new();
    for Located { dir, setting } in located {
        for path in setting.files.iter().map(|file| dir.join(file)).filter(|path| path.exists()) {
            let content =
                std::fs::read_to_string(&path).call(format!("read({})", path.display()))?;
            before.push((path, content));
        }
    }
    let result = settings::write_all(located);
    if result.is_err() {
        // Twice, for the same reason as in `write_all`.
        for (path, content) in before.iter().chain(&before) {
            let _ = settings::write(path, content.trim_end());
        }
    }
    Ok(result?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let service = Service { mem_limit: Some(1 << 30), cpus: Some(2.0), ..Service::default() };
        let update = Update { cpus: Some(0.5), ..Update::default() };
        let changed = update.changed(&service);
        assert_eq!((changed.mem_limit, changed.cpus), (Some(1 << 30), Some(0.5)));
    }

    #[test]
    fn the_arguments_are_understood() {
        let parse = |arguments: &[&str]| {
            let all = ["update", "web"].iter().chain(arguments);
            let matches = (command().define)().try_get_matches_from(all).ok()?;
            Update::from_arg_matches(&matches).ok()
        };
        let update = parse(&["--memory", "64m", "--memory-swap", "-1", "--pids-limit", "-1"]);
        let update = update.expect("arguments");
        assert_eq!(update.memory, Some(64 << 20));
        assert_eq!((update.memory_swap, update.pids_limit), (Some(-1), Some(-1)));
        assert!(parse(&["--memory", "much"]).is_none());
    }
}
