//! Users of the container: looked up in its own `/etc/passwd` and `/etc/group`, `passwd(5)`,
//! `group(5)`.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use shared::error::{Error, Result};
use shared::spec::Service;

/// A user of the container, looked up in its own `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// User id inside.
    pub(crate) uid: u32,
    /// Group id inside.
    pub(crate) gid: u32,
    /// Supplementary groups inside.
    pub(crate) groups: Vec<u32>,
    /// Its home directory.
    pub(crate) home: PathBuf,
}

impl Account {
    /// The user that `user:` names; root unless told.
    pub(crate) fn of(service: &Service, rootfs: &Path) -> Result<Self> {
        match service.user.as_deref() {
            None | Some("" | "0" | "root" | "0:0") => {
                Ok(Self { uid: 0, gid: 0, groups: vec![], home: "/root".into() })
            }
            Some(user) => {
                let read = |name| read_inside(rootfs, name).unwrap_or_default();
                Self::find(user, &read("etc/passwd"), &read("etc/group"))
            }
        }
    }

    fn find(user: &str, passwd: &str, group: &str) -> Result<Self> {
        let (name, group_name) = user.split_once(':').map_or((user, None), |(u, g)| (u, Some(g)));
        let known = passwd.lines().map(fields).find(|f| {
            f.len() >= 6 && (f[0] == name || (name.parse::<u32>().is_ok() && f[2] == name))
        });
        let number = |text: &str| text.parse::<u32>().ok();
        let uid = known.as_ref().map_or_else(|| number(name), |f| number(f[2]));
        let Some(uid) = uid else {
            return Err(Error::new(format!("the image has no user called {name:?}"))
                .hint("see its /etc/passwd, or give a number"));
        };
        let own_gid = known.as_ref().and_then(|f| number(f[3])).unwrap_or(0);
        let gid = match group_name {
            None => own_gid,
            Some(wanted) => find_group(wanted, group)?,
        };
        // With an explicit group, Docker gives no others.
        let groups = match (&known, group_name) {
            (Some(f), None) => groups_of(f[0], group, gid),
            _ => vec![gid],
        };
        let home = known.as_ref().map_or("/", |f| f[5]);
        Ok(Self { uid, gid, groups, home: home.into() })
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

fn find_group(wanted: &str, group: &str) -> Result<u32> {
    let known = group.lines().map(fields).find(|f| f.len() >= 3 && f[0] == wanted);
    known.and_then(|f| f[2].parse().ok()).or_else(|| wanted.parse().ok()).ok_or_else(|| {
        Error::new(format!("the image has no group called {wanted:?}"))
            .hint("see its /etc/group, or give a number")
    })
}

fn groups_of(user: &str, group: &str, gid: u32) -> Vec<u32> {
    let has = |f: &Vec<&str>| f.len() >= 4 && f[3].split(',').any(|member| member == user);
    let also = group.lines().map(fields).filter(has).filter_map(|f| f[2].parse().ok());
    [gid].into_iter().chain(also.filter(|other| *other != gid)).collect()
}

/// Reads a file of the image without being led out of it by a symbolic link (CVE-2024-9676).
fn read_inside(rootfs: &Path, name: &str) -> Option<String> {
    let root = rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).ok()?;
    let file = rustix::fs::openat2(
        root.as_fd(),
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS,
    )
    .ok()?;
    let mut text = String::new();
    // No /etc/passwd is that long; an image may hold anything.
    fs::File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlog:x:4:web,other\n";

    fn account(user: &str) -> Result<Account> {
        Account::find(user, PASSWD, GROUP)
    }

    #[test]
    fn a_user_is_found_by_name_and_number() {
        let web = Account { uid: 33, gid: 33, groups: vec![33, 4], home: "/var/www".into() };
        assert_eq!(account("web").unwrap(), web);
        assert_eq!(account("33").unwrap(), web);
        let stranger = Account { uid: 7, gid: 0, groups: vec![0], home: "/".into() };
        assert_eq!(account("7").unwrap(), Account { groups: vec![0], ..stranger });
    }

    #[test]
    fn an_explicit_group_is_the_only_one() {
        assert_eq!(account("web:log").unwrap().groups, [4]);
        assert_eq!(account("web:7").unwrap().gid, 7);
        assert!(account("web:nobody").is_err() && account("nobody").is_err());
    }
}
