//! The steps that publish a container's ports.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use shared::Failed;
use shared::journal::{Due, Journal, Undo};
use shared::netlink::nft;
use shared::part::Request;
use shared::recipe::{Context, Outcome, Place, Recipe, Step, no_tool};
use shared::spec::{NetworkMode, Port, Protocol};

use crate::forwarder::{self, Inside};
use crate::places::{PlaceOn, Places};
use crate::publish::{self, Held};
use crate::{PART, blame, firewall};

/// What the steps hand to each other.
#[derive(Default)]
struct Publishing {
    held: RefCell<Vec<Held>>,
    forwarder: Cell<Option<Pid>>,
}

pub(crate) fn add(recipe: &mut Recipe, request: &Request, places: &Places) {
    if request.service.ports.is_empty() {
        return;
    }
    match request.service.network_mode {
        NetworkMode::Bridge => {}
        NetworkMode::None => {
            recipe.notes.push("ports: not published, as network_mode is none".into());
            return;
        }
        NetworkMode::Host => {
            recipe.notes.push("ports: network_mode host: they are the host's as they are".into());
            return;
        }
    }
    if !request.user.is_root() || firewall::nft().is_none() {
        let why = if request.user.is_root() { "nft is not installed" } else { "no root" };
        let note = format!("ports are published by a small forwarder ({why}): slower than NAT");
        recipe.notes.push(note);
    }
    let publishing = Rc::new(Publishing::default());
    recipe.steps.insert(0, hold(request, &publishing));
    let after = ["veth", "id map", "clone"].into_iter().find(|name| recipe.has(name));
    recipe.insert_after(after.unwrap_or("clone"), lead(recipe, request, places, &publishing));
    if recipe.clone.namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        recipe.insert_before("capability bounds", wait_for_forwarder());
    }
    recipe.push(release(&publishing));
    let chosen: Vec<_> =
        request.service.ports.iter().filter(|port| port.published.is_none()).collect();
    let variables =
        chosen.iter().map(|port| (variable(port), "$(shuf -i 32768-60999 -n 1)".to_owned()));
    let variables: Vec<_> = variables.collect();
    recipe.variables.push(Box::new(move || Ok(variables.clone())));
}

/// What a port of the host is called that we choose.
fn variable(port: &Port) -> String {
    format!("PORT_{}", port.target)
}

/// The host's port as the shell knows it.
fn shell_of_published(port: &Port) -> String {
    port.published.map_or_else(|| format!("${}", variable(port)), |number| number.to_string())
}

/// The test that nobody has a port.
fn shell_of_hold(port: &Port) -> String {
    let kind = if port.protocol == Protocol::Tcp { "t" } else { "u" };
    let port = shell_of_published(port);
    format!(
        "[[ ! $(ss -Hln{kind} \"sport = :{port}\") ]] || \
         {{ echo \"port {port} is taken\" >&2; exit 125; }}"
    )
}

fn hold(request: &Request, publishing: &Rc<Publishing>) -> Step {
    let ports = request.service.ports.clone();
    let shown: Vec<_> =
        ports.iter().map(|port| publish::describe(port, port.published.unwrap_or(0))).collect();
    let (home, dir) = (request.home.clone(), request.dir());
    let publishing = publishing.clone();
    Step::new(PART, Place::Prepare, "ports")
        .what(format!("take the host's ports: {}", shown.join(", ")))
        .why("a port that is taken must be seen before anything starts")
        .section("5.6")
        .shell(
            ports
                .iter()
                .map(shell_of_hold)
                .chain([no_tool("holding them until they are led to the container")])
                .collect::<Vec<_>>()
                .join("\n"),
        )
        .hint(publish::HINT)
        .does(move || {
            let held = publish::hold(&ports, &home)?;
            publish::remember(&dir, &held)?;
            *publishing.held.borrow_mut() = held;
            Ok(())
        })
}

