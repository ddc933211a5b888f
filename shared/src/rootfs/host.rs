//! A root file system in a moment from the machine's own tools: no network, no package.
//!
//! A program needs its file, its loader and its libraries, each where it expects them. So each is
//! copied to the path it has on the host; a few files of `/etc` and some empty directories make
//! the rest.

mod cache;
mod mirror;
mod skeleton;
mod tools;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use self::mirror::Mirror;
use super::elf::{self, Elf};
use super::interrupt::Interrupt;
use super::libraries::Libraries;
use super::partial;
use super::report::{Missing, Origin, Report};
use crate::{Error, Result};

pub use self::cache::{ensure, place};

/// The program `probe`, built for this machine.
pub const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));
/// Which build of it.
const PROBE_ID: &str = env!("PROBE_ID");
/// Where it is inside.
const PROBE_PATH: &str = "/usr/bin/probe";
/// Where programs are looked for first; these are on the `PATH` inside.
const STANDARD: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Makes a root file system at `dir`; replaces one we made when `force` is set.
///
/// # Errors
/// `dir` has something else in it, cannot be written, or the disk is full; there is no shell.
pub fn create(dir: &Path, force: bool) -> Result<Report> {
    partial::build(dir, force, fill)
}

/// Fills `tree`, an empty directory that nobody else uses.
fn fill(tree: &Path, interrupt: &Interrupt) -> Result<Report> {
    let system = system();
    let report = Report::new(Origin::Host { system: system.clone() });
    let mut work =
        Work { mirror: Mirror::new(tree), libraries: Libraries::of_this_machine(), report };
    let failed = |error: io::Error| {
        let full = is_about_the_tree(&error);
        let wanted = Error::new("cannot make a root file system from the host's tools");
        let wanted = wanted.because(error);
        if full { wanted.hint("choose a directory on a disk with 50 MiB left") } else { wanted }
    };
    work.top().map_err(failed)?;
    for package in tools::PACKAGES {
        interrupt.check()?;
        for program in package.programs {
            work.program(program, package.name).map_err(failed)?;
        }
    }
    work.loader_files().map_err(failed)?;
    work.terminals().map_err(failed)?;
    let Some(shell) = work.shell() else {
        return Err(Error::new("cannot make a root file system from the host's tools")
            .because("there is no shell (sh)")
            .hint("install one, as in: apt-get install dash"));
    };
    skeleton::create(tree, shell, &system).map_err(failed)?;
    work.probe().map_err(failed)?;
    Ok(work.finish())
}

struct Work<'a> {
    mirror: Mirror<'a>,
    libraries: Libraries,
    report: Report,
}

