//! What the process sees: one namespace for each kind of thing. See `namespaces(7)`.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::setsid;
use shared::error::{Call, Error};
use shared::identity::{self, Identity};
use shared::part::Request;
use shared::recipe::{Place, Recipe, Step};
use shared::spec::NetworkMode;

use crate::PART;

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    // ANCHOR: flags
    recipe.clone.namespaces |= CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if request.service.network_mode != NetworkMode::Host {
        recipe.clone.namespaces |= CloneFlags::CLONE_NEWNET;
    }
    let identity = Identity::of_user(request.user);
    if !request.user.is_root() {
        recipe.clone.namespaces |= CloneFlags::CLONE_NEWUSER;
        recipe.notes.extend(identity.note());
    }
    recipe.replace("clone", clone(recipe.clone.namespaces, &identity));
    // ANCHOR_END: flags
    recipe.insert_before("chroot", session());
    if let Some(step) = map_from_host(&identity) {
        recipe.insert_before("chroot", step);
        recipe.insert_before("chroot", wait_for_map());
    } else if let Some(step) = map_from_child(&identity) {
        recipe.insert_before("chroot", step);
    }
    recipe.insert_before("chroot", cgroup_namespace());
}

/// Late in the recipe: meanwhile the host may lay a cable into the new namespace (part 5), and
/// the kernel changes one interface at a time. But before the root changes: a shell that does the
/// same finds `ip` on the host only.
pub(crate) fn add_loopback(recipe: &mut Recipe, request: &Request) {
    if request.service.network_mode != NetworkMode::Host {
        recipe.insert_before("pivot_root", loopback());
    }
}

fn clone(namespaces: CloneFlags, identity: &Identity) -> Step {
    let user = if identity.single().is_some() { "--user --map-root-user" } else { "--user" };
    let options: Vec<_> = [
        (CloneFlags::CLONE_NEWUSER, user),
        (CloneFlags::CLONE_NEWPID, "--pid --fork"),
        (CloneFlags::CLONE_NEWNS, "--mount"),
        (CloneFlags::CLONE_NEWUTS, "--uts"),
        (CloneFlags::CLONE_NEWIPC, "--ipc"),
        (CloneFlags::CLONE_NEWNET, "--net"),
    ]
    .into_iter()
    .filter(|(flag, _)| namespaces.contains(*flag))
    .map(|(_, option)| option)
    .collect();
    Step::new(PART, Place::Clone, "clone")
        .what("make a new process in namespaces of its own")
        .why("it sees only what is in them: its processes, mounts, names and network")
        .section("2.2")
        .shell(format!("unshare {} --kill-child ... &", options.join(" ")))
        .hint(
            "see `doctor`; without root this needs user namespaces \
             (sysctl user.max_user_namespaces, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0)",
        )
}

// ANCHOR: session
pub(crate) fn session() -> Step {
    Step::new(PART, Place::Child, "session")
        .what("start a session of its own")
        .why("without one it could push keystrokes into our terminal (CVE-2017-5226)")
        .section("2.19")
        .shell("setsid ...")
        .does(|| setsid().call("setsid()").map(drop))
}
// ANCHOR_END: session

/// A map of many ids needs `newuidmap(1)`, which has the privilege to write it.
fn map_from_host(identity: &Identity) -> Option<Step> {
    let (uids, gids) = identity.ranges()?;
    let (uids_shown, gids_shown) = (uids.join(" "), gids.join(" "));
    let shell = format!("newuidmap \"$PID\" {uids_shown}\nnewgidmap \"$PID\" {gids_shown}");
    let step = Step::new(PART, Place::Attach, "id map")
        .what("map the users inside to a range of ours outside")
        .why("root inside is an ordinary user outside, and other users can exist inside")
        .section("2.18")
        .shell(shell)
        .hint("check /etc/subuid and /etc/subgid, and that newuidmap is set-user-id root")
        .does_with(move |context| match context.pid {
            Some(pid) => identity::map_from_host(pid, &uids, &gids),
            None => Ok(()),
        });
    Some(step)
}

fn wait_for_map() -> Step {
    Step::new(PART, Place::Child, "wait for the id map")
        .what("wait until the host has mapped the users")
        .why("before that nobody owns anything in the new namespace")
        .section("2.18")
        .shell("# it has waited; from its next program on it is root inside")
        .does_with(|context| context.await_host("id map"))
}

// ANCHOR: map_from_child
/// A map of one id, our own, may be written by the process itself: `user_namespaces(7)`.
fn map_from_child(identity: &Identity) -> Option<Step> {
    let (uid, gid) = identity.single()?;
    let step = Step::new(PART, Place::Child, "id map")
        .what(format!("map root inside to user {uid} outside"))
        .why("root inside is an ordinary user outside")
        .section("2.18")
        .shell(format!(
            "# --map-root-user did it: echo deny >/proc/self/setgroups; \
             echo 0 {uid} 1 >/proc/self/uid_map; echo 0 {gid} 1 >/proc/self/gid_map"
        ))
        .does(move || identity::map_self(uid, gid));
    Some(step)
}
// ANCHOR_END: map_from_child

// ANCHOR: cgroup_namespace
fn cgroup_namespace() -> Step {
    Step::new(PART, Place::Child, "cgroup namespace")
        .what("see its own cgroup as the root of the tree")
        .why("the names of the host's cgroups tell what else runs there")
        .section("2.16")
        .shell("unshare --cgroup ...")
        .does(|| {
            // Not part of clone: the namespace's root is the cgroup of whoever unshares, so the
            // process must be in its cgroup first.
            unshare(CloneFlags::CLONE_NEWCGROUP).call("unshare(CLONE_NEWCGROUP)")
        })
}
// ANCHOR_END: cgroup_namespace

// ANCHOR: loopback
fn loopback() -> Step {
    Step::new(PART, Place::Child, "loopback")
        .what("bring up the loopback interface")
        .why("a new network namespace has only `lo`, and that is down")
        .section("2.15")
        .shell("ip link set lo up")
        .does(shared::netlink::loopback_up)
}
// ANCHOR_END: loopback

/// What [`Identity`] cannot give is an error before anything starts.
pub(crate) fn not_mapped(what: &str, id: u32) -> Error {
    Error::new(format!("{what} {id} does not exist in this user namespace")).hint(
        "give your user a range in /etc/subuid and /etc/subgid \
         (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME), \
         or run it as root",
    )
}
