//! What debootstrap's errors mean, and what to do about them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::Wanted;
use crate::Error;

/// Less than this is too little for any suite, in bytes.
const LITTLE: u64 = 100 << 20;

/// The suites debootstrap has a script for, sorted.
pub fn suites() -> Vec<String> {
    let own = std::env::var_os("DEBOOTSTRAP_DIR").map(PathBuf::from);
    let directory = own.unwrap_or("/usr/share/debootstrap".into()).join("scripts");
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        // Parts shared by several, and variants that are no release.
        .filter(|name| !name.contains('.') && !name.ends_with("-common"))
        .collect();
    names.sort();
    names
}

/// What to try when there is no such suite: the nearest one, and all of them.
pub fn instead_of(suite: &str, known: &[String]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::osa_distance(suite, name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let mut text = near.map_or(String::new(), |(_, name)| format!("debian:{name}, or "));
    text += "one of these";
    let mut width = usize::MAX;
    for name in known {
        if width.saturating_add(name.len()) > 70 {
            text += "\n      ";
            width = 6;
        }
        text.push(' ');
        text += name;
        width += 1 + name.len();
    }
    text
}

/// The error for a debootstrap that failed with these last lines. `tree` is still there.
pub fn failure(wanted: &Wanted, tree: &Path, tail: &[String]) -> Error {
    let log = log(tree);
    let said: Vec<&str> = tail.iter().map(String::as_str).chain(log.lines()).collect();
    let hint = hint(&said, free(tree));
    // The log says more than anybody wants to know of a failure that is understood.
    let shown = shown(tail, if hint.is_some() { "" } else { &log });
    let error = Error::new(format!("debootstrap could not make debian:{}", wanted.suite))
        .because(format!("it said\n{shown}"));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The first meaning that fits.
fn hint(said: &[&str], free: Option<u64>) -> Option<String> {
    let says = |words: &str| said.iter().any(|line| line.contains(words));
    let hint = if says("No space left on device") || free.is_some_and(|free| free < LITTLE) {
        "the disk is full: make space, or choose a directory on another disk"
    } else if says("Couldn't find these debs") {
        "check the names given to --include"
    } else if says("noexec or nodev") {
        "choose a directory on a file system mounted without noexec and nodev"
    } else if says("Failed getting release file")
        || says("Couldn't download")
        || says("unable to resolve")
    {
        "check the network and the variable http_proxy; --from host needs neither.\n       \
         A suite that is no longer maintained has left the usual mirrors"
    } else if says("Release signed by unknown key") || says("Invalid Release signature") {
        "install the distribution's keys, as in: apt-get install debian-archive-keyring"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// What the programs it ran have said goes to a log of its own.
fn log(tree: &Path) -> String {
    let text = fs::read(tree.join("debootstrap/debootstrap.log")).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Its own last words, else the end of the log.
fn shown(tail: &[String], log: &str) -> String {
    let errors: Vec<&str> = tail.iter().filter_map(|line| line.strip_prefix("E: ")).collect();
    let last = |lines: Vec<&str>, count: usize| {
        let skipped = lines.len().saturating_sub(count);
        lines.into_iter().skip(skipped).map(|line| format!("    {line}")).collect::<Vec<_>>()
    };
    let mut shown = if errors.is_empty() {
        last(tail.iter().map(String::as_str).collect(), 5)
    } else {
        last(errors, 5)
    };
    if !log.is_empty() {
        shown.push("  and its log ends with".to_owned());
        shown.extend(last(log.lines().collect(), 5));
    }
    shown.join("\n")
}

fn free(tree: &Path) -> Option<u64> {
    let disk = statvfs(tree).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_failures_have_a_hint() {
        let plenty = Some(10 << 30);
        for (line, word) in [
            ("E: Failed getting release file http://x/dists/y/Release", "network"),
            ("E: Couldn't find these debs: nonesuch", "--include"),
            ("tar: x: Cannot write: No space left on device", "disk is full"),
            ("E: Cannot install into target '/x' mounted with noexec or nodev", "noexec"),
        ] {
            assert!(hint(&[line], plenty).unwrap().contains(word), "{line}");
        }
        assert_eq!(hint(&["E: something new"], plenty), None);
        assert!(hint(&[], Some(1)).unwrap().contains("disk is full"));
    }

    #[test]
    fn the_nearest_suite_comes_first() {
        let known = ["bookworm", "sid", "trixie"].map(String::from);
        let hint = instead_of("bokworm", &known);
        assert_eq!(hint, "debian:bookworm, or one of these\n       bookworm sid trixie");
        assert!(instead_of("xyzzy", &known).starts_with("one of these\n"));
    }

    #[test]
    fn errors_come_before_chatter() {
        let tail = ["I: a".to_owned(), "E: b".to_owned(), "c".to_owned()];
        assert_eq!(shown(&tail, ""), "    b");
        assert_eq!(shown(&tail[..1], "x\ny"), "    I: a\n  and its log ends with\n    x\n    y");
    }
}
