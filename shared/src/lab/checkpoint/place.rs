//! The lab: a directory for one session, and everything that goes when the session ends.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{AccessFlags, Pid, access, getpid};

use crate::cli::remove as remove_container;
use crate::home::Home;
use crate::part::User;
use crate::rootfs::host::PROBE;
use crate::{identity, ownership, sys};

/// What the directories of labs are called; the cgroups that a session makes are called so too.
const PREFIX: &str = "inside-docker-lab-";
/// Everything that was killed has ended after this.
const PATIENCE: Duration = Duration::from_secs(20);

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

    /// Kills what the session started: the descendants of this process, which is their reaper.
    pub(super) fn kill_descendants(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            // Whoever is forked while we look is seen in the next round.
            let alive = descendants(getpid());
            for pid in alive.iter().chain(&self.strangers()) {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                if status.pid().is_none() {
                    break;
                }
            }
            if alive.is_empty() || Instant::now() > end {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Processes of this lab that are nobody's descendants any more: it is in their environment.
    fn strangers(&self) -> Vec<Pid> {
        let mark = format!("LAB={}\0", self.lab().display());
        let is_ours = |pid: &Pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|text| text == mark.as_bytes())
        };
        processes().filter(|pid| *pid != getpid()).filter(is_ours).collect()
    }

    /// Undoes what containers of the session did to the machine.
    pub(super) fn remove_containers(&self) {
        let home = Home::below(&self.home());
        drop(ownership::sweep(&home));
        for entry in fs::read_dir(home.containers()).into_iter().flatten().flatten() {
            let _ = remove_container(&home, &entry.file_name().to_string_lossy(), true);
        }
    }

    /// Removes what is left of the session, and the directory. Answers what could not be.
    pub(super) fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        self.detach_loop_devices();
        self.unmount();
        for cgroup in cgroups_called(&self.cgroup()) {
            if let Err(error) = remove_cgroup(&cgroup) {
                left.push(format!("the cgroup {}: {error}", cgroup.display()));
            }
        }
        let gone = fs::remove_dir_all(&self.root).or_else(|error| {
            // Files of a container's other users are not ours, but they are this root's.
            let user = User::current();
            if user.is_root() {
                return Err(error);
            }
            identity::as_root_inside(user, || fs::remove_dir_all(&self.root)).map_err(|_| error)
        });
        if let Err(error) = gone {
            left.push(format!("{}: {error}", self.root.display()));
        }
        left
    }

    fn unmount(&self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        let mut below: Vec<_> = points.filter(|point| point.starts_with(&self.root)).collect();
        below.reverse();
        for point in below {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }

    fn detach_loop_devices(&self) {
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let file = fs::read_to_string(entry.path().join("loop/backing_file"));
            if file.is_ok_and(|file| Path::new(file.trim()).starts_with(&self.root))
                && let Ok(device) = File::open(Path::new("/dev").join(entry.file_name()))
            {
                let _ = sys::loop_device::detach(device.as_fd());
            }
        }
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
            for pid in place.strangers() {
                let _ = kill(pid, Signal::SIGKILL);
            }
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

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)))
}

/// All processes below one.
fn descendants(of: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> =
        processes().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The fourth field of `/proc/PID/stat`; the second may hold anything, but ends with `)`.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok().map(Pid::from_raw)
}

/// The cgroups whose name begins so, in all hierarchies.
fn cgroups_called(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match entry.file_name().to_string_lossy().starts_with(name) {
                true => found.push(entry.path()),
                false => todo.push(entry.path()),
            }
        }
    }
    found
}

/// A cgroup is removed from its leaves up; a process that was just killed may still be in it.
fn remove_cgroup(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(2));
            }
            done => return done,
        }
    }
}
