//! A set of CPUs as the kernel writes it: `0-2,4`.

use std::collections::BTreeSet;
use std::fmt;

use shared::{Error, Result};

/// More CPUs than any kernel is built for (`CONFIG_NR_CPUS`).
const MOST: u32 = 8192;

/// A set of CPU numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// Reads `0-2,4`; the "List format" of `cpuset(7)`.
    ///
    /// # Errors
    /// It is something else, or empty.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(format!("{text:?} is not a list of CPUs"))
                .hint("write it as `0-2,4`; the first CPU is 0")
        };
        let number = |text: &str| text.parse::<u32>().ok().filter(|cpu| *cpu < MOST);
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
                _ => return Err(wrong()),
            }
        }
        Ok(Self(cpus))
    }

    /// Those of ours that `others` lacks.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        Self(self.0.difference(&others.0).copied().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists() {
        let shown = |text| CpuSet::parse(text).map(|set| set.to_string()).ok();
        assert_eq!(shown("4,0-2,1").as_deref(), Some("0-2,4"));
        assert_eq!(shown("0,1\n").as_deref(), Some("0-1"));
        for wrong in ["", "2-1", "a", "0,", "-1", "0-99999999"] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cpus in prop::collection::btree_set(0..200u32, 1..40)) {
            let set = CpuSet(cpus);
            prop_assert_eq!(CpuSet::parse(&set.to_string()).ok(), Some(set));
        }
    }
}
