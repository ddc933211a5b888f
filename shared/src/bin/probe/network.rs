//! Interfaces and addresses from `/proc/net`, which shows the network namespace of the reader.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::facts::text;

/// The interfaces: `lo`, `eth0`.
pub fn interfaces() -> Vec<String> {
    let table = text("/proc/net/dev").unwrap_or_default();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    table.lines().skip(2).filter_map(name).collect()
}

/// The addresses of this network namespace, IPv4 first.
pub fn addresses() -> Vec<String> {
    let mut found = ipv4(&text("/proc/net/fib_trie").unwrap_or_default());
    found.extend(ipv6(&text("/proc/net/if_inet6").unwrap_or_default()));
    found
}

/// In the routing trie an address of our own is a leaf `|-- 10.0.0.2` followed by a line
/// `/32 host LOCAL`. Each stands there once per table; we want it once.
fn ipv4(trie: &str) -> Vec<String> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut leaf = None;
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            leaf = address.trim().parse().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(address) = leaf
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found.iter().map(ToString::to_string).collect()
}

/// A line is `00000000000000000000000000000001 01 80 10 80 lo`.
fn ipv6(table: &str) -> Vec<String> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next()?;
        (digits.len() == 32).then_some(())?;
        u128::from_str_radix(digits, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).to_string())
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_once() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n\
                    \x20    |-- 10.0.0.2\n        /32 host LOCAL\nLocal:\n     |-- 10.0.0.2\n\
                    \x20       /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(ipv4(trie), ["10.0.0.2", "127.0.0.1"]);
    }

    #[test]
    fn version_six() {
        assert_eq!(ipv6("00000000000000000000000000000001 01 80 10 80 lo\nx\n"), ["::1"]);
    }
}
