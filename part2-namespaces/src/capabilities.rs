//! Capabilities: what the container's root may do.
//!
//! The kernel has cut the power of root into some forty capabilities. A container keeps the few
//! that programs need in their own house (own files, change user, listen on port 80) and loses
//! those that reach the machine (mount, load modules, set the clock).
//!
//! Each process has several sets. Two matter here. The *bounding* set is the wall: at `execve`,
//! root gets exactly its bounding set, and nothing below it ever gets more. The *inheritable*
//! set must be empty: what is in it can be had by a user who is not root (CVE-2022-24769).
//!
//! The child calls, in this order: [`drop_bounding`], `setgroups`/`setgid`/`setuid`, [`apply`].
//! The first needs `CAP_SETPCAP`, the change of user needs `CAP_SETUID` and `CAP_SETGID`, and
//! [`apply`] may take all three away.
//!
//! See `capabilities(7)`.

use std::fmt;

use rustix::thread::{self, CapabilitySets};
use shared::recipe::Outcome;
use shared::{Call, Error, Result};

/// Every capability of Linux 6.18. The place in the list is the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// In `cap_add` and `cap_drop`: every capability there is.
const ALL: &str = "ALL";

/// A set of capabilities: bit *n* is the kernel's capability number *n*.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    // ANCHOR: default
    /// What Docker gives a container that asks for nothing.
    pub const DEFAULT: Self = Self::of(&[
        // Its own files.
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "MKNOD",
        "SETFCAP",
        // Its own users and processes.
        "SETUID",
        "SETGID",
        "SETPCAP",
        "KILL",
        "SYS_CHROOT",
        // Its own network: `ping`, and ports below 1024.
        "NET_BIND_SERVICE",
        "NET_RAW",
        // `login` and `sshd` do not start without it.
        "AUDIT_WRITE",
    ]);
    // ANCHOR_END: default

    /// The capabilities of these names (upper case, without `CAP_`), for constants.
    ///
    /// # Panics
    /// When there is no such name; in a constant this is an error of compilation.
    pub const fn of(names: &[&str]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < names.len() {
            match number(names[i]) {
                Some(number) => bits |= 1 << number,
                None => panic!("no capability has this name"),
            }
            i += 1;
        }
        Self(bits)
    }

    /// The capability of this name (upper case, without `CAP_`), if there is one.
    pub fn named(name: &str) -> Option<Self> {
        number(name).map(|number| Self(1 << number))
    }

    /// Bit *n* is the kernel's capability number *n*.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit *n* is the kernel's capability number *n*.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it holds all of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it holds any of `other`.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is in this set or in `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set but not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names (upper case, without `CAP_`), in the kernel's order. A capability newer than
    /// Linux 6.18 is its number.
    pub fn names(self) -> impl Iterator<Item = String> {
        (0..u64::BITS as usize)
            .filter(move |number| self.0 >> number & 1 == 1)
            .map(|number| NAMES.get(number).map_or(number.to_string(), ToString::to_string))
    }

    /// The capabilities that a process of ours can hand on: our own (*permitted* set).
    ///
    /// # Errors
    /// Never on a Linux we know.
    pub fn own() -> Result<Self> {
        let sets = thread::capabilities(None)
            .map_err(|e| Error::new("cannot read our own capabilities").because(e))?;
        Ok(Self(sets.permitted.bits()))
    }

    /// All that this kernel knows; the first process of a new user namespace has them there.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn known() -> Result<Self> {
        const LAST: &str = "/proc/sys/kernel/cap_last_cap";
        let failed = |cause: &dyn fmt::Display| {
            Error::new(format!("cannot read {LAST}")).because(cause).hint("is /proc mounted?")
        };
        let text = std::fs::read_to_string(LAST).map_err(|e| failed(&e))?;
        let last: u32 = text.trim().parse().map_err(|e| failed(&e))?;
        Ok(Self(u64::MAX >> (63 - last.min(63))))
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::EMPTY {
            return f.write_str("none");
        }
        f.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

