//! What a root file system was made from: told to the user, and kept in it.

use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The name of the file below the root directory that holds the report as JSON.
pub const MANIFEST: &str = ".rootfs.json";

/// Larger than any we write; a container may have replaced the file by another.
const LARGEST: u64 = 4 << 20;

/// What was made, and from what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where it comes from.
    pub origin: Origin,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The programs it has, by name, sorted (only from the host).
    #[serde(default)]
    pub programs: Vec<String>,
    /// The programs it should have and has not (only from the host).
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// What was left out, with the reason, as sentences.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// The host's files it was copied from (only from the host).
    #[serde(default)]
    pub sources: Vec<SourceFile>,
    /// Which build of `probe` it has (only from the host).
    #[serde(default)]
    pub probe: Option<String>,
}

/// Where a root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub enum Origin {
    /// The tools of this machine.
    Host {
        /// The machine's system: `Debian GNU/Linux 12 (bookworm)`.
        system: String,
    },
    /// debootstrap.
    Debian {
        /// What was asked for: `stable`.
        suite: String,
        /// What that is: `trixie`; None when the tree does not say.
        codename: Option<String>,
        /// Where the packages come from; None: debootstrap's own choice.
        mirror: Option<String>,
        /// The packages added.
        include: Vec<String>,
    },
    /// A tar archive.
    Tarball {
        /// Its path, absolute.
        file: PathBuf,
    },
}

/// A program that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name.
    pub program: String,
    /// The Debian package that has it.
    pub package: String,
}

/// A file of the host and the state it was copied in. The copy has the same size and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its real path, which is also the path of the copy inside.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When it last changed: seconds since 1970,
    pub seconds: i64,
    /// and nanoseconds.
    pub nanoseconds: i64,
}

impl Report {
    /// An empty report, made now.
    pub fn new(origin: Origin) -> Self {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            origin,
            created: since_1970.map_or(0, |time| time.as_secs()),
            programs: Vec::new(),
            missing: Vec::new(),
            skipped: Vec::new(),
            sources: Vec::new(),
            probe: None,
        }
    }

    /// Reads the report of the root file system at `root`; None when it has none we understand:
    /// it is not one we made.
    pub fn read(root: &Path) -> Option<Self> {
        // What runs inside may put anything in its place: a link, a FIFO, an endless file.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, root.join(MANIFEST), flags, Mode::empty()).ok()?);
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it into the root file system at `root`, which nobody else uses yet.
    ///
    /// # Errors
    /// `open(2)`, `write(2)`.
    pub fn write(&self, root: &Path) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::new(format!("cannot write {}", root.join(MANIFEST).display())).because(error)
        };
        let mut text = serde_json::to_string(self).map_err(|error| failed(&error))?;
        text.push('\n');
        // An archive may have brought a file, or a link, of that name.
        let removed = std::fs::remove_file(root.join(MANIFEST));
        removed
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .and_then(|()| std::fs::write(root.join(MANIFEST), text))
            // Whoever may enter the tree may know what it is.
            .and_then(|()| {
                std::fs::set_permissions(root.join(MANIFEST), Permissions::from_mode(0o644))
            })
            .map_err(|error| failed(&error))
    }
}
