//! The lab: a directory for one session, locked by who cleans up after it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use crate::rootfs::host::PROBE;

/// What the directories of labs are called; the cgroups that a session makes are called so too.
const PREFIX: &str = "inside-docker-lab-";
/// Everything that was killed has ended after this.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A lab's directory.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    /// Held as long as somebody is there to clean up: closing it here leaves it with the keeper,
    /// which has a copy.
    lock: File,
}

impl Place {
    /// A new one.
    pub(super) fn create() -> io::Result<Self> {
        let name = format!("{PREFIX}{:08x}", super::vars::random() as u32);
        let root = fs::canonicalize(parent())?.join(name);
        fs::create_dir(&root)?;
        // A container's users, who are not we, must find their root file system in it.
        fs::set_permissions(&root, PermissionsExt::from_mode(0o755))?;
        let lock = File::create(root.join("lock"))?;
        lock.try_lock()?;
        let place = Self { root, lock };
        for dir in [place.lab(), place.bin(), place.control(), place.tmp()] {
            fs::create_dir(dir)?;
        }
        let probe = place.bin().join("probe");
        fs::write(&probe, PROBE)?;
        fs::set_permissions(probe, PermissionsExt::from_mode(0o755))?;
        Ok(place)
    }

    /// All of it lies below this directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The descriptor of its lock: it must stay open with whoever cleans up.
    pub(super) fn lock(&self) -> RawFd {
        self.lock.as_raw_fd()
    }

    /// Where the session begins.
    pub(super) fn lab(&self) -> PathBuf {
        self.root.join("lab")
    }

    /// The first directory of its `PATH`: our programs, and `probe`.
    fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// What we tell the shell, and it tells us.
    pub(super) fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// Its `TMPDIR`.
    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Its `INSIDE_DOCKER_HOME`.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// What a cgroup of the session's own is called.
    pub(super) fn cgroup(&self) -> String {
        self.root.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Puts a program into the session's `PATH`.
    pub(super) fn offer(&self, name: &str, program: &Path) -> io::Result<()> {
        symlink(program, self.bin().join(name))
    }

    /// The session's `PATH`.
    pub(super) fn path(&self) -> String {
        let ours = std::env::var("PATH").unwrap_or_default();
        format!("{}:{ours}:/usr/sbin:/sbin", self.bin().display())
    }
}

/// Where labs are made: `TMPDIR`, else `/var/tmp`, which is on a disk. Many systems have a `/tmp`
/// in memory, mounted so that no device file works there.
fn parent() -> PathBuf {
    let told = std::env::var_os("TMPDIR").map(PathBuf::from);
    told.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| {
        let disk = PathBuf::from("/var/tmp");
        if access(&disk, AccessFlags::W_OK).is_ok() { disk } else { std::env::temp_dir() }
    })
}

/// Cleans up after labs whose keeper was killed.
pub(super) fn sweep() {
    let ours = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(parent()).into_iter().flatten().flatten() {
        let is_lab = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_ours = |m: &fs::Metadata| m.is_dir() && m.uid() == ours;
        if !is_lab
            || !entry.metadata().is_ok_and(|m| is_ours(&m) && !is_being_made(&entry.path(), &m))
        {
            continue;
        }
        let lock = File::open(entry.path().join("lock"));
        if let Some(lock) = lock.ok().filter(|lock| lock.try_lock().is_ok()) {
            let place = Place { root: entry.path(), lock };
            place.kill_strangers();
            // Its network namespace went with its processes. What is on this machine's own may
            // have the same name: so only files and processes are looked at.
            drop(place.remove());
        }
    }
}

/// Whether somebody has just begun to make a lab and may not have locked it yet.
fn is_being_made(lab: &Path, metadata: &fs::Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
    age < PATIENCE && !lab.join("tmp").exists()
}
