//! Published ports: checked and held before anything starts, then led to the container.
//!
//! Each published port is bound by a socket of ours as long as the container lives. So a port that
//! is taken is seen at once, no other program can take one that we have, and `ss -ltn` shows it.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};
use shared::error::Failed;
use shared::home::Home;
use shared::netlink::nft::Element;
use shared::spec::{Port, Protocol};
use shared::state::Status;
use shared::{Call, Error, Result, state};

use crate::firewall;

/// Linux's own answer to "how many connections may wait": `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket of ours on a published port.
#[derive(Debug)]
pub enum Socket {
    /// It listens; the forwarder accepts, else nobody: the firewall leads connections past it.
    Tcp(TcpListener),
    /// It is bound.
    Udp(UdpSocket),
}

/// A published port that is ours.
#[derive(Debug)]
pub struct Held {
    /// As it was asked for.
    pub port: Port,
    /// The host's port, also when none was asked for.
    pub published: u16,
    /// What holds it.
    pub socket: Socket,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }
}

/// Takes the host's ports; those without a number get a free one.
///
/// # Errors
/// `EADDRINUSE` and who has it, if it is a container of `home`; `EACCES` (a port below 1024
/// without root); `EADDRNOTAVAIL` (the host has no such address).
pub fn hold(ports: &[Port], home: &Home) -> Result<Vec<Held>, Failed> {
    ports.iter().map(|port| hold_one(port, home)).collect()
}

/// Checks that the host's ports are free, before anything of a project starts.
///
/// # Errors
/// As [`hold`], for a person.
pub fn check(ports: &[Port], home: &Home) -> Result<()> {
    hold(ports, home).map(drop).map_err(|failed| Error::from(failed).hint(HINT))
}

/// What helps when [`hold`] fails.
pub const HINT: &str = "publish it on another port, or stop who has it (`ss -lntup` shows them); a port below \
                        1024 takes root";

// ANCHOR: hold
fn hold_one(port: &Port, home: &Home) -> Result<Held, Failed> {
    let address = SocketAddrV4::new(
        port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
        port.published.unwrap_or(0),
    );
    let socket = open(port.protocol, address).map_err(|errno| {
        let owner = (errno == Errno::EADDRINUSE).then(|| owner(port, home)).flatten();
        let protocol = protocol_name(port.protocol);
        Failed::new(
            match owner {
                Some(name) => format!("bind({address}, {protocol}), which container {name:?} has"),
                None => format!("bind({address}, {protocol})"),
            },
            errno,
        )
    })?;
    let local = match &socket {
        Socket::Tcp(socket) => socket.local_addr(),
        Socket::Udp(socket) => socket.local_addr(),
    };
    let published = local.call("getsockname")?.port();
    Ok(Held { port: port.clone(), published, socket })
}
// ANCHOR_END: hold

fn open(protocol: Protocol, address: SocketAddrV4) -> Result<Socket, Errno> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, kind, flags, None)?;
    if protocol == Protocol::Tcp {
        // A server that has ended a minute ago does not keep the port, one that listens does.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(address))?;
    Ok(match protocol {
        Protocol::Tcp => {
            listen(&fd, Backlog::new(BACKLOG)?)?;
            Socket::Tcp(fd.into())
        }
        Protocol::Udp => Socket::Udp(fd.into()),
    })
}

/// Which running container of ours has the port.
fn owner(wanted: &Port, home: &Home) -> Option<String> {
    let meets = |port: &Port| {
        port.protocol == wanted.protocol
            && port.published == wanted.published
            && match (port.host_ip, wanted.host_ip) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
    };
    state::list(home)
        .into_iter()
        .filter(|record| matches!(record.status, Status::Created | Status::Running))
        .find(|record| record.service.ports.iter().any(meets))
        .map(|record| record.name)
}

/// The firewall's elements that lead held ports to the container at `address`.
pub fn elements(held: &[Held], address: Ipv4Addr) -> Vec<Element> {
    held.iter().map(|held| firewall::element_of_port(&held.port, held.published, address)).collect()
}

/// `tcp` or `udp`.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// `127.0.0.1:8080->80/tcp`: how listings show a port.
pub fn describe(port: &Port, published: u16) -> String {
    let ip = port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    format!("{ip}:{published}->{}/{}", port.target, protocol_name(port.protocol))
}

/// Writes down, in the container's directory, which ports it got.
///
/// # Errors
/// A full disk.
pub fn remember(dir: &Path, held: &[Held]) -> Result<(), Failed> {
    let lines: String =
        held.iter().map(|held| describe(&held.port, held.published) + "\n").collect();
    std::fs::write(dir.join("ports"), lines).call("write(ports)")
}

/// The ports of a running container as [`describe`] shows them, those that were chosen included.
pub fn remembered(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("ports")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
