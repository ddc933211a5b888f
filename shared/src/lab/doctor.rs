//! Which part needs what, what takes the place of what is missing, and whether a part can run.

use std::collections::BTreeMap;

use nix::unistd::geteuid;
use serde::Serialize;

use super::needs::{self, Need, Unmet};

/// The five parts, each with what it adds.
pub const PARTS: [&str; 5] = ["chroot", "namespaces", "cgroups", "overlay", "network"];

/// A need of a part.
struct Row {
    part: u8,
    need: &'static str,
    /// What happens without it; empty when the part cannot do without.
    instead: &'static [Instead],
}

/// What happens where a need is not met.
struct Instead {
    when: When,
    what: &'static str,
}

/// When something can take a need's place.
enum When {
    Always,
    Root,
    NotRoot,
    /// Another need is met.
    Met(&'static str),
    /// Another need is met, and the binary is one of part 2 or later.
    MetFromPart2(&'static str),
}

const fn row(part: u8, need: &'static str, instead: &'static [Instead]) -> Row {
    Row { part, need, instead }
}

const fn when(when: When, what: &'static str) -> Instead {
    Instead { when, what }
}

/// In the order of the parts. A part also needs what the parts before it need.
const ROWS: &[Row] = &[
    row(1, "root", &[when(When::MetFromPart2("userns"), "from part 2 on, a user namespace")]),
    row(1, "clone3", &[]),
    row(
        1,
        "debootstrap",
        &[when(When::Always, "`rootfs create --from host` needs nothing but this machine")],
    ),
    row(
        1,
        "mirror",
        &[when(When::Always, "`rootfs create --from host` needs nothing but this machine")],
    ),
    row(
        1,
        "block-device",
        &[
            when(When::Met("loop-device"), "a loop device, for the experiment that reads a disk"),
            when(When::Always, "the one experiment that reads a disk is left out"),
        ],
    ),
    row(
        1,
        "loop-device",
        &[
            when(When::Met("block-device"), "the disk there is"),
            when(When::Always, "the experiments that want a disk of their own are left out"),
        ],
    ),
    row(2, "userns", &[when(When::Root, "root needs none; the experiment with one is left out")]),
    row(2, "subuid", &[when(When::Always, "only the user root exists inside")]),
    row(2, "pidns", &[]),
    row(2, "mountns", &[]),
    row(2, "utsns", &[]),
    row(2, "ipcns", &[]),
    row(2, "netns", &[]),
    row(2, "cgroupns", &[]),
    row(2, "timens", &[when(When::Always, "no container uses one; an experiment is left out")]),
    row(2, "proc", &[]),
    row(2, "mount-api", &[]),
    row(2, "seccomp", &[]),
    row(3, "cgroup2", &[when(When::Met("cgroup1"), "cgroup version 1")]),
    row(3, "cgroup1", &[when(When::Met("cgroup2"), "cgroup version 2")]),
    row(3, "delegation", &[when(When::Met("cgroup1"), "cgroup version 1")]),
    row(3, "memory", &[]),
    row(3, "pids", &[]),
    row(3, "cpu", &[]),
    row(3, "cpuset", &[when(When::Always, "`cpuset` is not enforced, and a note says so")]),
    row(3, "io", &[when(When::Always, "`blkio_config` is not enforced, and a note says so")]),
    row(3, "psi", &[when(When::Always, "no part uses it; an experiment is left out")]),
    row(
        3,
        "devices",
        &[
            when(When::Met("bpf-device"), "a bpf program"),
            when(When::NotRoot, "without root nobody can make a device file that works"),
            when(When::Always, "containers cannot make device files (no CAP_MKNOD)"),
        ],
    ),
    row(
        3,
        "bpf-device",
        &[
            when(When::Met("devices"), "the devices cgroup of version 1"),
            when(When::NotRoot, "without root nobody can make a device file that works"),
            when(When::Always, "containers cannot make device files (no CAP_MKNOD)"),
        ],
    ),
    row(4, "overlay", &[when(When::Met("overlay-userns"), "overlay in a user namespace")]),
    row(4, "overlay-userns", &[when(When::Met("overlay"), "overlay, by root")]),
    row(5, "veth", &[]),
    row(5, "bridge", &[]),
    row(5, "forwarding", &[when(When::NotRoot, "a small process that carries connections over")]),
    row(
        5,
        "nft",
        &[when(
            When::Always,
            "a small process publishes ports; containers reach each other, not the world",
        )],
    ),
];

/// What was found about one need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The first part that needs it, 1–5.
    pub part: u8,
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Whether this machine has it, for this user.
    pub met: bool,
    /// What takes its place where it is not met; None when nothing does.
    pub instead: Option<&'static str>,
    /// Why it is not met: the call that failed and the error in words.
    pub why: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// The need that is behind it.
    pub cause: Option<&'static str>,
}

/// What was found about all needs that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// The kernel's release: `6.1.0-18-amd64`.
    pub kernel: String,
    /// The effective user.
    pub uid: u32,
    /// Whether nothing is missing that has no substitute.
    pub ready: bool,
    /// Each need, in the order of the parts.
    pub needs: Vec<Finding>,
}

