//! The steps that put a container on its networks.

use std::cell::OnceCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use nix::errno::Errno;
use shared::netlink::Netlink;
use shared::netlink::nft::TABLE;
use shared::part::Request;
use shared::recipe::{Context, Outcome, Place, Recipe, Step};
use shared::shell::quoted;
use shared::spec::{Attachment, NetworkMode};
use shared::{Failed, Result};

use crate::network::{self, Lease, Network, Wish};
use crate::{PART, address, blame, firewall};

/// A container's place on one network. Which address that is, is known once it has joined; the
/// child is a copy of the process that joined, so it knows it, too.
pub(crate) struct PlaceOn {
    wish: Wish,
    /// The interface inside.
    interface: String,
    /// Its number in the order of the file.
    number: usize,
    joined: OnceCell<(Network, Lease)>,
}

impl PlaceOn {
    /// The network and the container's address on it, once it has joined.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn joined(&self) -> Result<(&Network, Ipv4Addr), Failed> {
        let joined = self.joined.get().map(|(network, lease)| (network, lease.address));
        joined.ok_or_else(|| Failed::new("join the network", Errno::ENOTCONN))
    }

    /// Whether no way leads out of it.
    pub(crate) fn is_internal(&self) -> bool {
        self.wish.shape.internal
    }

    /// What the shell knows something of this place by: `$ADDRESS`, `$ADDRESS_1`.
    pub(crate) fn variable(&self, name: &str) -> String {
        format!("${}", self.variable_name(name))
    }

    fn variable_name(&self, name: &str) -> String {
        if self.number == 0 { name.to_owned() } else { format!("{name}_{}", self.number) }
    }

    /// Its names, for itself.
    fn shell_of_names(&self) -> String {
        let (address, names) = (self.variable("ADDRESS"), self.wish.names.join(" "));
        format!("echo \"{address} {names}\" >>\"$DIR/hosts\"")
    }

    /// The name that the shell gives to the cable's end on the host.
    pub(crate) fn shell_host_end(&self) -> String {
        format!("id-$PID-{}", self.number)
    }

    /// Once the cable is laid: see [`network::allow_hairpin`].
    pub(crate) fn allow_hairpin(&self, context: &Context) -> Outcome {
        let inside = context.pid.ok_or_else(|| Failed::new("hairpin", Errno::ESRCH))?;
        network::allow_hairpin(&self.interface, inside)
    }
}

/// All of them, in the order of the file.
pub(crate) type Places = Rc<[PlaceOn]>;

/// Adds the steps. None without root: a user namespace cannot reach the host's network.
///
/// # Errors
/// An address that cannot be had.
pub(crate) fn add(recipe: &mut Recipe, request: &Request) -> Result<Places> {
    if request.service.network_mode != NetworkMode::Bridge {
        return Ok(Rc::new([]));
    }
    if !request.user.is_root() {
        recipe.notes.push(
            "without root there is no bridge: the container has a network of its own with \
             nothing but itself in it; no other service, no name and not the world is reached"
                .into(),
        );
        return Ok(Rc::new([]));
    }
    if firewall::nft().is_none() {
        recipe.notes.push(
            "nft is not installed: containers reach each other and this machine, not the world \
             (apt install nftables)"
                .into(),
        );
    }
    let places: Places = wishes(request)
        .into_iter()
        .enumerate()
        .map(|(number, wish)| PlaceOn {
            wish,
            interface: format!("eth{number}"),
            number,
            joined: OnceCell::new(),
        })
        .collect();
    places.iter().try_for_each(|place| network::check(&place.wish))?;

    recipe.insert_before("clone", join(recipe, &places));
    if firewall::nft().is_some() {
        recipe.insert_before("clone", firewall(&places));
    }
    recipe.insert_after("clone", plug_in(&places));
    recipe.insert_before("loopback", configure(&places));
    let (container, of_places) = (request.name.clone(), places.clone());
    recipe.variables.push(Box::new(move || variables(&of_places, &container)));
    Ok(places)
}