impl Work<'_> {
    /// `/bin -> usr/bin` and the like come first: they say where everything else goes.
    fn top(&mut self) -> io::Result<()> {
        for path in tools::TOP {
            absent_is_fine(self.mirror.add(Path::new(path)))?;
        }
        Ok(())
    }

    /// Adds a program, or notes why it is not there. Only a tree that cannot be written to fails.
    fn program(&mut self, name: &str, package: &str) -> io::Result<()> {
        let Some(path) = find(name) else {
            let missing = Missing { program: name.into(), package: package.into() };
            self.report.missing.push(missing);
            return Ok(());
        };
        match self.with_libraries(&path) {
            Ok(()) => self.report.programs.push(name.to_owned()),
            Err(error) if is_about_the_tree(&error) => return Err(error),
            Err(error) => self.report.skipped.push(format!("{name} is left out: {error}")),
        }
        if path
            .parent()
            .is_none_or(|dir| !STANDARD.iter().any(|standard| Path::new(standard) == dir))
        {
            self.mirror.add(Path::new("/usr/bin"))?;
            self.mirror.link(&Path::new("/usr/bin").join(name), &path)?;
        }
        Ok(())
    }

    /// Copies a program, its interpreter or loader, and all libraries.
    fn with_libraries(&mut self, path: &Path) -> io::Result<()> {
        let real = fs::canonicalize(path)?;
        let mut files = vec![path.to_owned()];
        if let Some(script) = interpreter_of_script(&real)? {
            self.with_libraries(&script)?;
        } else if let Some(program) = self.libraries.elf(&real).cloned() {
            files.extend(self.needs(&real, &program)?);
        }
        // Only now, when all was found: half a program is of no use.
        for file in files {
            self.mirror.add(&file)?;
        }
        Ok(())
    }

    /// Everything a program loads when it starts, as paths of the host.
    fn needs(&mut self, path: &Path, program: &Elf) -> io::Result<Vec<PathBuf>> {
        let mut found: Vec<PathBuf> = program.interpreter.iter().cloned().collect();
        let mut todo = vec![(path.to_owned(), program.clone())];
        while let Some((user_path, user)) = todo.pop() {
            for name in &user.needed {
                let library = self
                    .libraries
                    .find(name, (&user_path, &user), (path, program))
                    .ok_or_else(|| not_found(name))?;
                if found.contains(&library) {
                    continue;
                }
                found.push(library.clone());
                if let Some(elf) = self.libraries.elf(&library).cloned() {
                    todo.push((library, elf));
                }
            }
        }
        Ok(found)
    }

    /// The loader's own files: where it looks for libraries, and glibc's modules that look up
    /// user and host names (part of glibc itself since 2.34).
    fn loader_files(&mut self) -> io::Result<()> {
        let musl = format!("/etc/ld-musl-{}.path", std::env::consts::ARCH);
        for path in ["/etc/ld.so.cache", "/etc/ld.so.conf", &musl] {
            absent_is_fine(self.mirror.add(Path::new(path)))?;
        }
        for name in names_in(Path::new("/etc/ld.so.conf.d")) {
            absent_is_fine(self.mirror.add(&Path::new("/etc/ld.so.conf.d").join(name)))?;
        }
        let Some(shell) = find("sh").and_then(|path| fs::canonicalize(path).ok()) else {
            return Ok(());
        };
        let Some(program) = self.libraries.elf(&shell).cloned() else { return Ok(()) };
        for module in ["libnss_files.so.2", "libnss_dns.so.2"] {
            let user = (shell.as_path(), &program);
            if let Some(path) = self.libraries.find(Path::new(module), user, user) {
                absent_is_fine(self.with_libraries(&path))?;
            }
        }
        Ok(())
    }

    fn terminals(&mut self) -> io::Result<()> {
        for directory in tools::TERMINFO {
            for terminal in tools::TERMINALS {
                let file = Path::new(directory).join(&terminal[..1]).join(terminal);
                absent_is_fine(self.mirror.add(&file).map(drop))?;
            }
        }
        Ok(())
    }

    /// `sh` is a must, and `/bin/sh` the name everybody uses for it.
    fn shell(&mut self) -> Option<&'static str> {
        let has = |report: &Report, name: &str| report.programs.iter().any(|have| have == name);
        let shell = Path::new("/bin/sh");
        if !has(&self.report, "sh") || self.mirror.add(shell).is_err() {
            return None;
        }
        let bash = Path::new("/bin/bash");
        let with_bash = has(&self.report, "bash") && self.mirror.add(bash).is_ok();
        Some(if with_bash { "/bin/bash" } else { "/bin/sh" })
    }

    fn probe(&mut self) -> io::Result<()> {
        self.mirror.write(Path::new(PROBE_PATH), PROBE)?;
        // Static where the C library allows it; else it has needs as any program.
        if let Some(program) = elf::parse(PROBE)? {
            for file in self.needs(Path::new(PROBE_PATH), &program)? {
                self.mirror.add(&file)?;
            }
        }
        self.report.programs.push("probe".into());
        self.report.probe = Some(PROBE_ID.into());
        Ok(())
    }

    fn finish(mut self) -> Report {
        self.report.programs.sort();
        self.report.sources = self.mirror.sources;
        // Those of a directory together: `ensure` goes through them before every start.
        self.report.sources.sort_by(|a, b| a.path.cmp(&b.path));
        self.report
    }
}

/// Where the host has a program: a standard directory, else the first on `PATH`.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = STANDARD.iter().map(PathBuf::from);
    let directories = standard.chain(std::env::split_paths(&path).filter(|dir| dir.is_absolute()));
    directories.map(|directory| directory.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The program in the first line of a script: `#!/bin/sh -e`.
fn interpreter_of_script(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut start = [0; 256];
    let length = fs::File::open(path)?.read(&mut start)?;
    let Some(line) = start[..length].strip_prefix(b"#!") else { return Ok(None) };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or(line);
    let mut words =
        line.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty());
    Ok(words.next().map(|word| PathBuf::from(OsStr::from_bytes(word))))
}

fn names_in(directory: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

/// The name of the machine's system, from `os-release(5)`.
fn system() -> String {
    super::os_release(Path::new("/"), "PRETTY_NAME").unwrap_or("this machine".into())
}

fn not_found(library: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not found", library.display()))
}

/// Whether an error would meet every other file as well.
fn is_about_the_tree(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn absent_is_fine<T>(result: io::Result<T>) -> io::Result<()> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match result {
        Err(error) if matches!(error.kind(), NotADirectory | NotFound | PermissionDenied) => Ok(()),
        other => other.map(drop),
    }
}
