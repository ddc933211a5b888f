//! What a session can leave, and how each goes: processes, containers, loop devices, mounts,
//! cgroups, files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpid};

use super::place::{PATIENCE, Place};
use crate::cli::remove as remove_container;
use crate::home::Home;
use crate::part::User;
use crate::{identity, ownership, sys};

impl Place {
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

    /// Kills what was the session's and lost its keeper.
    pub(super) fn kill_strangers(&self) {
        for pid in self.strangers() {
            let _ = kill(pid, Signal::SIGKILL);
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
        if self.mounts().next().is_some() {
            // Removing would go on in what is mounted there.
            return vec![format!("mounts below {}", self.root().display())];
        }
        for cgroup in cgroups_called(&self.cgroup()) {
            if let Err(error) = remove_cgroup(&cgroup) {
                left.push(format!("the cgroup {}: {error}", cgroup.display()));
            }
        }
        let gone = fs::remove_dir_all(self.root()).or_else(|error| {
            // Files of a container's other users are not ours, but they are this root's.
            let user = User::current();
            if user.is_root() {
                return Err(error);
            }
            identity::as_root_inside(user, || fs::remove_dir_all(self.root())).map_err(|_| error)
        });
        if let Err(error) = gone {
            left.push(format!("{}: {error}", self.root().display()));
        }
        left
    }

    fn unmount(&self) {
        let mut below: Vec<_> = self.mounts().collect();
        below.reverse();
        for point in below {
            let _ = umount2(&point, MntFlags::MNT_DETACH);
        }
    }

    /// Where something is mounted below the lab, in the order of the mount table.
    fn mounts(&self) -> impl Iterator<Item = PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        points.filter(|point| point.starts_with(self.root())).collect::<Vec<_>>().into_iter()
    }

    fn detach_loop_devices(&self) {
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let file = fs::read_to_string(entry.path().join("loop/backing_file"));
            // Where a mount is in the way, its path does not begin as ours does.
            let is_ours = |part: &OsStr| Some(part) == self.root().file_name();
            if file.is_ok_and(|file| Path::new(file.trim()).iter().any(is_ours))
                && let Ok(device) = File::open(Path::new("/dev").join(entry.file_name()))
            {
                let _ = sys::loop_device::detach(device.as_fd());
            }
        }
    }
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
