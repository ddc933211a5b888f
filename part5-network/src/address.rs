//! Which network, which address: arithmetic only, nothing is asked of the kernel here.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use shared::{Error, Result};

// ANCHOR: free_subnet
/// Where networks come from that name no subnet of their own: 256 of 254 addresses each.
pub const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 89, 0, 0), 16);
/// Tried when the pool is used up, or the machine is itself in a network that covers it.
pub const SECOND_POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 0, 0), 16);
const PREFIX: u8 = 24;

/// The first subnet of the pools that overlaps none of `used`; None when there is none.
pub fn free_subnet(used: &[Ipv4Net]) -> Option<Ipv4Net> {
    [POOL, SECOND_POOL]
        .iter()
        .flat_map(|pool| pool.subnets(PREFIX).into_iter().flatten())
        .find(|subnet| !used.iter().any(|other| overlap(*subnet, *other)))
}
// ANCHOR_END: free_subnet

/// Whether two networks have an address in common.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The address of the bridge, when the file names none: the network's first.
///
/// # Errors
/// The network is too small to hold a gateway and a container (a prefix above 30).
pub fn first_address(subnet: Ipv4Net) -> Result<Ipv4Addr> {
    if subnet.prefix_len() > 30 {
        return Err(Error::new(format!("the network {subnet} has no room for a container"))
            .hint("give it a prefix of 29 or less, such as 10.20.0.0/24"));
    }
    Ok(after(subnet.network()))
}

/// Checks that `gateway` can be the bridge's address.
///
/// # Errors
/// It is outside the network, or the network's own or broadcast address.
pub fn check_gateway(subnet: Ipv4Net, gateway: Ipv4Addr) -> Result<()> {
    first_address(subnet)?;
    check_inside(subnet, gateway, "the gateway")
}

/// The next free address of a network: neither the gateway nor one of `taken`.
///
/// # Errors
/// All are taken.
pub fn next_free(subnet: Ipv4Net, gateway: Ipv4Addr, taken: &[Ipv4Addr]) -> Result<Ipv4Addr> {
    subnet.hosts().find(|address| *address != gateway && !taken.contains(address)).ok_or_else(
        || {
            Error::new(format!("all addresses of the network {subnet} are taken"))
                .hint("stop a container on it, or give the network a larger subnet")
        },
    )
}

/// Checks an address that the file asks for (`ipv4_address`).
///
/// # Errors
/// It is outside the network, or the gateway, or the broadcast address.
pub fn check(subnet: Ipv4Net, gateway: Ipv4Addr, address: Ipv4Addr) -> Result<()> {
    check_inside(subnet, address, "ipv4_address")?;
    if address == gateway {
        return Err(Error::new(format!("ipv4_address: {address} is the network's gateway"))
            .hint(free_hint(subnet)));
    }
    Ok(())
}

fn check_inside(subnet: Ipv4Net, address: Ipv4Addr, what: &str) -> Result<()> {
    let error = |why: &str| {
        Err(Error::new(format!("{what}: {address} {why} {subnet}")).hint(free_hint(subnet)))
    };
    if !subnet.contains(&address) {
        error("is not in the network")
    } else if address == subnet.network() {
        error("is the name of the network")
    } else if address == subnet.broadcast() {
        error("is the broadcast address of")
    } else {
        Ok(())
    }
}

fn free_hint(subnet: Ipv4Net) -> String {
    let first = after(after(subnet.network()));
    let last = before(subnet.broadcast());
    format!("use an address from {first} to {last}, or leave it out")
}

fn after(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits().saturating_add(1))
}

fn before(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits().saturating_sub(1))
}

/// The Ethernet address that goes with an address, as Docker makes it: `02:42` and the four
/// bytes. (`02`: given locally, not by a manufacturer.)
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// As `ip link` has it: `02:42:0a:59:00:02`.
pub fn shell_of_mac(address: Ipv4Addr) -> String {
    mac_of(address).map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net() -> impl Strategy<Value = Ipv4Net> {
        (any::<u32>(), 8u8..=32)
            .prop_map(|(bits, prefix)| Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), prefix))
    }

    /// Networks in and around the pools, so that they often overlap.
    fn near() -> impl Strategy<Value = Ipv4Net> {
        (any::<u16>(), 14u8..=32, any::<bool>()).prop_map(|(low, prefix, second)| {
            let pool = if second { SECOND_POOL } else { POOL };
            let bits = pool.network().to_bits() | u32::from(low);
            Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), prefix)
        })
    }

    proptest! {
        #[test]
        fn a_free_subnet_overlaps_nothing(used in proptest::collection::vec(near(), 0..40)) {
            if let Some(subnet) = free_subnet(&used) {
                for other in used {
                    prop_assert!(!subnet.hosts().any(|address| other.contains(&address)));
                }
            }
        }

        #[test]
        fn overlap_is_symmetric_and_true_to_itself(a in net(), b in net()) {
            prop_assert_eq!(overlap(a, b), overlap(b, a));
            prop_assert!(overlap(a, a));
        }

        #[test]
        fn the_next_address_is_free_and_usable(
            subnet in net().prop_filter("with room", |n| (20..=30).contains(&n.prefix_len())),
            count in 0usize..200,
        ) {
            let gateway = first_address(subnet).unwrap();
            let mut taken = Vec::new();
            for _ in 0..count {
                match next_free(subnet, gateway, &taken) {
                    Ok(address) => {
                        prop_assert!(check(subnet, gateway, address).is_ok());
                        prop_assert!(!taken.contains(&address));
                        taken.push(address);
                    }
                    Err(_) => {
                        prop_assert_eq!(taken.len(), subnet.hosts().count() - 1);
                        break;
                    }
                }
            }
        }

        #[test]
        fn a_request_is_accepted_only_inside(subnet in net(), bits in any::<u32>()) {
            prop_assume!(subnet.prefix_len() <= 30);
            let gateway = first_address(subnet).unwrap();
            let address = Ipv4Addr::from_bits(bits);
            let usable = subnet.contains(&address)
                && ![subnet.network(), subnet.broadcast(), gateway].contains(&address);
            prop_assert_eq!(check(subnet, gateway, address).is_ok(), usable);
        }
    }

    #[test]
    fn each_wrong_request_is_named() {
        let subnet: Ipv4Net = "10.20.0.0/24".parse().unwrap();
        let gateway = first_address(subnet).unwrap();
        let message = |address: &str| {
            check(subnet, gateway, address.parse().unwrap()).unwrap_err().to_string()
        };
        assert!(message("10.21.0.7").contains("is not in the network 10.20.0.0/24"));
        assert!(message("10.20.0.1").contains("is the network's gateway"));
        assert!(message("10.20.0.255").contains("broadcast"));
        assert!(message("10.20.0.0").contains("10.20.0.2 to 10.20.0.254"));
        assert!(first_address("10.0.0.0/31".parse().unwrap()).is_err());
    }

    #[test]
    fn a_machine_inside_the_pool_gets_the_second_one() {
        assert_eq!(free_subnet(&[]), Some("10.89.0.0/24".parse().unwrap()));
        let all = [Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)];
        assert_eq!(free_subnet(&all), Some("172.31.0.0/24".parse().unwrap()));
    }
}
