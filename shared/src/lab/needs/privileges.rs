//! Who we are, and which users we may be inside.

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Uid, chdir, chroot, dup2_stderr, geteuid, setuid};

use super::{Need, find_program};
use crate::error::Call;
use crate::identity::{Identity, as_root_inside};
use crate::lab::trial::{Tried, Trouble, alone_in, alone_in_user_namespace, in_child};
use crate::part::User;

pub(super) const NEEDS: &[Need] = &[
    Need::new("root", "the machine's root: chroot, mounts, device files", root),
    Need::new("userns", "a user namespace, and being root in it", userns)
        .kernel((3, 8), "CONFIG_USER_NS"),
    Need::new("subuid", "a range of users and groups of our own", subuid)
        .remedy("check /etc/subuid and /etc/subgid, and that newuidmap is set-user-id root"),
];

/// What the experiments of part 1 do, beside a directory of ours.
fn root() -> Tried {
    if !geteuid().is_root() {
        let why = format!("we are user {}", geteuid());
        return Err(Trouble::known(why, "run it as root (sudo)"));
    }
    alone_in(CloneFlags::CLONE_NEWNS, || {
        tmpfs_on_root()?;
        // A new mount over `/` is seen by who goes through it once more.
        chdir("/..").call("chdir(\"/..\")")?;
        chroot(".").call("chroot(\".\")")?;
        mknod("null", SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3)).call("mknod(c, 1:3)")?;
        // In a user namespace's file system a device can be there and not be opened.
        std::fs::File::open("null").call("open(c, 1:3)").map(drop)?;
        Ok(())
    })
}

/// The namespace alone proves little: Ubuntu's AppArmor lets it be made and forbids the rest.
fn userns() -> Tried {
    alone_in_user_namespace(CloneFlags::CLONE_NEWNS, tmpfs_on_root)
}

pub(super) fn tmpfs_on_root() -> Tried {
    let flags = MsFlags::empty();
    mount(Some("none"), "/", Some("tmpfs"), flags, None::<&str>).call("mount(\"/\", tmpfs)")?;
    Ok(())
}

/// User 1 inside is one of ours outside.
fn subuid() -> Tried {
    let user = User::current();
    if user.is_root() {
        return Ok(()); // Root maps what it likes.
    }
    if find_program("newuidmap").is_none() {
        let advice = "as root: apt install uidmap (Fedora: dnf install shadow-utils)";
        return Err(Trouble::known("newuidmap is not installed", advice));
    }
    if Identity::of_user(user).single().is_some() {
        return Err(Trouble::known(
            format!("user {} has no range in /etc/subuid and /etc/subgid", user.uid),
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME, \
             with a range that no other line has",
        ));
    }
    in_child(|| {
        // `newuidmap` says there what we say better.
        let null = std::fs::File::options().write(true).open("/dev/null");
        let _ = null.map(dup2_stderr);
        let become_another = || setuid(Uid::from_raw(1)).map_err(std::io::Error::from);
        as_root_inside(user, become_another).map_err(|failed| {
            let made = !failed.call.starts_with("clone3");
            if made { Trouble::Call(failed) } else { Trouble::UserNamespace(failed) }
        })
    })
}