/// The kernel's number of the capability called `name`.
const fn number(name: &str) -> Option<usize> {
    let mut number = 0;
    while number < NAMES.len() {
        if same(NAMES[number], name) {
            return Some(number);
        }
        number += 1;
    }
    None
}

/// `==` of two strings, which a constant cannot use yet.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The capabilities of a container with these `cap_add` and `cap_drop`, by Docker's rule:
///
/// - `cap_add: [ALL]` starts from everything `available` and takes what is dropped away;
/// - `cap_drop: [ALL]` starts from nothing and gives what is added;
/// - else the default without what is dropped, and then what is added: adding wins.
///
/// `available` is what we have to give: [`CapabilitySet::own`], or in a user namespace
/// [`CapabilitySet::known`]. A default we do not have is left out without a word; one that was
/// asked for by name is an error.
///
/// # Errors
/// A name that is no capability, or an added one that is not available.
pub fn resolve(add: &[String], drop: &[String], available: CapabilitySet) -> Result<CapabilitySet> {
    let (add_all, added) = read("cap_add", add)?;
    let (drop_all, dropped) = read("cap_drop", drop)?;
    let missing = added.without(available);
    if missing != CapabilitySet::EMPTY {
        return Err(Error::new(format!("cannot give the container {missing}"))
            .because("we do not have it ourselves")
            .hint("remove it from cap_add"));
    }
    Ok(if add_all {
        available.without(dropped)
    } else if drop_all {
        added
    } else {
        CapabilitySet::DEFAULT.and(available).without(dropped).with(added)
    })
}

/// Whether `ALL` is among the names of `key`, and the set of the others.
fn read(key: &str, names: &[String]) -> Result<(bool, CapabilitySet)> {
    let mut all = false;
    let mut set = CapabilitySet::EMPTY;
    for name in names {
        match CapabilitySet::named(name) {
            Some(capability) => set = set.with(capability),
            None if name == ALL => all = true,
            None => {
                return Err(Error::new(format!("{key}: there is no capability {name}"))
                    .hint("`man 7 capabilities` lists them; write ALL for every one"));
            }
        }
    }
    Ok((all, set))
}

// ANCHOR: drop_bounding
/// Makes `keep` the most that this process, its children and the programs they execute can ever
/// have: `PR_CAPBSET_DROP` of `prctl(2)` for each other capability.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn drop_bounding(keep: CapabilitySet) -> Outcome {
    for number in 0..u64::BITS {
        let capability = thread::CapabilitySet::from_bits_retain(1 << number);
        if keep.bits() & capability.bits() != 0 {
            continue;
        }
        match thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no capability of this number, and none above.
            Err(rustix::io::Errno::INVAL) if number > 0 => break,
            Err(errno) => return Err(errno).call("prctl(PR_CAPBSET_DROP)"),
        }
    }
    Ok(())
}
// ANCHOR_END: drop_bounding

