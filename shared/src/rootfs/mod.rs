//! Where a root file system comes from: the machine's own tools, debootstrap, an archive.
//!
//! [`create`] makes one at a directory of the user's choice; [`host::ensure`] keeps one for
//! `image: host`; [`validate`] refuses what a container must not be started on.

pub mod debootstrap;
pub mod elf;
pub mod host;
mod interrupt;
pub mod libraries;
mod partial;
mod remove;
mod report;
pub mod tarball;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use remove::{remove_tree, size_of};
pub use report::{MANIFEST, Missing, Origin, Report, SourceFile};

use crate::{Error, Result};

/// What a root file system is to be made from, as `--from` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `host`: the machine's own tools.
    Host,
    /// `debian` or `debian:SUITE`: debootstrap. Without a suite: the current stable.
    Debian {
        /// `bookworm`, `noble`.
        suite: Option<String>,
    },
    /// The path of a tar archive.
    Tarball(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            _ if text == "host" => Ok(Self::Host),
            _ if text == "debian" => Ok(Self::Debian { suite: None }),
            Some(("debian", suite)) => Ok(Self::Debian { suite: Some(suite.to_owned()) }),
            _ if Path::new(text).is_dir() => Err(Error::new(format!("--from {text}"))
                .because("it is a directory")
                .hint("a directory is a root file system as it is; to copy it: cp -a")),
            _ if text.contains(['/', '.']) => Ok(Self::Tarball(PathBuf::from(text))),
            _ => Err(Error::new(format!("--from {text}"))
                .because("it is neither host, nor debian:SUITE, nor the path of an archive")
                .hint("--from host, --from debian:stable or --from ./rootfs.tar.gz")),
        }
    }
}

/// Makes a root file system at `dir` from any source. `include` and `mirror` are for debootstrap;
/// `progress` is given a line whenever a slow source has got further.
///
/// # Errors
/// As [`host::create`], [`debootstrap::create`], [`tarball::create`].
pub fn create(
    dir: &Path,
    source: &Source,
    include: &[String],
    force: bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Report> {
    if !include.is_empty() && !matches!(source, Source::Debian { .. }) {
        return Err(Error::new("--include adds packages to --from debian only")
            .hint("add --from debian, or leave --include out"));
    }
    match source {
        Source::Host => host::create(dir, force),
        Source::Debian { suite } => {
            let wanted = debootstrap::Wanted {
                suite: suite.clone().unwrap_or(debootstrap::DEFAULT_SUITE.into()),
                include: include.to_vec(),
                mirror: None,
            };
            debootstrap::create(dir, &wanted, force, progress)
        }
        Source::Tarball(file) => tarball::create(dir, file, force),
    }
}

/// Refuses what a container must not be started on: a few system calls, done before every start.
///
/// A `/proc`, `/sys` or `/dev` that is a symbolic link would let the image say where the kernel's
/// files are mounted, and what is masked in them would be masked somewhere else: CVE-2019-16884.
/// Those that are absent are fine; they are made.
///
/// # Errors
/// `dir` is missing, no directory or empty, or one of the three is no directory.
pub fn validate(dir: &Path) -> Result<()> {
    unfit(dir).map_err(|(why, hint)| {
        Error::new(format!("{} is no root file system", dir.display())).because(why).hint(hint)
    })
}

/// Why no container may be started on `dir`, and what to try.
fn unfit(dir: &Path) -> Result<(), (String, String)> {
    let make = || "make one: rootfs create DIR".to_owned();
    let mut entries = fs::read_dir(dir).map_err(|error| (error.to_string(), make()))?;
    if entries.next().is_none() {
        return Err(("it is empty".to_owned(), make()));
    }
    for name in ["proc", "sys", "dev"] {
        let why = match fs::symlink_metadata(dir.join(name)) {
            Ok(found) if found.is_dir() => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => error.to_string(),
            Ok(found) if found.is_symlink() => {
                format!("its /{name} is a symbolic link: a mount there could land anywhere")
            }
            Ok(_) => format!("its /{name} is no directory"),
        };
        let hint = format!("if you trust the rest, make its /{name} an empty directory");
        return Err((why, hint));
    }
    Ok(())
}

/// A value of the `os-release(5)` file of the system at `root`.
fn os_release(root: &Path, key: &str) -> Option<String> {
    let read = |path| fs::read_to_string(root.join(path));
    let text = read("etc/os-release").or_else(|_| read("usr/lib/os-release")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sources() {
        assert_eq!("host".parse(), Ok(Source::Host));
        assert_eq!("debian".parse(), Ok(Source::Debian { suite: None }));
        let bookworm = Source::Debian { suite: Some("bookworm".into()) };
        assert_eq!("debian:bookworm".parse(), Ok(bookworm));
        assert_eq!("./a.tar".parse(), Ok(Source::Tarball("./a.tar".into())));
        for wrong in ["fedora", "fedora:40", "", "/"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let message = || validate(root).unwrap_err().to_string();
        assert!(validate(&root.join("none")).unwrap_err().to_string().contains("No such file"));
        assert!(message().contains("it is empty"));
        fs::create_dir(root.join("bin")).unwrap();
        validate(root).unwrap();
        for name in ["proc", "sys", "dev"] {
            symlink("bin", root.join(name)).unwrap();
            assert!(message().contains(&format!("/{name} is a symbolic link")));
            fs::remove_file(root.join(name)).unwrap();
            fs::write(root.join(name), "").unwrap();
            assert!(message().contains(&format!("/{name} is no directory")));
            fs::remove_file(root.join(name)).unwrap();
            fs::create_dir(root.join(name)).unwrap();
        }
        validate(root).unwrap();
        assert!(validate(&root.join("bin/x")).is_err());
    }
}
