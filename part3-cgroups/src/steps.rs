//! The steps that this part adds to a recipe.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use shared::error::Call;
use shared::journal::Undo;
use shared::recipe::{Outcome, Place, Step, no_tool};
use shared::shell::quoted;

use crate::hierarchy::{Controller, Version};
use crate::placement::{Group, Placement};
use crate::settings::{self, Located};
use crate::{PART, device_program, devices, oom};

/// `mkdir`, one for each cgroup; undone by removing them.
pub fn make(groups: &[Group]) -> Step {
    let names: Vec<_> = groups.iter().map(|g| g.dir.display().to_string()).collect();
    let mut step = Step::new(PART, Place::Prepare, "cgroup")
        .what(match names.len() {
            1 => format!("make the cgroup {}", names[0]),
            count => format!("make a cgroup in each of {count} trees: {}", names.join(", ")),
        })
        .why("what is counted and limited is a group of processes, not a process")
        .section("3.3")
        .shell(format!("mkdir {}{}", named(groups), shell_of_filling(groups)))
        .shell_undo(format!("rmdir {}", named(groups).replace('"', "'")))
        .hint("if it was left by a container long gone, it is removed now: try again");
    for group in groups {
        step = step.undo(Undo::RemoveCgroup { path: group.dir.clone() });
    }
    let groups = groups.to_vec();
    step.does(move || groups.iter().try_for_each(make_group))
}

fn shell_of_filling(groups: &[Group]) -> String {
    let mut lines = Vec::new();
    for group in groups {
        if !group.switch_on.is_empty() {
            let control = group.parent.join("cgroup.subtree_control");
            lines.push(format!("echo {} >{}", switch(&group.switch_on), quoted(control.display())));
        }
        if is_empty_cpuset(group) {
            let (parent, dir) = (quoted(group.parent.display()), group.variable());
            lines.extend(CPUSET.map(|file| format!("cat {parent}/{file} >\"${dir}/{file}\"")));
        }
    }
    lines.iter().map(|line| format!("\n{line}")).collect()
}

/// The groups' directories as the shell calls them.
fn named(groups: &[Group]) -> String {
    groups.iter().map(|group| format!("\"${}\"", group.variable())).collect::<Vec<_>>().join(" ")
}

// ANCHOR: make
fn make_group(group: &Group) -> Outcome {
    switch_on(&group.parent, &group.switch_on)?;
    fs::create_dir(&group.dir).call(format!("mkdir({})", group.dir.display()))?;
    if is_empty_cpuset(group) {
        fill_cpuset(&group.dir, &group.parent)?;
    }
    Ok(())
}

/// Version 2: has a cgroup pass controllers on to its children.
pub fn switch_on(parent: &Path, controllers: &[&str]) -> Outcome {
    if controllers.is_empty() {
        return Ok(());
    }
    let path = parent.join("cgroup.subtree_control");
    let value = switch(controllers);
    settings::write(&path, &value).call(format!("write({}, \"{value}\")", path.display()))
}
// ANCHOR_END: make

fn switch(controllers: &[&str]) -> String {
    controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
}

const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Version 1: a new cgroup has no CPU and no memory node, and takes no process until it has.
fn is_empty_cpuset(group: &Group) -> bool {
    group.controllers.contains(&Controller::Cpuset) && group.version == Version::V1
}

/// Version 1: gives it all that its parent has.
pub fn fill_cpuset(dir: &Path, parent: &Path) -> Outcome {
    for file in CPUSET {
        let (from, to) = (parent.join(file), dir.join(file));
        let all = fs::read_to_string(&from).call(format!("read({})", from.display()))?;
        settings::write(&to, all.trim_end()).call(format!(
            "write({}, \"{}\")",
            to.display(),
            all.trim_end()
        ))?;
    }
    Ok(())
}

/// Writes the limits and reads them back.
pub fn limit(all: Vec<Located>, groups: &[Group]) -> Step {
    let what: Vec<_> =
        all.iter().map(|l| format!("{} {}", l.setting.files[0], l.setting.value)).collect();
    let variable = |dir| groups.iter().find(|group| group.dir == dir).map(Group::variable);
    let shell: Vec<_> =
        all.iter().map(|l| l.shell(&variable(&*l.dir).unwrap_or_default())).collect();
    Step::new(PART, Place::Prepare, "limits")
        .what(format!("set and check {}", what.join(", ")))
        .why("the kernel enforces what is in the cgroup's files, and nothing else")
        .section("3.4")
        .shell(shell.join("\n"))
        .hint("a limit must fit what the cgroups above allow, and what this kernel offers")
        .does(move || settings::write_all(&all))
}