/// What the service asks of each of its networks.
fn wishes(request: &Request) -> Vec<Wish> {
    let of_file = &request.service.networks;
    let on_default = ("default".to_owned(), Attachment::default());
    let attachments: Vec<_> = if of_file.is_empty() {
        vec![on_default]
    } else {
        of_file.iter().map(|(name, attachment)| (name.clone(), attachment.clone())).collect()
    };
    attachments.into_iter().map(|(name, attachment)| wish(request, name, attachment)).collect()
}

fn wish(request: &Request, network: String, attachment: Attachment) -> Wish {
    // A container of no project is on the network of all such: Docker's `bridge`.
    let dir = match request.spec {
        Some(spec) => format!("{}_{network}", spec.project),
        None => "bridge".to_owned(),
    };
    let shape = request.spec.and_then(|spec| spec.networks.get(&network)).cloned();
    let mut names = Vec::new();
    let service = request.spec.map(|_| request.service.name.clone());
    let hostname = request.service.hostname.clone();
    let all = service.into_iter().chain([request.name.clone()]).chain(hostname);
    for name in all.chain(attachment.aliases).filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Wish {
        dir: request.home.networks().join(dir),
        network,
        shape: shape.unwrap_or_default(),
        container: request.name.clone(),
        address: attachment.ipv4_address,
        names,
        hosts: request.dir().join("hosts"),
    }
}

fn join(recipe: &Recipe, places: &Places) -> Step {
    let names: Vec<_> = places.iter().map(|place| &*place.wish.network).collect();
    let mut step = Step::new(PART, Place::Prepare, "network")
        .what(format!("take an address on the network {}", names.join(", ")))
        .why("a bridge is a switch in software: all that are plugged into it reach each other")
        .section("5.3")
        .shell(lines(places, |place| match network::existing(&place.wish) {
            None => format!(
                "ip link add \"{0}\" address \"{1}\" type bridge\n\
                 ip address add \"{2}/{3}\" dev \"{0}\"; ip link set \"{0}\" up\n{4}",
                place.variable("BRIDGE"),
                place.variable("GATEWAY_MAC"),
                place.variable("GATEWAY"),
                place.variable("PREFIX"),
                place.shell_of_names(),
            ),
            Some(_) => format!("# others are on it: it is there\n{}", place.shell_of_names()),
        }))
        .hint("`doctor bridge veth nft` tries what a network needs");
    for place in places.iter() {
        step = step.undo(network::undo_join(&place.wish));
        if network::existing(&place.wish).is_none() {
            step = step.shell_undo(format!("ip link delete {}", place.variable("BRIDGE")));
        }
    }
    let (places, addresses) = (places.clone(), recipe.addresses.clone());
    step.does(move || {
        for place in places.iter() {
            let (network, lease) = network::join(&place.wish).map_err(blame)?;
            let address = network.interface_address(lease.address).to_string();
            addresses.borrow_mut().push((network.name.clone(), address));
            let _ = place.joined.set((network, lease));
        }
        Ok(())
    })
}

/// Done together with the network: told for itself, because it is a wall of its own.
fn firewall(places: &Places) -> Step {
    let setting = |place: &PlaceOn| {
        format!(" \"net.ipv4.conf.{}.route_localnet=1\"", place.variable("BRIDGE"))
    };
    let settings: String = places.iter().map(setting).collect();
    let rules = places.clone();
    Step::new(PART, Place::Prepare, "firewall")
        .what("have all that leaves for the world bear the host's address")
        .why("nobody out there knows the addresses on a bridge, so no answer would come back")
        .section("5.5")
        .shell_file("table.nft", move || shell_of_rules(&rules))
        .shell(format!(
            "((FORWARDING)) || echo \"{}\" >>\"$DIR/table.nft\"\n\
             nft -f \"$DIR/table.nft\" && sysctl -qw net.ipv4.ip_forward=1{settings}",
            firewall::NO_OTHER_FORWARDING.trim_end().replace(TABLE, "$TABLE"),
        ))
        .shell_undo("nft delete table ip $TABLE")
        .shell_undo("sysctl -qw net.ipv4.ip_forward=$FORWARDING")
}

