//! Each kind of namespace: made, and seen to be another one. See `namespaces(7)`.

use std::fs;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{ForkResult, getpid, sethostname};

use super::Need;
use super::privileges::tmpfs_on_root;
use crate::error::{Call, Failed};
use crate::lab::trial::{CLONE_NEWTIME, Tried, alone_in, ended_well};
use crate::{netlink, sys};

pub(super) const NEEDS: &[Need] = &[
    Need::new("pidns", "process ids of one's own", pidns).kernel((3, 8), "CONFIG_PID_NS"),
    Need::new("mountns", "mounts of one's own", mountns).kernel((3, 8), "CONFIG_NAMESPACES"),
    Need::new("utsns", "a host name of one's own", utsns).kernel((3, 8), "CONFIG_UTS_NS"),
    Need::new("ipcns", "System V IPC and message queues of one's own", ipcns)
        .kernel((3, 8), "CONFIG_IPC_NS"),
    Need::new("netns", "a network of one's own", netns).kernel((3, 8), "CONFIG_NET_NS"),
    Need::new("cgroupns", "a view of the cgroup tree of one's own", cgroupns)
        .kernel((4, 6), "CONFIG_CGROUPS"),
    Need::new("timens", "clocks of one's own", timens).kernel((5, 6), "CONFIG_TIME_NS"),
];

fn pidns() -> Tried {
    alone_in(CloneFlags::CLONE_NEWPID, || effect(getpid().as_raw() == 1))
}

fn mountns() -> Tried {
    alone_in(CloneFlags::CLONE_NEWNS, tmpfs_on_root)
}

fn utsns() -> Tried {
    alone_in(CloneFlags::CLONE_NEWUTS, || {
        sethostname("inside-docker").call("sethostname()")?;
        Ok(())
    })
}

fn ipcns() -> Tried {
    another("ipc", CloneFlags::CLONE_NEWIPC)
}

fn netns() -> Tried {
    alone_in(CloneFlags::CLONE_NEWNET, || Ok(netlink::loopback_up()?))
}

fn cgroupns() -> Tried {
    another("cgroup", CloneFlags::CLONE_NEWCGROUP)
}

/// Only children of who makes it are in it, and before the first one its clocks are set.
fn timens() -> Tried {
    alone_in(CLONE_NEWTIME, || {
        fs::write("/proc/self/timens_offsets", "boottime 86400 0")
            .call("write(/proc/self/timens_offsets)")?;
        let before = uptime();
        match sys::fork().call("fork()")? {
            ForkResult::Parent { child } => effect(ended_well(child)),
            ForkResult::Child => sys::exit_now(u8::from(uptime() < before + 86_400.0)),
        }
    })
}

/// Seconds since boot, as `/proc/uptime` tells the reader.
fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0)
}

/// `/proc/self/ns/NAME` must be another one than before.
fn another(name: &'static str, flag: CloneFlags) -> Tried {
    let path = format!("/proc/self/ns/{name}");
    let now = move || fs::read_link(&path).call(format!("readlink({path:?})"));
    let before = now()?;
    alone_in(flag, move || effect(now()? != before))
}

fn effect(is_there: bool) -> Tried {
    if is_there {
        Ok(())
    } else {
        Err(Failed::new("the namespace had no effect", Errno::EIO).into())
    }
}