/// Forbids all devices but those of the list.
pub fn restrict_devices(group: &Group, rules: &[shared::spec::DeviceRule]) -> Step {
    let lines = devices::lines(rules);
    let (dir, variable) = (group.dir.clone(), group.variable());
    let step = Step::new(PART, Place::Prepare, "devices")
        .what(format!("allow these devices only: {}", lines.join(", ")))
        .why("root may make a device file for the host's disk; the cgroup keeps it from opening it")
        .section("3.10");
    match group.version {
        Version::V1 => step
            .shell(format!(
                "echo a >\"${0}/devices.deny\"\nfor rule in '{1}'; do\n  \
                 echo \"$rule\" >\"${0}/devices.allow\"\ndone",
                variable,
                lines.join("' '")
            ))
            .does(move || devices::restrict_v1(&dir, &lines)),
        // No standard tool assembles such a program.
        Version::V2 => {
            let program = device_program::program(rules);
            step.shell(no_tool("a program that the kernel asks about each device"))
                .does(move || devices::restrict_v2(&dir, &program))
        }
    }
}

/// In the child: enters the cgroups of version 1; tells of the one of version 2.
pub fn join(groups: &[Group]) -> Step {
    let mut shell: Vec<_> = groups
        .iter()
        .map(|group| format!("echo 0 >\"${}/{}\"", group.variable(), tasks_file(group)))
        .collect();
    if groups.iter().any(|group| group.version == Version::V2) {
        shell.insert(0, no_tool("being born in it (CLONE_INTO_CGROUP), so it moves there"));
    }
    let on_v1 = groups.iter().any(|group| group.version == Version::V1);
    let step = Step::new(PART, Place::Child, "join cgroup")
        .why("all that it starts from now on is counted with it")
        .section("3.3")
        .shell(shell.join("\n"));
    if !on_v1 {
        return step.what("be in the cgroup since birth (CLONE_INTO_CGROUP)");
    }
    let files: Vec<_> = groups.iter().filter(|g| g.version == Version::V1).map(join_file).collect();
    step.what("enter the cgroups").does(move || join_all(&files))
}

/// Writing to `tasks` moves one thread, which is all the child has; writing to `cgroup.procs`
/// would make the kernel wait until no process of the machine is just being born or dying.
fn join_file(group: &Group) -> PathBuf {
    group.dir.join(tasks_file(group))
}

fn tasks_file(group: &Group) -> &'static str {
    if group.version == Version::V1 { "tasks" } else { "cgroup.procs" }
}

/// Moves the calling thread: `0` means "the one that writes".
pub fn join_all(files: &[PathBuf]) -> Outcome {
    for file in files {
        settings::write(file, "0").call(format!("write({}, \"0\")", file.display()))?;
    }
    Ok(())
}

/// After the end: whether the kernel killed for memory.
pub fn look_for_oom(placement: &Placement) -> Option<Step> {
    let group = placement.with(Controller::Memory)?;
    let file = group.dir.join(oom::file(group.version));
    // ANCHOR: oom
    let step = Step::new(PART, Place::After, "oom")
        .what("see whether the kernel killed for memory")
        .why("SIGKILL does not say who sent it; the cgroup's counter does")
        .section("3.4")
        .shell(format!(
            "grep -q '^oom_kill [1-9]' \"${}/{}\" && echo 'killed: out of memory' >&2",
            group.variable(),
            oom::file(group.version),
        ));
    Some(step.does_with(move |context| {
        let killed = oom::kills(&file)?;
        if let Some(exit) = context.exit.as_deref_mut() {
            // A container that ended well has survived what was killed in it.
            exit.out_of_memory = killed > 0 && exit.code != 0;
        }
        Ok(())
    }))
    // ANCHOR_END: oom
}

/// Makes a version 1 cgroup that a running container lacks, and moves its processes there.
pub fn make_late(group: &Group, members: &Path) -> Outcome {
    match make_group(group) {
        Err(failed) if failed.errno == Errno::EEXIST => {}
        other => other?,
    }
    let to = group.dir.join("cgroup.procs");
    // Again until all are there: one may have forked meanwhile.
    for _ in 0..10 {
        let here = pids(members)?;
        let there = pids(&to)?;
        let left: Vec<_> = here.iter().filter(|pid| !there.contains(pid)).collect();
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            match settings::write(&to, pid) {
                Ok(()) | Err(Errno::ESRCH) => {}
                failed => failed.call(format!("write({}, \"{pid}\")", to.display()))?,
            }
        }
    }
    Err(Errno::EAGAIN).call(format!("write({}, …)", to.display()))
}

fn pids(file: &Path) -> Result<Vec<String>, shared::Failed> {
    let text = match fs::read_to_string(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        other => other.call(format!("read({})", file.display()))?,
    };
    Ok(text.lines().map(str::to_owned).collect())
}
