//! Privileges: who the process is, and what it may ask the kernel for.

use std::fs;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use part1_chroot::Program;
use shared::error::{Call, Error, Result};
use shared::identity::Identity;
use shared::part::Request;
use shared::recipe::{Place, Recipe, Step, no_tool};
use shared::spec::{Service, Ulimit};

use crate::PART;
use crate::account::Account;
use crate::capabilities::{CapabilitySet, apply, drop_bounding, resolve};
use crate::namespaces::not_mapped;
use crate::seccomp;

pub(crate) fn add(recipe: &mut Recipe, request: &Request) -> Result<()> {
    let service = request.service;
    let account = Account::of(service, &request.rootfs)?;
    let identity = Identity::of_user(request.user);
    if !identity.has(account.uid) {
        return Err(not_mapped("user", account.uid));
    }
    if !identity.has(account.gid) {
        return Err(not_mapped("group", account.gid));
    }
    for step in steps(service, &account, &identity)? {
        recipe.insert_before("close fds", step);
    }
    recipe.replace("execve", Program::of(request, &account.home)?.execve());
    Ok(())
}

/// The steps that give up privileges, in their order; `exec` takes the same.
pub(crate) fn steps(
    service: &Service,
    account: &Account,
    identity: &Identity,
) -> Result<Vec<Step>> {
    // In a user namespace of its own the process has every capability there is.
    let available = match identity {
        Identity::Same => CapabilitySet::own()?,
        _ => CapabilitySet::known()?,
    };
    let capabilities = resolve(&service.cap_add, &service.cap_drop, available)?;
    let mut steps = Vec::new();
    if !service.ulimits.is_empty() {
        steps.push(ulimits(service)?);
    }
    if let Some(score) = service.oom_score_adj {
        steps.push(oom_score(score));
    }
    steps.push(capability_bounds(capabilities));
    steps.push(user(account, identity.single().is_none()));
    steps.push(only_capabilities(capabilities));
    if !service.security.allow_new_privileges {
        steps.push(no_new_privs());
    }
    if !service.security.seccomp_unconfined {
        // Without no_new_privs, a filter may be installed only by who has CAP_SYS_ADMIN: so
        // before that is given up.
        let early = service.security.allow_new_privileges;
        let at = if early { steps.len() - 2 } else { steps.len() };
        steps.insert(at, seccomp_step(capabilities));
    }
    Ok(steps)
}

fn oom_score(score: i32) -> Step {
    Step::new(PART, Place::Child, "oom_score_adj")
        .what(format!("change how likely the OOM killer chooses it: {score}"))
        .why("when the machine's memory ends, some services should end before others")
        .section("2.20")
        .shell(format!("echo {score} > /proc/self/oom_score_adj"))
        .hint("a value below the present one needs CAP_SYS_RESOURCE on the host")
        .does(move || {
            fs::write("/proc/self/oom_score_adj", score.to_string())
                .call(format!("write(\"/proc/self/oom_score_adj\", {score})"))
        })
}

fn capability_bounds(set: CapabilitySet) -> Step {
    Step::new(PART, Place::Child, "capability bounds")
        .what("give up for ever the privileges it must not have")
        .why("what is not in the bounding set no program can gain, set-user-id or not")
        .section("2.21")
        .shell(format!("setpriv --bounding-set \"{}\" ...", shell_of(set)))
        .does(move || drop_bounding(set))
}

/// As `setpriv` has it: `-all,+chown`.
fn shell_of(set: CapabilitySet) -> String {
    let added = set.names().map(|name| match name.parse::<u32>() {
        Ok(number) => format!(",+cap_{number}"),
        Err(_) => format!(",+{}", name.to_lowercase()),
    });
    format!("-all{}", added.collect::<String>())
}

