//! Which users of the host the users inside are: `user_namespaces(7)`, `subuid(5)`.

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::container::Link;
use crate::error::{Call, Failed};
use crate::part::User as Caller;
use crate::recipe::Outcome;
use crate::sys::{self, Cloned};

/// Ids from `inside` on are ids from `outside` on, `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id inside.
    pub inside: u32,
    /// The id outside that it is.
    pub outside: u32,
    /// How many follow each other.
    pub count: u32,
}

/// Who the users inside are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The same as outside: no user namespace.
    Same,
    /// Root inside is this user and group; there are no others.
    Single {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Root inside is this user; the others are its subordinate ids.
    Ranges {
        /// Of users.
        uids: [Range; 2],
        /// Of groups.
        gids: [Range; 2],
    },
}

impl Identity {
    /// What this user can have: all of a range, or itself only.
    pub fn of_user(user: Caller) -> Self {
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        if user.is_root() {
            return Self::Same;
        }
        // Root of a user namespace has no ids but those that were mapped into it.
        let is_inside = user.uid.is_root();
        let ranges = subordinate("/etc/subuid", uid).zip(subordinate("/etc/subgid", uid));
        match ranges {
            Some((uids, gids)) if !is_inside && is_installed("newuidmap") => Self::Ranges {
                uids: [Range { inside: 0, outside: uid, count: 1 }, uids],
                gids: [Range { inside: 0, outside: gid, count: 1 }, gids],
            },
            _ => Self::Single { uid, gid },
        }
    }

    /// Arguments of `newuidmap` and `newgidmap`.
    pub fn ranges(&self) -> Option<(Vec<String>, Vec<String>)> {
        let Self::Ranges { uids, gids } = self else { return None };
        let arguments = |ranges: &[Range; 2]| {
            ranges
                .iter()
                .flat_map(|range| [range.inside, range.outside, range.count])
                .map(|number| number.to_string())
                .collect()
        };
        Some((arguments(uids), arguments(gids)))
    }

    /// The user and group outside that root inside is, when there are no others.
    pub fn single(&self) -> Option<(u32, u32)> {
        match self {
            Self::Single { uid, gid } => Some((*uid, *gid)),
            _ => None,
        }
    }

    /// Whether a user (or group) of this number exists inside.
    pub fn has(&self, id: u32) -> bool {
        match self {
            Self::Same => true,
            Self::Single { .. } => id == 0,
            Self::Ranges { uids, .. } => {
                uids.iter().any(|range| (range.inside..range.inside + range.count).contains(&id))
            }
        }
    }

    /// What the user misses.
    pub fn note(&self) -> Option<String> {
        self.single().map(|_| {
            "users: only root exists inside, because this user has no range in /etc/subuid \
             (or newuidmap is not installed)"
                .to_owned()
        })
    }
}

/// Writes the maps of `pid` with `newuidmap(1)` and `newgidmap(1)`, which have the privilege.
///
/// # Errors
/// They are not installed, or refuse: `EPERM`.
pub fn map_from_host(pid: Pid, uids: &[String], gids: &[String]) -> Outcome {
    run("newuidmap", pid, uids)?;
    run("newgidmap", pid, gids)
}

fn run(program: &str, pid: Pid, ranges: &[String]) -> Outcome {
    let call = || format!("{program} {pid} {}", ranges.join(" "));
    let status = Command::new(program).arg(pid.to_string()).args(ranges).status().call(call())?;
    if status.success() { Ok(()) } else { Err(Failed::new(call(), Errno::EPERM)) }
}

/// Maps root inside to one user and group outside: a process may write this map itself.
///
/// # Errors
/// What `write(2)` answered.
pub fn map_self(uid: u32, gid: u32) -> Outcome {
    let write =
        |path: &str, text: &str| fs::write(path, text).call(format!("write({path:?}, {text:?})"));
    // Giving up setgroups(2) comes first: a group can also take permissions away.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"))
}

/// Does something as root of a user namespace: files of the container's other users are not
/// ours, but they are this root's.
///
/// The caller has one thread.
///
/// # Errors
/// The namespace cannot be made, or `act` failed (`EIO`; it has said why itself if it can).
pub fn as_root_inside(caller: Caller, act: impl FnOnce() -> std::io::Result<()>) -> Outcome {
    let identity = Identity::of_user(caller);
    let (host, child) = Link::pair()?;
    let (pid, pidfd) = match sys::clone3(CloneFlags::CLONE_NEWUSER, None).call("clone3(NEWUSER)")? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            drop(host);
            let mapped = match identity.single() {
                Some((uid, gid)) => map_self(uid, gid),
                None => child.await_host("id map"),
            };
            let done = mapped.is_ok() && act().is_ok();
            sys::exit_now(u8::from(!done))
        }
    };
    drop(child);
    if let Some((uids, gids)) = identity.ranges() {
        map_from_host(pid, &uids, &gids)?;
    }
    host.announce("id map");
    match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED).call("waitid(pidfd)")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        _ => Err(Failed::new("as root of a user namespace", Errno::EIO)),
    }
}

/// The first range of a user in `/etc/subuid` or `/etc/subgid`; ids inside start at 1.
fn subordinate(file: &str, uid: u32) -> Option<Range> {
    let name = name_of(uid);
    parse_subordinate(&fs::read_to_string(file).ok()?, uid, name.as_deref())
}

/// Read from `/etc/passwd` itself: `getpwuid(3)` may load a library, and a static program that
/// does so can crash.
fn name_of(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

fn parse_subordinate(text: &str, uid: u32, name: Option<&str>) -> Option<Range> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner != uid.to_string() {
            return None;
        }
        let outside = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        (count > 0 && count < u32::MAX).then_some(Range { inside: 1, outside, count })
    })
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text = "other:1:2\nada:100000:65536\n1001:300000:10\n";
        let range = |outside, count| Some(Range { inside: 1, outside, count });
        assert_eq!(parse_subordinate(text, 1000, Some("ada")), range(100_000, 65_536));
        assert_eq!(parse_subordinate(text, 1001, None), range(300_000, 10));
        assert_eq!(parse_subordinate(text, 1002, Some("eve")), None);
        assert_eq!(parse_subordinate("ada:x:y\nada:5", 0, Some("ada")), None);
    }

    #[test]
    fn ids_outside_the_ranges_do_not_exist() {
        let single = Identity::Single { uid: 1000, gid: 1000 };
        assert!(single.has(0) && !single.has(1));
        let range = Range { inside: 1, outside: 100_000, count: 10 };
        let root = Range { inside: 0, outside: 1000, count: 1 };
        let ranges = Identity::Ranges { uids: [root, range], gids: [root, range] };
        assert!(ranges.has(0) && ranges.has(10) && !ranges.has(11));
    }
}
