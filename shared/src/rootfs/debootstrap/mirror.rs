//! Where this machine gets its own packages: a mirror that is near, and known to answer.

use std::fs;
use std::path::{Path, PathBuf};

/// Names of Debian's releases, for which a Debian mirror can be used. Those of other
/// distributions have mirrors of their own, which debootstrap knows.
const SUITES: [&str; 16] = [
    "stable",
    "testing",
    "unstable",
    "oldstable",
    "oldoldstable",
    "sid",
    "experimental",
    "stretch",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "jessie",
    "wheezy",
];

/// The one that `debootstrap`, a shell script, takes by itself for Debian.
pub fn of_debootstrap(program: &Path) -> Option<String> {
    let text = fs::read_to_string(program).ok()?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix("DEF_MIRROR="))?;
    Some(value.trim_matches('"').to_owned())
}

/// The machine's mirror for `suite`, when both are Debian.
pub fn of_this_machine(suite: &str) -> Option<String> {
    let debian = super::super::os_release(Path::new("/"), "ID").as_deref() == Some("debian");
    if !debian || !SUITES.contains(&suite) {
        return None;
    }
    files().iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let deb822 = file.extension().is_some_and(|extension| extension == "sources");
        if deb822 { of_stanzas(&text) } else { of_lines(&text) }
    })
}

fn files() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let entries = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut more: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    more.sort();
    files.extend(more);
    files
}

/// `deb [signed-by=…] http://MIRROR/debian bookworm main`, see `sources.list(5)`.
fn of_lines(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1.trim(),
            None => rest,
        };
        usable(rest.split_whitespace().next()?)
    })
}

/// `URIs: http://MIRROR/debian` in a stanza that is not disabled.
fn of_stanzas(text: &str) -> Option<String> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let enabled = field("Enabled").is_none_or(|value| !value.eq_ignore_ascii_case("no"));
        let packages = field("Types")?.split_whitespace().any(|kind| kind == "deb");
        (enabled && packages).then(|| field("URIs")?.split_whitespace().find_map(usable))?
    })
}

/// Only the main archive, by a way that debootstrap has: not security, not somebody's extras.
fn usable(uri: &str) -> Option<String> {
    let known = uri.starts_with("http://") || uri.starts_with("https://");
    let main = uri.trim_end_matches('/').ends_with("/debian");
    (known && main).then(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let lines = "# x\ndeb-src http://a.test/debian s main\n\
                     deb [arch=amd64] https://apt.test/x stable main\n\
                     deb [a=b c=d] http://b.test/debian/ s main\n";
        assert_eq!(of_lines(lines).as_deref(), Some("http://b.test/debian/"));
        let stanzas = "Types: deb-src\nURIs: http://a.test/debian\n\n\
                       Types: deb\nURIs: http://b.test/debian\nEnabled: no\n\n\
                       Types: deb deb-src\nURIs: mirror+file:/x http://c.test/debian\n";
        assert_eq!(of_stanzas(stanzas).as_deref(), Some("http://c.test/debian"));
        assert_eq!(of_stanzas(""), None);
    }

    #[test]
    fn debootstrap_names_its_own() {
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(script.path(), "#!/bin/sh\nDEF_MIRROR=\"http://d.test/debian\"\n").unwrap();
        assert_eq!(of_debootstrap(script.path()).as_deref(), Some("http://d.test/debian"));
        fs::write(script.path(), "#!/bin/sh\n").unwrap();
        assert_eq!(of_debootstrap(script.path()), None);
    }

    #[test]
    fn other_distributions_have_their_own() {
        assert_eq!(of_this_machine("noble"), None);
    }
}
