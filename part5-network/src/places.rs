//! The steps that put a container on its networks.

use std::cell::OnceCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use nix::errno::Errno;
use shared::part::Request;
use shared::recipe::{Context, Outcome, Place, Recipe, Step};
use shared::spec::{Attachment, NetworkMode};
use shared::{Failed, Result};

use crate::network::{self, Lease, Network, Wish};
use crate::{PART, blame, firewall};

/// A container's place on one network. Which address that is, is known once it has joined; the
/// child is a copy of the process that joined, so it knows it, too.
pub(crate) struct PlaceOn {
    wish: Wish,
    /// The interface inside.
    interface: String,
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
            joined: OnceCell::new(),
        })
        .collect();
    places.iter().try_for_each(|place| network::check(&place.wish))?;

    recipe.insert_before("clone", join(recipe, &places));
    recipe.insert_after("clone", plug_in(&places));
    recipe.insert_before("loopback", configure(&places));
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
        .section("5.2")
        .shell(
            "ip link add BRIDGE type bridge; ip addr add GATEWAY/24 dev BRIDGE; \
             ip link set BRIDGE up; nft -f table.nft; sysctl -w net.ipv4.ip_forward=1",
        )
        .hint("see `doctor`: this needs root, bridges and veth in the kernel");
    for place in places.iter() {
        step = step.undo(network::undo_join(&place.wish));
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

fn plug_in(places: &Places) -> Step {
    let step = Step::new(PART, Place::Attach, "veth")
        .what("lay a cable: one end in the bridge, the other in the container")
        .why("a network namespace starts with nothing but `lo`")
        .section("5.1")
        .shell("ip link add id-PID-0 master BRIDGE up type veth peer name eth0 netns PID");
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
    let step = Step::new(PART, Place::Child, "eth0")
        .what("give its end the address, and the way out")
        .why("the bridge is the gateway: what is for elsewhere goes through the host")
        .section("5.1")
        .shell("ip addr add ADDRESS/24 dev eth0; ip route add default via GATEWAY");
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
