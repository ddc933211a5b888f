//! A root file system from a distribution's packages, made by debootstrap(8).

mod explain;
pub mod mirror;

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};

use super::interrupt::Interrupt;
use super::partial;
use super::report::{Origin, Report};
use crate::{Error, Result};

/// What the archive itself calls its current stable release.
pub const DEFAULT_SUITE: &str = "stable";

/// What debootstrap is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The release: `stable`, `bookworm`, `noble`.
    pub suite: String,
    /// Packages besides the smallest set (`minbase`).
    pub include: Vec<String>,
    /// Where to get packages; None: this machine's own source if it is Debian, else what
    /// debootstrap takes by itself.
    pub mirror: Option<String>,
}

/// Makes a root file system at `dir`; replaces one we made with `force`. `progress` is given what
/// debootstrap says it is doing: `Retrieving bash 5.2.15-2`.
///
/// # Errors
/// As `rootfs create` for `dir`; debootstrap is not installed; we are not root; an unknown suite
/// or package; no network; no space. Nothing is left then.
pub fn create(
    dir: &Path,
    wanted: &Wanted,
    force: bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Report> {
    let program = check(wanted)?;
    let mirror = wanted.mirror.clone().or_else(|| mirror::of_this_machine(&wanted.suite));
    partial::build(dir, force, |tree, interrupt| {
        let warnings = run(&program, tree, wanted, mirror.as_deref(), interrupt, progress)?;
        remove_packages(tree);
        let mut report = Report::new(Origin::Debian {
            suite: wanted.suite.clone(),
            codename: super::os_release(tree, "VERSION_CODENAME"),
            mirror,
            include: wanted.include.clone(),
        });
        report.skipped = warnings;
        Ok(report)
    })
}

/// Everything that can be known before: answers where debootstrap is.
fn check(wanted: &Wanted) -> Result<PathBuf> {
    let refused = || Error::new(format!("cannot make debian:{}", wanted.suite));
    let program = find().ok_or_else(|| {
        refused()
            .because("debootstrap is not installed")
            .hint("apt-get install debootstrap, or --from host, which needs nothing")
    })?;
    // Both become words of a command line.
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:".contains(c))
    };
    let known = explain::suites();
    if !is_name(&wanted.suite) || !known.contains(&wanted.suite) {
        return Err(refused()
            .because("debootstrap does not know that suite")
            .hint(explain::instead_of(&wanted.suite, &known)));
    }
    if let Some(wrong) = wanted.include.iter().find(|name| !is_name(name)) {
        return Err(refused().because(format!("{wrong:?} is no name of a package")));
    }
    if !geteuid().is_root() {
        return Err(refused().because("debootstrap needs root").hint(
            "run it as root, or in a user namespace that has many ids:\n       \
             unshare --map-root-user --map-auto COMMAND; or --from host",
        ));
    }
    Ok(program)
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(system).map(|dir| dir.join("debootstrap"));
    files.find(|file| file.is_file())
}

/// Runs it to its end; answers its warnings.
fn run(
    program: &Path,
    tree: &Path,
    wanted: &Wanted,
    mirror: Option<&str>,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<String>> {
    let failed =
        |error: io::Error| Error::new(format!("cannot run {}", program.display())).because(error);
    let (mut lines, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("--variant=minbase");
    if !wanted.include.is_empty() {
        command.arg(format!("--include={}", wanted.include.join(",")));
    }
    command.arg(&wanted.suite).arg(tree).args(mirror);
    // The rest of the environment stays: it may name a proxy.
    command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    // A group of its own: Ctrl-C comes to us, and we end all of it.
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    // It holds the writing end of the pipe; with it, the pipe would never end.
    drop(command);
    let mut output = Output::default();
    let read = output.read(&mut lines, interrupt, progress);
    if read.is_err() {
        // It unmounts what it has mounted; the tree is removed after.
        let _ = killpg(group(&child), Signal::SIGTERM);
    }
    // Whoever still has something to say must not wait for us to read it.
    drop(lines);
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        end_group(&child);
    }
    read?;
    if status.success() {
        return Ok(output.warnings);
    }
    Err(explain::failure(wanted, tree, &output.tail.into_iter().collect::<Vec<_>>()))
}

/// Ends what debootstrap has started and not waited for, so that nothing writes into the tree
/// any more when it is removed.
fn end_group(child: &Child) {
    for _ in 0..100 {
        // Fails when nobody is left.
        if killpg(group(child), Signal::SIGKILL).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn group(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// What debootstrap says.
#[derive(Default)]
struct Output {
    /// The last lines, for an error.
    tail: VecDeque<String>,
    warnings: Vec<String>,
}

impl Output {
    const TAIL: usize = 12;

    fn read(
        &mut self,
        lines: &mut io::PipeReader,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let mut buffer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let mut sources = [
                PollFd::new(lines.as_fd(), PollFlags::POLLIN),
                PollFd::new(interrupt.as_fd(), PollFlags::POLLIN),
            ];
            // A failure of poll shows again in the read.
            let _ = poll(&mut sources, PollTimeout::NONE);
            interrupt.check()?;
            let length = lines
                .read(&mut chunk)
                .map_err(|error| Error::new("cannot read what debootstrap says").because(error))?;
            if length == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&chunk[..length]);
            while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                self.line(String::from_utf8_lossy(&line).trim(), progress);
            }
        }
    }

    fn line(&mut self, line: &str, progress: &mut dyn FnMut(&str)) {
        // What packages print goes to a terminal: no control characters.
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        if let Some(doing) = line.strip_prefix("I: ") {
            progress(doing);
        } else if let Some(warning) = line.strip_prefix("W: ") {
            self.warnings.push(warning.to_owned());
        }
        self.tail.push_back(line);
        if self.tail.len() > Self::TAIL {
            self.tail.pop_front();
        }
    }
}

/// The packages themselves are not needed any more: `apt-get clean`.
fn remove_packages(tree: &Path) {
    let cache = tree.join("var/cache/apt/archives");
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            // What stays only takes space.
            let _ = fs::remove_file(entry.path());
        }
    }
}