/// Without the table, which is not everywhere, there is nothing to add.
fn shell_of_lead(ports: &[Port], place: &PlaceOn) -> String {
    let address = place.variable("ADDRESS");
    let add = |port| firewall::shell_of_port(port, &shell_of_published(port), &address);
    let add: Vec<_> = ports.iter().map(add).collect();
    format!(
        "if nft list table ip \"$TABLE\" >/dev/null; then\n  {}\n  \
         bridge link set dev \"{}\" hairpin on\nfi",
        add.join("\n  "),
        place.shell_host_end(),
    )
}

fn lead(recipe: &Recipe, request: &Request, places: &Places, publishing: &Rc<Publishing>) -> Step {
    let ports = &request.service.ports;
    let leads_out = |place: &&PlaceOn| !place.is_internal();
    let shell = match places.iter().find(leads_out).or(places.first()) {
        Some(place) if firewall::nft().is_some() => shell_of_lead(ports, place),
        _ => no_tool("a process that forwards connections into the container's network"),
    };
    let step = Step::new(PART, Place::Attach, "publish")
        .what("lead what comes to the host's ports to the container")
        .why("others know the host's address, not the container's")
        .section("5.6")
        .shell(shell);
    let user_namespace = recipe.clone.namespaces.contains(CloneFlags::CLONE_NEWUSER);
    let (places, publishing, dir) = (places.clone(), publishing.clone(), request.dir());
    step.does_with(move |context| {
        // The network with a way out is the one that the world's packets can be answered on.
        let leads_out = |place: &&PlaceOn| place.joined().is_ok_and(|(n, _)| !n.internal);
        let place = places.iter().find(leads_out).or(places.first());
        let Some(place) = place else {
            return by_forwarder(&publishing, context, user_namespace, Ipv4Addr::LOCALHOST);
        };
        let (network, address) = place.joined()?;
        if network.no_firewall.is_some() {
            return by_forwarder(&publishing, context, user_namespace, address);
        }
        place.allow_hairpin(context)?;
        by_firewall(&publishing, &dir, address)
    })
}

/// Who has given up privileges can be entered by nobody who has not more than he.
fn wait_for_forwarder() -> Step {
    Step::new(PART, Place::Child, "wait for the forwarder")
        .what("wait until the forwarder is in its network")
        .why("without root it may enter only as long as the process has its privileges")
        .section("5.7")
        .does_with(|context| context.await_host("publish"))
}

/// The undo is known only now, so it is written here, and as ever before the act.
fn by_firewall(publishing: &Publishing, dir: &Path, address: Ipv4Addr) -> Outcome {
    let elements = publish::elements(&publishing.held.borrow(), address);
    let mut journal = Journal::open(dir).map_err(blame)?;
    journal.record(Due::Stop, &Undo::RemoveElements(elements.clone())).map_err(blame)?;
    nft::add(&elements)
}

fn by_forwarder(
    publishing: &Publishing,
    context: &Context,
    user_namespace: bool,
    address: Ipv4Addr,
) -> Outcome {
    let pidfd = context.pidfd.ok_or_else(|| Failed::new("forwarder", Errno::ESRCH))?;
    let inside = Inside { pidfd, user_namespace, address };
    publishing.forwarder.set(Some(forwarder::start(&publishing.held.borrow(), inside)?));
    Ok(())
}

/// A container that is restarted takes its ports again.
fn release(publishing: &Rc<Publishing>) -> Step {
    let publishing = publishing.clone();
    Step::new(PART, Place::After, "release ports")
        .what("give the host's ports back")
        .why("the next start, or another program, may want them")
        .section("5.6")
        .shell("# nothing holds them")
        .does(move || {
            publishing.held.borrow_mut().clear();
            if let Some(pid) = publishing.forwarder.take() {
                // It is our child and not reaped, so the pid is still its own.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
            }
            Ok(())
        })
}