/// Takes every capability but `keep` from this process, and leaves nothing to be inherited:
/// `capset(2)`.
///
/// To be called after the change of user. Then a user who is not root has none left (the kernel
/// took them at `setuid`), as in Docker. An empty inheritable set also empties the *ambient* set.
///
/// # Errors
/// Taking away cannot fail on a Linux we know.
pub fn apply(keep: CapabilitySet) -> Outcome {
    let now = thread::capabilities(None).call("capget")?;
    let kept = now.permitted & thread::CapabilitySet::from_bits_retain(keep.bits());
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: thread::CapabilitySet::empty(),
    };
    thread::set_capabilities(None, sets).call("capset")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERYTHING: CapabilitySet = CapabilitySet(u64::MAX >> (64 - NAMES.len()));

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn resolved(add: &[&str], drop: &[&str]) -> CapabilitySet {
        resolve(&strings(add), &strings(drop), EVERYTHING).unwrap()
    }

    #[test]
    fn the_default_is_dockers() {
        // `docker run --rm alpine grep CapBnd /proc/self/status`
        assert_eq!(CapabilitySet::DEFAULT.bits(), 0x0000_0000_a804_25fb);
        assert_eq!(CapabilitySet::DEFAULT.names().count(), 14);
        assert_eq!(resolved(&[], &[]), CapabilitySet::DEFAULT);
    }

    #[test]
    fn all_is_dockers() {
        assert_eq!(resolved(&["ALL"], &[]), EVERYTHING);
        assert_eq!(resolved(&[], &["ALL"]), CapabilitySet::EMPTY);
        assert_eq!(resolved(&["NET_RAW"], &["ALL"]), CapabilitySet::of(&["NET_RAW"]));
        let but_time = EVERYTHING.without(CapabilitySet::of(&["SYS_TIME"]));
        assert_eq!(resolved(&["ALL"], &["SYS_TIME"]), but_time);
        assert_eq!(resolved(&["CHOWN"], &["CHOWN"]), CapabilitySet::DEFAULT);
    }

    #[test]
    fn a_default_we_lack_is_left_out_but_not_one_that_was_asked_for() {
        let available = EVERYTHING.without(CapabilitySet::of(&["MKNOD", "SYS_RESOURCE"]));
        let set = resolve(&[], &[], available).unwrap();
        assert_eq!(set, CapabilitySet::DEFAULT.without(CapabilitySet::of(&["MKNOD"])));
        assert_eq!(resolve(&strings(&["ALL"]), &[], available).unwrap(), available);
        let error = resolve(&strings(&["SYS_RESOURCE"]), &[], available).unwrap_err();
        assert!(error.to_string().contains("SYS_RESOURCE"), "{error}");
        assert!(resolve(&strings(&["MKNOD"]), &[], available).is_err());
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        for name in ["SYS_ADMINN", "sys_admin", "CAP_SYS_ADMIN", "", "all"] {
            assert!(resolve(&strings(&[name]), &[], EVERYTHING).is_err(), "{name}");
            assert!(resolve(&[], &strings(&[name]), EVERYTHING).is_err(), "{name}");
        }
    }

    #[test]
    fn the_numbers_are_the_kernels() {
        for (name, theirs) in thread::CapabilitySet::all().iter_names() {
            assert_eq!(CapabilitySet::named(name).map(CapabilitySet::bits), Some(theirs.bits()));
        }
    }

    #[test]
    fn a_set_reads_as_its_names() {
        assert_eq!(CapabilitySet::EMPTY.to_string(), "none");
        assert_eq!(CapabilitySet::from_bits(1 << 63 | 1 << 13).to_string(), "NET_RAW 63");
    }

    fn some_names() -> impl Strategy<Value = Vec<String>> {
        let name = prop_oneof![9 => (0..NAMES.len()).prop_map(|i| NAMES[i]), 1 => Just(ALL)];
        prop::collection::vec(name.prop_map(ToString::to_string), 0..6)
    }

    proptest! {
        #[test]
        fn nothing_is_given_that_is_not_available(
            add in some_names(), drop in some_names(), available in 0..=EVERYTHING.bits(),
        ) {
            let available = CapabilitySet::from_bits(available);
            if let Ok(set) = resolve(&add, &drop, available) {
                prop_assert!(available.contains(set));
            }
        }

        #[test]
        fn what_is_dropped_is_gone_unless_added(add in some_names(), drop in some_names()) {
            let set = resolve(&add, &drop, EVERYTHING).unwrap();
            for name in drop.iter().filter(|name| *name != ALL && !add.contains(name)) {
                prop_assert!(!set.intersects(CapabilitySet::named(name).unwrap()), "{name}");
            }
        }

        #[test]
        fn what_is_beyond_the_default_was_added(add in some_names(), drop in some_names()) {
            let set = resolve(&add, &drop, EVERYTHING).unwrap();
            for name in set.without(CapabilitySet::DEFAULT).names() {
                prop_assert!(add.contains(&name) || add.iter().any(|a| a == ALL), "{name}");
            }
        }

        #[test]
        fn names_go_there_and_back(bits in 0..=EVERYTHING.bits()) {
            let set = CapabilitySet::from_bits(bits);
            let back = set.names().filter_map(|name| CapabilitySet::named(&name));
            prop_assert_eq!(back.fold(CapabilitySet::EMPTY, CapabilitySet::with), set);
        }
    }
}
