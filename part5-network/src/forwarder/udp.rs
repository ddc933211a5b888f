//! UDP has no connections: a flow is a sender outside and a socket of its own inside, until it
//! has been silent for a while.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use crate::publish::{Held, Socket};

/// A silent flow is forgotten then; the kernel's own NAT does it after 30 s without an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// How often that is looked at, in milliseconds.
pub const CHECK_EVERY: u16 = 10_000;
/// Many senders, or one that forges many: the flow that was silent longest goes.
const FLOWS_MAX: usize = 512;
/// So many packets are taken from one socket before the others have their turn.
const TURN: usize = 64;

/// One sender.
pub struct Flow {
    /// The number of the published port it came in by.
    port: usize,
    sender: SocketAddr,
    inside: UdpSocket,
    last: Instant,
}

impl Flow {
    fn open(port: usize, sender: SocketAddr, target: (Ipv4Addr, u16)) -> std::io::Result<Self> {
        let inside = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        inside.set_nonblocking(true)?;
        inside.connect(target)?;
        Ok(Self { port, sender, inside, last: Instant::now() })
    }

    /// What `poll` is asked for.
    pub fn wants(&self) -> PollFd<'_> {
        PollFd::new(self.inside.as_fd(), PollFlags::POLLIN)
    }

    /// Sends the container's packets back to the sender.
    pub fn answer(&mut self, ports: &[Held], buffer: &mut [u8]) {
        let Socket::Udp(outside) = &ports[self.port].socket else { return };
        for _ in 0..TURN {
            let Ok(length) = self.inside.recv(buffer) else { return };
            self.last = Instant::now();
            let _ = outside.send_to(&buffer[..length], self.sender);
        }
    }

    /// Whether it has been used lately.
    pub fn is_fresh(&self) -> bool {
        self.last.elapsed() < SILENCE
    }
}

/// Takes packets from outside and sends them inside, each sender's through its own socket.
pub fn forward(
    port: usize,
    socket: &UdpSocket,
    target: (Ipv4Addr, u16),
    flows: &mut Vec<Flow>,
    buffer: &mut [u8],
) {
    for _ in 0..TURN {
        let Ok((length, sender)) = socket.recv_from(buffer) else { return };
        let Some(flow) = flow_of(port, sender, target, flows) else { continue };
        flow.last = Instant::now();
        // Nobody listens inside: the packet is lost, as packets may be.
        let _ = flow.inside.send(&buffer[..length]);
    }
}

fn flow_of(
    port: usize,
    sender: SocketAddr,
    target: (Ipv4Addr, u16),
    flows: &mut Vec<Flow>,
) -> Option<&mut Flow> {
    let known = flows.iter().position(|flow| flow.port == port && flow.sender == sender);
    let at = match known {
        Some(at) => at,
        None => {
            if flows.len() >= FLOWS_MAX {
                let oldest = (0..flows.len()).min_by_key(|i| flows[*i].last)?;
                flows.swap_remove(oldest);
            }
            flows.push(Flow::open(port, sender, target).ok()?);
            flows.len() - 1
        }
    };
    flows.get_mut(at)
}
