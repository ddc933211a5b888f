//! The firewall: one nftables table for all our networks.
//!
//! `table.nft` says what happens to a packet. It is loaded with the first network and deleted
//! with the last; in between only elements come and go, straight through netlink.
//!
//! A drop in *another* table is final: where something else (an old `iptables -P FORWARD DROP`)
//! drops what is forwarded, an accept here does not help, and it has to allow our bridges
//! (`id-…`) itself.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipnet::Ipv4Net;
use shared::journal::Undo;
use shared::netlink::nft::{self, Element, TABLE};
use shared::spec::{Port, Protocol};
use shared::{Error, Result};

use crate::publish::protocol_name;

/// The table, as `nft` reads it.
pub const RULES: &str = include_str!("table.nft");

/// Added when forwarding was off before us: for everybody else it stays off.
pub const NO_OTHER_FORWARDING: &str = "add rule ip inside-docker forward \
    iifname != @bridges oifname != @bridges drop\n";

/// The path of `nft`; None when it is not installed.
pub fn nft() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // An ordinary PATH may lack the administrator's directories.
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir: PathBuf| dir.join("nft"))
        .find(|file| file.is_file())
}

/// How the table is taken away again.
pub fn undo(nft: &Path) -> Undo {
    Undo::Run {
        argv: vec![nft.display().to_string(), "-f".into(), "-".into()],
        stdin: format!("delete table ip {TABLE}\n"),
    }
}

/// Loads the table; one that is left from before is replaced.
///
/// # Errors
/// What `nft` said: a kernel without nf_tables, no privilege.
pub fn load(program: &Path, more_rules: &str) -> Result<()> {
    let failed = |why: String| Error::new("cannot load the firewall's table").because(why);
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        // Deleting makes nft wait for the kernel's readers, so only what is there is.
        let before =
            if nft::has_table() { format!("delete table ip {TABLE}\n") } else { String::new() };
        let text = format!("{before}{RULES}{more_rules}");
        // When nft has ended early, its message says why.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().next().unwrap_or("nft said nothing").to_owned()))
}

/// The elements that make a bridge one of ours.
pub fn elements_of_bridge(bridge: &str, subnet: Ipv4Net, internal: bool) -> Vec<Element> {
    let name = interface(bridge);
    let element = |set: &str, key: Vec<u8>| Element {
        set: set.into(),
        key,
        data: Vec::new(),
        ends_range: false,
    };
    let end = subnet.broadcast().to_bits().saturating_add(1);
    let mut elements = vec![
        element("bridges", name.clone()),
        element("within", [&name[..], &name].concat()),
        element("subnets", subnet.network().octets().into()),
        Element { ends_range: true, ..element("subnets", end.to_be_bytes().into()) },
    ];
    if !internal {
        elements.push(element("outward", name));
    }
    elements
}

/// The element that publishes a port of the container at `address` on the host's `published`.
pub fn element_of_port(port: &Port, published: u16, address: Ipv4Addr) -> Element {
    let protocol = match port.protocol {
        Protocol::Tcp => libc::IPPROTO_TCP as u8,
        Protocol::Udp => libc::IPPROTO_UDP as u8,
    };
    // Each field is filled up to four bytes.
    let mut key = Vec::with_capacity(12);
    key.extend(port.host_ip.iter().flat_map(Ipv4Addr::octets));
    key.extend([protocol, 0, 0, 0]);
    key.extend(number(published));
    let set = if port.host_ip.is_some() { "published_on" } else { "published" };
    let data = [address.octets(), number(port.target)].concat();
    Element { set: set.into(), key, data, ends_range: false }
}

fn number(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// An interface's name as the kernel keeps it: 16 bytes, zeros at the end.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    bytes
}

/// The shell command that publishes a port; `published` and `address` may be variables.
pub fn shell_of_port(port: &Port, published: &str, address: &str) -> String {
    let protocol = protocol_name(port.protocol);
    let (set, ip) = match port.host_ip {
        Some(ip) => ("published_on", format!("{ip} . ")),
        None => ("published", String::new()),
    };
    let target = port.target;
    format!(
        "nft add element ip \"$TABLE\" {set} \
         \"{{ {ip}{protocol} . {published} : {address} . {target} }}\""
    )
}

/// The rules as a file that a script loads: a table `$TABLE` of its own, without explanations.
pub fn shell_rules() -> String {
    let rules = RULES.replace(TABLE, "$TABLE");
    let is_rule = |line: &&str| !line.trim_start().starts_with('#') && !line.is_empty();
    rules.lines().filter(is_rule).map(|line| format!("{line}\n")).collect()
}

/// What [`elements_of_bridge`] adds, as lines of that file.
pub fn shell_of_bridge(bridge: &str, subnet: &str, internal: bool) -> String {
    let mut elements = vec![
        format!("bridges {{ {bridge} }}"),
        format!("within {{ {bridge} . {bridge} }}"),
        format!("subnets {{ {subnet} }}"),
    ];
    if !internal {
        elements.push(format!("outward {{ {bridge} }}"));
    }
    elements.iter().map(|element| format!("add element ip $TABLE {element}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script fills in variables in a document of the shell's.
    #[test]
    fn the_rules_hold_nothing_that_a_shell_would_fill_in() {
        let rules = shell_rules();
        assert!(rules.starts_with("table ip $TABLE {\n"), "{rules}");
        assert!(!rules.replace("$TABLE", "").contains(['$', '`', '\\']), "{rules}");
        assert!(!rules.contains(TABLE) && rules.lines().count() > 40, "{rules}");
    }
}
