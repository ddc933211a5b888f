//! What a part, an experiment or a test can need of the machine: each is tried for real.
//!
//! A file or a version number that says "yes" is no proof: a sysctl, a security module or a
//! container around us can forbid what the kernel could do. So each need is tried in a process
//! and in namespaces of its own, and nothing is left ([`trial`](super::trial)).

pub mod cgroups;
mod filesystems;
mod namespaces;
mod network;
mod privileges;
mod programs;
mod system_calls;

use super::machine::Machine;
use super::trial::Tried;

pub use programs::find_program;

/// Something that can be needed. See [`all`].
#[derive(Debug)]
pub struct Need {
    /// Its name, as a checkpoint's `needs:` and `doctor NAME` have it.
    pub name: &'static str,
    /// What it is, in a few words (at most 50 columns).
    pub what: &'static str,
    /// The first kernel that has it: (5, 12); (0, 0) for all that Rust runs on.
    pub since: (u32, u32),
    /// What a new enough kernel without it was built without, or has not loaded.
    pub option: &'static str,
    /// What to do about that.
    pub remedy: &'static str,
    try_it: fn() -> Tried,
}

/// Why a need is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The call that failed, the error in words, and the reason if we know it.
    pub why: String,
    /// What to do about it.
    pub advice: String,
    /// The name of the need that is behind it: once that is met, this one is asked again.
    pub cause: Option<&'static str>,
}

impl Need {
    const fn new(name: &'static str, what: &'static str, try_it: fn() -> Tried) -> Self {
        let option = "see the kernel's .config";
        let remedy = "use a distribution's own kernel";
        Self { name, what, since: (0, 0), option, remedy, try_it }
    }

    /// The first kernel that has it, and the option it is built with.
    const fn kernel(mut self, since: (u32, u32), option: &'static str) -> Self {
        self.since = since;
        self.option = option;
        self
    }

    /// What helps where the reason is none that all needs share.
    const fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = remedy;
        self
    }

    /// Tries it: some milliseconds.
    ///
    /// # Errors
    /// Why it is not met, and what to do about it.
    pub fn attempt(&self) -> Result<(), Unmet> {
        (self.try_it)().map_err(|trouble| Machine::look().explain(self, trouble))
    }
}

/// All there are.
pub fn all() -> impl Iterator<Item = &'static Need> {
    [
        privileges::NEEDS,
        system_calls::NEEDS,
        namespaces::NEEDS,
        cgroups::NEEDS,
        filesystems::NEEDS,
        network::NEEDS,
        programs::NEEDS,
    ]
    .into_iter()
    .flatten()
}

/// The one of this name.
pub fn find(name: &str) -> Option<&'static Need> {
    all().find(|need| need.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_fits_its_line() {
        for need in all() {
            assert!(std::ptr::eq(find(need.name).unwrap(), need), "{}", need.name);
            assert!(need.name.len() <= 14 && need.what.len() <= 50, "{}", need.name);
            assert!(need.since <= (6, 0), "{}", need.name);
        }
    }
}