/// Tries what the parts up to `part` need. It is ready when each need is met or something takes
/// its place.
pub fn examine(part: u8) -> Checkup {
    let rows = ROWS.iter().filter(|row| row.part <= part);
    let mut answers = Answers::new(part);
    let needs = rows.filter_map(|row| answers.finding(row)).collect();
    checkup(needs, |finding| finding.met || finding.instead.is_some())
}

/// Tries these needs. It is ready when each is met itself.
pub fn examine_each(wanted: &[&Need], part: u8) -> Checkup {
    let is_wanted = |row: &&Row| wanted.iter().any(|need| need.name == row.need);
    let mut answers = Answers::new(part);
    let needs = ROWS.iter().filter(is_wanted).filter_map(|row| answers.finding(row)).collect();
    checkup(needs, |finding| finding.met)
}

fn checkup(needs: Vec<Finding>, is_fine: impl Fn(&Finding) -> bool) -> Checkup {
    let name = nix::sys::utsname::uname();
    Checkup {
        kernel: name.map(|n| n.release().to_string_lossy().into_owned()).unwrap_or_default(),
        uid: geteuid().as_raw(),
        ready: needs.iter().all(is_fine),
        needs,
    }
}

/// What the trials answered; each need is tried once.
struct Answers {
    part: u8,
    known: BTreeMap<&'static str, Result<(), Unmet>>,
}

impl Answers {
    fn new(part: u8) -> Self {
        Self { part, known: BTreeMap::new() }
    }

    fn of(&mut self, need: &'static Need) -> &Result<(), Unmet> {
        self.known.entry(need.name).or_insert_with(|| need.attempt())
    }

    fn is_met(&mut self, name: &str) -> bool {
        needs::find(name).is_some_and(|need| self.of(need).is_ok())
    }

    fn finding(&mut self, row: &Row) -> Option<Finding> {
        let need = needs::find(row.need)?;
        let unmet = self.of(need).clone().err();
        let instead = if unmet.is_some() { self.instead(row) } else { None };
        Some(Finding {
            part: row.part,
            name: need.name,
            what: need.what,
            met: unmet.is_none(),
            instead,
            cause: unmet.as_ref().and_then(|unmet| unmet.cause),
            why: unmet.as_ref().map(|unmet| unmet.why.clone()),
            advice: unmet.map(|unmet| unmet.advice),
        })
    }

    fn instead(&mut self, row: &Row) -> Option<&'static str> {
        let applies = |answers: &mut Self, when: &When| match when {
            When::Always => true,
            When::Root => geteuid().is_root(),
            When::NotRoot => !geteuid().is_root(),
            When::Met(name) => answers.is_met(name),
            When::MetFromPart2(name) => answers.part >= 2 && answers.is_met(name),
        };
        row.instead.iter().find(|instead| applies(self, &instead.when)).map(|found| found.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_need_is_one_of_a_part_and_each_name_is_a_need() {
        for need in needs::all() {
            assert_eq!(ROWS.iter().filter(|row| row.need == need.name).count(), 1, "{}", need.name);
        }
        for row in ROWS {
            assert!(needs::find(row.need).is_some(), "{}", row.need);
            for instead in row.instead {
                if let When::Met(name) | When::MetFromPart2(name) = instead.when {
                    assert!(needs::find(name).is_some(), "{name}");
                }
            }
        }
        assert!(ROWS.is_sorted_by_key(|row| row.part));
    }
}