fn shell_of_rules(places: &[PlaceOn]) -> String {
    let of_bridge = |place: &PlaceOn| {
        let (bridge, subnet) = (place.variable("BRIDGE"), place.variable("SUBNET"));
        firewall::shell_of_bridge(&bridge, &subnet, place.is_internal())
    };
    firewall::shell_rules() + &places.iter().map(of_bridge).collect::<String>()
}

/// What the shell commands call by a name.
fn variables(places: &[PlaceOn], container: &str) -> Result<Vec<(String, String)>> {
    let mut used = Netlink::open()?.host_addresses()?.networks;
    let mut variables = Vec::new();
    for place in places {
        let (network, address) = network::foresee(&place.wish, &used)?;
        used.push(network.subnet);
        let values = [
            ("BRIDGE", network.bridge),
            ("SUBNET", network.subnet.to_string()),
            ("PREFIX", network.subnet.prefix_len().to_string()),
            ("GATEWAY", network.gateway.to_string()),
            ("GATEWAY_MAC", address::shell_of_mac(network.gateway)),
            ("ADDRESS", address.to_string()),
            ("MAC", address::shell_of_mac(address)),
        ];
        variables.extend(values.map(|(name, value)| (place.variable_name(name), value)));
    }
    if firewall::nft().is_some() {
        variables.push(("TABLE".to_owned(), quoted(format!("{TABLE}-{container}"))));
        variables.push(("FORWARDING".to_owned(), "$(sysctl -n net.ipv4.ip_forward)".to_owned()));
    }
    Ok(variables)
}

/// One command for each place.
fn lines(places: &[PlaceOn], line: impl Fn(&PlaceOn) -> String) -> String {
    places.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn plug_in(places: &Places) -> Step {
    let step = Step::new(PART, Place::Attach, "veth")
        .what("lay a cable: one end in the bridge, the other in the container")
        .why("a network namespace starts with nothing but `lo`")
        .section("5.2")
        .shell(lines(places, |place| {
            format!(
                "ip link add \"{}\" master \"{}\" up \\\n  \
                 type veth peer name {} address \"{}\" netns \"$PID\"",
                place.shell_host_end(),
                place.variable("BRIDGE"),
                place.interface,
                place.variable("MAC"),
            )
        }));
    let places = places.clone();
    step.does_with(move |context| {
        let inside = context.pid.ok_or_else(|| Failed::new("veth", Errno::ESRCH))?;
        for place in places.iter() {
            let (network, address) = place.joined()?;
            network::plug_in(network, address, &place.interface, inside)?;
        }
        Ok(())
    })
}

fn configure(places: &Places) -> Step {
    let way_out = places.iter().position(|place| !place.is_internal());
    let step = Step::new(PART, Place::Child, "eth0")
        .what("give its end the address, and the way out")
        .why("the bridge is the gateway: what is for elsewhere goes through the host")
        .section("5.2")
        .shell(lines(places, |place| {
            format!(
                "ip address add \"{1}/{2}\" broadcast + dev {0}; ip link set {0} up{3}",
                place.interface,
                place.variable("ADDRESS"),
                place.variable("PREFIX"),
                match way_out == Some(place.number) {
                    true => format!("\nip route add default via \"{}\"", place.variable("GATEWAY")),
                    false => String::new(),
                },
            )
        }));
    let places = places.clone();
    step.does_with(move |context| configure_all(context, &places))
}

fn configure_all(context: &Context, places: &[PlaceOn]) -> Outcome {
    context.await_host("veth")?;
    let mut way_out_wanted = true;
    for place in places {
        let (network, address) = place.joined()?;
        let gateway = (way_out_wanted && !network.internal).then_some(network.gateway);
        way_out_wanted &= gateway.is_none();
        network::configure(&place.interface, network.interface_address(address), gateway)?;
    }
    Ok(())
}