// ANCHOR: user
fn user(account: &Account, may_set_groups: bool) -> Step {
    let account = account.clone();
    let (uid, gid) = (account.uid, account.gid);
    let all: Vec<_> = account.groups.iter().map(ToString::to_string).collect();
    let groups = match (may_set_groups, all.is_empty()) {
        (false, _) => "--keep-groups".to_owned(),
        (true, true) => "--clear-groups".to_owned(),
        (true, false) => format!("--groups \"{}\"", all.join(",")),
    };
    Step::new(PART, Place::Child, "user")
        .what(format!("become user {uid}, group {gid}"))
        .why("what the program cannot do as this user, a flaw in it cannot do either")
        .section("2.20")
        .shell(format!("setpriv --reuid={uid} --regid={gid} {groups} --pdeathsig KILL ..."))
        .does(move || {
            if may_set_groups {
                let groups: Vec<_> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
                setgroups(&groups).call("setgroups()")?;
            }
            setgid(Gid::from_raw(gid)).call(format!("setgid({gid})"))?;
            setuid(Uid::from_raw(uid)).call(format!("setuid({uid})"))?;
            // A change of user makes the kernel forget this.
            prctl::set_pdeathsig(Signal::SIGKILL).call("prctl(PR_SET_PDEATHSIG)")
        })
}
// ANCHOR_END: user

fn only_capabilities(set: CapabilitySet) -> Step {
    Step::new(PART, Place::Child, "capabilities")
        .what(format!("keep only these privileges: {set}"))
        .why("root is many privileges; a service needs few of them, or none")
        .section("2.21")
        .shell("setpriv --inh-caps=-all ...")
        .does(move || apply(set))
}

// ANCHOR: no_new_privs
fn no_new_privs() -> Step {
    Step::new(PART, Place::Child, "no_new_privs")
        .what("let no program gain privileges")
        .why("a set-user-id program in the image would otherwise be a way up")
        .section("2.22")
        .shell("setpriv --no-new-privs ...")
        .does(|| prctl::set_no_new_privs().call("prctl(PR_SET_NO_NEW_PRIVS)"))
}
// ANCHOR_END: no_new_privs

// ANCHOR: seccomp
fn seccomp_step(capabilities: CapabilitySet) -> Step {
    let filter = seccomp::filter(capabilities);
    Step::new(PART, Place::Child, "seccomp")
        .what("allow only the system calls that programs need")
        .why("each of the others is a door into the kernel that a flaw may be behind")
        .section("2.23")
        .shell(no_tool("a filter of system calls"))
        .does(move || filter.install())
}
// ANCHOR_END: seccomp

fn ulimits(service: &Service) -> Result<Step> {
    let limits = service
        .ulimits
        .iter()
        .map(|(name, limit)| Ok((name.clone(), resource(name)?, *limit)))
        .collect::<Result<Vec<_>>>()?;
    let shell: Vec<_> = limits
        .iter()
        .map(|(name, _, l)| {
            format!("--{name}={}:{}", shell_of_limit(l.soft), shell_of_limit(l.hard))
        })
        .collect();
    Ok(Step::new(PART, Place::Child, "ulimits")
        .what("set the limits of each process")
        .why("cgroups limit the container as a whole, these each of its processes")
        .section("2.20")
        .shell(format!("prlimit {} --pid $$", shell.join(" ")))
        .hint("raising a hard limit needs CAP_SYS_RESOURCE on the host")
        .does(move || {
            limits.iter().try_for_each(|(name, resource, Ulimit { soft, hard })| {
                // -1 is RLIM_INFINITY, which is all bits set.
                setrlimit(*resource, *soft as u64, *hard as u64)
                    .call(format!("setrlimit({name}, {soft}, {hard})"))
            })
        }))
}

fn shell_of_limit(limit: i64) -> String {
    if limit < 0 { "unlimited".to_owned() } else { limit.to_string() }
}

fn resource(name: &str) -> Result<Resource> {
    Ok(match name {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "locks" => Resource::RLIMIT_LOCKS,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "msgqueue" => Resource::RLIMIT_MSGQUEUE,
        "nice" => Resource::RLIMIT_NICE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "rss" => Resource::RLIMIT_RSS,
        "rtprio" => Resource::RLIMIT_RTPRIO,
        "rttime" => Resource::RLIMIT_RTTIME,
        "sigpending" => Resource::RLIMIT_SIGPENDING,
        "stack" => Resource::RLIMIT_STACK,
        other => {
            return Err(Error::new(format!("ulimits: there is no limit called {other:?}"))
                .hint("see getrlimit(2) for the names, without RLIMIT_ and in lower case"));
        }
    })
}
