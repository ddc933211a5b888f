//! The root file system: a mount of its own, and `pivot_root`.

use std::os::fd::AsFd;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, fchdir, pivot_root};
use rustix::fs::{Mode, OFlags};
use shared::error::Call;
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::shell::quoted;

use crate::PART;
use crate::mounts::{attach, detached_bind, make_read_only};

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    recipe.insert_before("chroot", propagation());
    recipe.insert_before("chroot", bind(request));
}

/// `chroot` only moves a pointer of the process; `pivot_root` moves the mount table's root, and
/// the old one is unmounted: there is no way back to what is not mounted.
pub(crate) fn add_pivot(recipe: &mut Recipe, request: &Request) {
    recipe.replace("chroot", pivot());
    // It has a shell around it now: see part 1.
    recipe.replace("working directory", part1_chroot::working_directory(request.service));
    if request.service.read_only {
        recipe.insert_before("pivot_root", read_only());
    }
}

// ANCHOR: propagation
fn propagation() -> Step {
    Step::new(PART, Place::Child, "propagation")
        .what("make every mount private")
        .why("the host shares its mounts: what is mounted here would appear there")
        .section("2.7")
        .shell("mount --make-rprivate /")
        .does(|| {
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .call("mount(\"/\", MS_REC | MS_PRIVATE)")
        })
}
// ANCHOR_END: propagation

// ANCHOR: bind
fn bind(request: &Request) -> Step {
    let rootfs = request.rootfs.clone();
    let shown = quoted(rootfs.display());
    Step::new(PART, Place::Child, "rootfs")
        .what(format!("mount {} onto itself", rootfs.display()))
        .why("pivot_root wants a mount, not just a directory")
        .section("2.8")
        .shell(format!("mount --rbind {shown} {shown}; cd {shown}"))
        .does(move || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(&rootfs, flags, Mode::empty())
                .call(format!("open({rootfs:?})"))?;
            let tree = detached_bind(dir.as_fd(), true).call(format!("open_tree({rootfs:?})"))?;
            attach(tree.as_fd(), dir.as_fd()).call(format!("move_mount({rootfs:?})"))?;
            // From here on the new root is the working directory, whatever its path was.
            fchdir(&tree).call("fchdir(new root)")
        })
}
// ANCHOR_END: bind

fn read_only() -> Step {
    Step::new(PART, Place::Child, "read-only root")
        .what("make the root file system read-only")
        .why("a program that cannot change its files cannot be changed for good")
        .section("2.8")
        .shell("mount -o remount,bind,ro .")
        .does(|| {
            let root = crate::at_root()?;
            make_read_only(root.as_fd(), false)
        })
}

fn pivot() -> Step {
    Step::new(PART, Place::Child, "pivot_root")
        .what("make the new tree the root, and unmount the old one")
        .why("after chroot the old tree is still there to escape to; now it is gone")
        .section("2.9")
        .shell("pivot_root . .; umount -l .; cd /")
        .does(pivot_and_forget)
}

// ANCHOR: pivot
fn pivot_and_forget() -> Outcome {
    // With the same directory twice, the old root is stacked on the new one: no directory is
    // needed to put it in (pivot_root(2), NOTES).
    pivot_root(".", ".").call("pivot_root(\".\", \".\")")?;
    // What is on top at "." now is the old root: away with it, and with all below it.
    umount2(".", MntFlags::MNT_DETACH).call("umount2(\".\", MNT_DETACH)")?;
    chdir("/").call("chdir(\"/\")")
}
// ANCHOR_END: pivot
