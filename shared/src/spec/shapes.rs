//! Shapes that several keys share: lists or mappings of `KEY=VALUE`, paths, names, addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, Path, PathBuf};

use super::interpolate::Lookup;
use super::node::{Entry, Map, Node, Value};
use super::problem::{Found, Shown, Span};
use super::units;

/// What a spec may refer to outside itself.
pub(super) struct Outside<'a> {
    /// The directory of the file, absolute: relative paths start here.
    pub directory: &'a Path,
    /// Our environment.
    pub variable: Lookup<'a>,
}

impl Outside<'_> {
    /// A path of the host as an absolute one: `~` is HOME, a relative one starts at the file.
    pub fn host_path(&self, text: &str, at: &Node) -> Found<PathBuf> {
        let home = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let path = match home {
            Some(rest) => {
                let home = (self.variable)("HOME").filter(|home| home.starts_with('/'));
                let home = home.ok_or_else(|| {
                    at.problem("`~` needs the variable `HOME`, which is not set", "here")
                        .hint("write the whole path")
                })?;
                PathBuf::from(home + rest)
            }
            None => self.directory.join(text),
        };
        Ok(path.components().collect()) // without `//`, `/./` and a last `/`
    }
}

/// An absolute path inside the container, not `/` and without `..`.
pub(super) fn container_path(text: &str, at: &Node) -> Found<PathBuf> {
    let path: PathBuf = Path::new(text).components().collect();
    if !path.is_absolute() {
        return Err(at
            .problem(
                format!("{} is not an absolute path in the container", Shown(text)),
                "it must begin with `/`",
            )
            .hint(format!("write `/{}`", text.trim_start_matches("./"))));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(at.problem("a path in the container may not contain `..`", "here"));
    }
    if path == Path::new("/") {
        return Err(at.problem("nothing can be mounted on `/` of the container", "here"));
    }
    Ok(path)
}

/// A list of texts.
pub(super) fn texts(node: &Node) -> Found<Vec<String>> {
    node.each(|item| item.text().map(str::to_owned))
}

/// A `KEY` with its value, if it has one, and where they stand.
pub(super) struct Pair<'n> {
    pub key: &'n str,
    /// None: `KEY` alone.
    pub value: Option<&'n str>,
    pub at: &'n Node,
    /// Where the key stands.
    pub key_at: Span,
}

/// `[KEY=VALUE, …]` or `{KEY: VALUE, …}`, in order.
pub(super) fn pairs(node: &Node) -> Found<Vec<Pair<'_>>> {
    match &node.value {
        Value::List(nodes) => nodes.iter().map(pair_of_item).collect(),
        Value::Map(map) => map.iter().map(pair_of_entry).collect(),
        Value::Scalar { .. } => {
            Err(node.expected("a list or a mapping").hint("write `- KEY=VALUE` or `KEY: VALUE`"))
        }
    }
}

fn pair_of_item(node: &Node) -> Found<Pair<'_>> {
    if !matches!(node.value, Value::Scalar { .. }) {
        return Err(node.expected("a text").hint("write `- KEY=VALUE`, or leave out the `-`"));
    }
    let text = node.text()?;
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    if key.is_empty() || key.contains([' ', '\t', '\n', ':']) && value.is_none() {
        return Err(node.problem(format!("{} is not KEY=VALUE", Shown(text)), "here"));
    }
    Ok(Pair { key, value, at: node, key_at: node.span })
}

fn pair_of_entry<'n>((key, entry): (&'n String, &'n Entry)) -> Found<Pair<'n>> {
    let at = &entry.value;
    if key.is_empty() || key.contains('=') {
        return Err(entry.key.problem(format!("{} is not a key", Shown(key)), "here"));
    }
    let value = if at.is_nothing() { None } else { Some(at.scalar("a text or a number")?) };
    Ok(Pair { key, value, at, key_at: entry.key })
}

/// A key that must be there.
pub(super) fn required<'n>(map: &'n Map, key: &str, owner: &Node) -> Found<&'n Node> {
    let missing = || owner.problem(format!("`{key}` is missing"), "of this");
    map.get(key).map(|entry| &entry.value).ok_or_else(missing)
}

/// A name of something of ours: it becomes a file name and a host name.
pub(super) fn name(text: &str, at: Span, what: &str) -> Found<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty() || !text.chars().all(allowed) {
        let title = format!("{} is no name for a {what}", Shown(text));
        return Err(at.problem(title, "only letters, digits and `.`, `_`, `-`"));
    }
    if text.len() > 63 {
        return Err(at.problem(format!("the name of a {what} is too long"), "at most 63 bytes"));
    }
    if matches!(text, "." | "..") {
        return Err(at.problem(format!("{} is no name for a {what}", Shown(text)), "a directory"));
    }
    Ok(())
}

/// A host name, at most the kernel's 64 bytes.
pub(super) fn host_name(text: &str, at: &Node) -> Found<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.len() > 64 || !text.chars().all(allowed) || text.starts_with(['.', '-']) {
        return Err(at.problem(
            format!("{} is not a host name", Shown(text)),
            "at most 64 letters, digits, `.`, `-`",
        ));
    }
    Ok(text.to_owned())
}

/// An IPv4 or IPv6 address.
pub(super) fn address(text: &str, at: &Node) -> Found<IpAddr> {
    let label = "an address looks like 10.0.0.1";
    text.parse().map_err(|_| at.problem(format!("{} is not an IP address", Shown(text)), label))
}

/// An IPv4 address.
pub(super) fn address_v4(text: &str, at: &Node) -> Found<Ipv4Addr> {
    match address(text, at)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(at.problem("only IPv4 addresses can be used here", "this is IPv6")),
    }
}

/// A size in bytes, at least `least`.
pub(super) fn size(node: &Node, least: u64) -> Found<u64> {
    let what = "a size like `64m` or a number of bytes";
    let text = node.scalar(what)?;
    match units::parse_size(text) {
        None => Err(node.problem(format!("{} is not a size", Shown(text)), what)),
        Some(bytes) if bytes < least => Err(node.problem(
            format!("{} is too small", Shown(text)),
            format!("at least {}", units::format_size(least)),
        )),
        Some(bytes) => Ok(bytes),
    }
}
