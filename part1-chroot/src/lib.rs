//! Part 1: a root file system, and its limits.
//!
//! A process gets another directory as its `/`. That is all: it still sees every process, every
//! network interface and, as root, every disk. The parts after this one keep these steps and
//! replace `chroot` by better walls.

pub mod create;
mod program;
mod rootfs;
pub mod show;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::{chdir, chroot};
use shared::error::{Call, Result};
use shared::part::{Part, Request};
use shared::recipe::{Place, Recipe, Step};
use shared::shell::quoted;
use shared::spec::Service;
use shared::sys;

pub use program::Program;

/// Part 1 as the command line sees it.
pub fn part() -> Part {
    let mut commands = shared::cli::commands();
    commands.push(rootfs::command());
    Part {
        number: 1,
        binary: "part1-chroot",
        about: "Run a service with another directory as its root",
        recipe,
        exec: None,
        commands,
    }
}

// ANCHOR: recipe
/// The recipe of a chroot: make a process, change its root, execute the program.
///
/// # Errors
/// An argument or variable that no program can be given.
pub fn recipe(request: &Request) -> Result<Recipe> {
    let program = Program::of(request, Path::new("/root"))?;

    let mut recipe = Recipe::new(1, &request.name);
    recipe.notes = not_yet(request);
    recipe.keeps_input = request.service.stdin_open || request.terminal;
    recipe.push(clone());
    recipe.push(chroot_into(request));
    recipe.push(working_directory_behind_chroot(request.service));
    recipe.push(close_fds());
    recipe.push(program.execve());
    Ok(recipe)
}
// ANCHOR_END: recipe

// ANCHOR: clone
fn clone() -> Step {
    Step::new(1, Place::Clone, "clone")
        .what("make a new process, a copy of this one")
        .why("the copy becomes the service; the original looks after it")
        .section("1.11")
        .shell("( ... ) &")
}
// ANCHOR_END: clone

// ANCHOR: chroot
fn chroot_into(request: &Request) -> Step {
    let rootfs = request.rootfs.clone();
    Step::new(1, Place::Child, "chroot")
        .what(format!("make {} the root directory", rootfs.display()))
        .why("paths of the process start there, so it finds other programs and libraries")
        .section("1.12")
        .shell(format!("chroot {} ...", quoted(rootfs.display())))
        .hint("chroot needs root (CAP_SYS_CHROOT); part 2 works without, by a user namespace")
        .does(move || {
            // The working directory first: chroot(2) leaves it alone, and a working directory
            // outside the new root is a way out.
            chdir(&rootfs).call(format!("chdir({:?})", rootfs))?;
            chroot(".").call("chroot(\".\")")
        })
}
// ANCHOR_END: chroot

/// Changes to the service's working directory, made if missing, as Docker does.
pub fn working_directory(service: &Service) -> Step {
    let dir = service.working_dir.clone().unwrap_or_else(|| "/".into());
    let shown = quoted(dir.display());
    let is_root = dir == Path::new("/");
    Step::new(1, Place::Child, "working directory")
        .what(format!("start in {}", dir.display()))
        .why("a program finds its files relative to the directory it starts in")
        .section("1.13")
        .shell(match is_root {
            false => format!("mkdir -p {shown}; cd {shown}"),
            true => "cd /".into(),
        })
        .does(move || enter(&dir))
}

/// chroot(8) starts a program in `/` at once: whatever is to be done there before needs a shell
/// of the tree.
fn working_directory_behind_chroot(service: &Service) -> Step {
    let step = working_directory(service);
    if step.shell == "cd /" {
        return step.shell("# where chroot starts it, unless told");
    }
    let script = format!("set -e; {}; exec \"$0\" \"$@\"", step.shell);
    step.shell(format!("sh -c {} ...", quoted(script)))
}

// ANCHOR: enter
fn enter(dir: &Path) -> shared::recipe::Outcome {
    use nix::errno::Errno;
    if let Err(Errno::ENOENT) = chdir(dir) {
        // It may be on a read-only file system: then the chdir below says that it is missing.
        let _ = std::fs::create_dir_all(dir);
    }
    chdir(dir).call(format!("chdir({dir:?})"))?;
    // A path like /proc/self/fd/7 may lead out of the root (CVE-2024-21626). The kernel says so:
    // the name of such a directory does not start with a slash; the C library makes that ENOENT.
    match nix::unistd::getcwd() {
        Ok(inside) if inside.as_os_str().as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::ENOENT) => {
            Err(shared::Failed::new(format!("chdir({dir:?}) leads outside"), Errno::EXDEV))
        }
        Err(errno) => Err(errno).call("getcwd()"),
    }
}
// ANCHOR_END: enter

// ANCHOR: close_fds
/// Closes what was opened outside.
pub fn close_fds() -> Step {
    Step::new(1, Place::Child, "close fds")
        .what("let execve close every file but the standard three")
        .why("a file opened outside stays usable inside: a way out (CVE-2016-9962)")
        .section("1.14")
        .shell("for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd < 3)) || exec {fd}>&-; done")
        .does(|| sys::close_on_exec_from(3).call("close_range(3, ~0, CLOEXEC)"))
}
// ANCHOR_END: close_fds

/// What the file asks for and a later part raises: see [`Recipe::continue_in`].
fn not_yet(request: &Request) -> Vec<String> {
    let service = request.service;
    let asked = [
        ("hostname", service.hostname.is_some(), 2),
        ("tmpfs", !service.tmpfs.is_empty(), 2),
        ("read_only", service.read_only, 2),
        ("cap_add", !service.cap_add.is_empty(), 2),
        ("cap_drop", !service.cap_drop.is_empty(), 2),
        ("user", service.user.is_some(), 2),
        ("init", service.init, 2),
        ("tty", request.terminal, 2),
        ("ulimits", !service.ulimits.is_empty(), 2),
        ("sysctls", !service.sysctls.is_empty(), 2),
        ("devices", !service.devices.is_empty(), 2),
        ("domainname", service.domainname.is_some(), 2),
        ("network_mode", service.network_mode != Default::default(), 2),
        ("oom_score_adj", service.oom_score_adj.is_some(), 2),
        ("security_opt", service.security != Default::default(), 2),
        ("shm_size", service.shm_size.is_some(), 2),
        ("mem_limit", service.mem_limit.is_some(), 3),
        ("mem_reservation", service.mem_reservation.is_some(), 3),
        ("memswap_limit", service.memswap_limit.is_some(), 3),
        ("device_cgroup_rules", !service.device_cgroup_rules.is_empty(), 3),
        ("cpus", service.cpus.is_some(), 3),
        ("cpu_shares", service.cpu_shares.is_some(), 3),
        ("cpuset", service.cpuset.is_some(), 3),
        ("pids_limit", service.pids_limit.is_some(), 3),
        ("blkio_config", service.blkio != Default::default(), 3),
        ("ports", !service.ports.is_empty(), 5),
        ("networks", !service.networks.is_empty(), 5),
        ("volumes", !service.volumes.is_empty(), 5),
        ("extra_hosts", !service.extra_hosts.is_empty(), 5),
        ("dns", !service.dns.is_empty(), 5),
    ];
    asked
        .into_iter()
        .filter(|(_, asked, _)| *asked)
        .map(|(key, _, part)| shared::recipe::raised_in(key, part))
        .collect()
}
