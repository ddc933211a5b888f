//! Interfaces and addresses from `/proc/net`, which shows the network namespace of the reader.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::facts::text;

/// The interfaces: `lo`, `eth0`.
pub fn interfaces() -> Vec<String> {
    let table = text("/proc/net/dev").unwrap_or_default();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    table.lines().skip(2).filter_map(name).collect()
}

/// The routes of this network namespace (IPv4): `10.0.0.0/24 eth0`, `0.0.0.0/0 eth0 10.0.0.1`.
pub fn routes() -> Vec<String> {
    let table = text("/proc/net/route").unwrap_or_default();
    table.lines().skip(1).filter_map(route).collect()
}

/// A line is `eth0 00000000 0100000A 0003 0 0 0 00000000 …`: destination, gateway and mask as the
/// machine keeps them in memory.
fn route(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |field: usize| {
        let bits = u32::from_str_radix(fields.get(field)?, 16).ok()?;
        Some(Ipv4Addr::from(bits.to_ne_bytes()))
    };
    let (to, gateway, mask) = (address(1)?, address(2)?, address(7)?);
    let via = if gateway.is_unspecified() { String::new() } else { format!(" {gateway}") };
    Some(format!("{to}/{} {}{via}", mask.to_bits().count_ones(), fields[0]))
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
    #[cfg(target_endian = "little")]
    fn routes_as_they_are_read() {
        let line = "eth0\t00000000\t0100590A\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(route(line).as_deref(), Some("0.0.0.0/0 eth0 10.89.0.1"));
        let line = "eth0\t0000590A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(route(line).as_deref(), Some("10.89.0.0/24 eth0"));
    }

    #[test]
    fn version_six() {
        assert_eq!(ipv6("00000000000000000000000000000001 01 80 10 80 lo\nx\n"), ["::1"]);
    }
}
