//! Where there is no `nft`, or no root: a small process that carries each connection over.
//!
//! It holds the listening sockets of the host (opened before anything started) and enters the
//! container's network namespace, so that what it connects from there on is inside. It ends with
//! the container, and with its supervisor. It has one thread and one buffer for all connections;
//! only what a receiver does not take at once is kept for it, and its sender waits meanwhile.

mod tcp;
mod udp;

use std::io::{PipeWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, getppid};
use shared::error::Failed;
use shared::{Call, sys};

use crate::publish::{Held, Socket};

/// So much is read at once. Smaller ones cost a fifth of the speed each time they are halved.
const BUFFER: usize = 256 * 1024;

/// What it says when it is inside.
const ENTERED: &str = "entered";

/// How the container is entered.
#[derive(Debug, Clone, Copy)]
pub struct Inside<'a> {
    /// Its first process.
    pub pidfd: BorrowedFd<'a>,
    /// Whether it has a user namespace, which has to be entered first.
    pub user_namespace: bool,
    /// Its address; 127.0.0.1 where it has none.
    pub address: Ipv4Addr,
}

/// Starts the forwarder for `ports`, and waits until it is inside. Answers its pid: a child of the
/// caller, who must have one thread and reaps it.
///
/// # Errors
/// What `fork(2)` answered, or the call that kept it out.
pub fn start(ports: &[Held], inside: Inside) -> Result<Pid, Failed> {
    let supervisor = nix::unistd::getpid();
    let (mut told, tell) = std::io::pipe().call("pipe(forwarder)")?;
    match sys::fork().call("fork(forwarder)")? {
        ForkResult::Parent { child } => {
            drop(tell);
            let mut text = String::new();
            let heard = told.read_to_string(&mut text);
            if heard.is_ok() && text == ENTERED {
                return Ok(child);
            }
            let _ = waitpid(child, None);
            Err(Failed::new(format!("the forwarder of ports: {text}"), Errno::ECANCELED))
        }
        ForkResult::Child => {
            let entered = enter(ports, inside, supervisor, &tell);
            let text = entered.as_ref().map_or_else(Failed::to_string, |()| ENTERED.into());
            let told = (&tell).write_all(text.as_bytes());
            drop(tell);
            let ended = entered.is_ok() && told.is_ok() && run(ports, inside).is_ok();
            sys::exit_now(if ended { 0 } else { shared::error::EXIT_OURS })
        }
    }
}

// ANCHOR: enter
/// Leaves everything behind that is the supervisor's, and enters the container's network.
fn enter(ports: &[Held], inside: Inside, supervisor: Pid, tell: &PipeWriter) -> Result<(), Failed> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.call("open(/dev/null)")?;
    dup2_stdin(&null).call("dup2(0)")?;
    dup2_stdout(&null).call("dup2(1)")?;
    dup2_stderr(&null).call("dup2(2)")?;
    drop(null);
    // The supervisor's lock, for one, must not live longer than it does.
    let mut keep: Vec<_> = ports.iter().map(|held| held.as_fd().as_raw_fd()).collect();
    keep.extend([inside.pidfd.as_raw_fd(), tell.as_raw_fd()]);
    sys::close_all_but(&mut keep).call("close_range")?;

    if inside.user_namespace {
        setns(inside.pidfd, CloneFlags::CLONE_NEWUSER).call("setns(CLONE_NEWUSER)")?;
    }
    setns(inside.pidfd, CloneFlags::CLONE_NEWNET).call("setns(CLONE_NEWNET)")?;
    // Only now: entering a user namespace takes the wish back.
    set_pdeathsig(Signal::SIGKILL).call("prctl(PR_SET_PDEATHSIG)")?;
    if getppid() != supervisor {
        return Err(Failed::new("getppid", Errno::ECANCELED));
    }
    Ok(())
}
// ANCHOR_END: enter

/// Forwards until the container has ended.
fn run(ports: &[Held], inside: Inside) -> Result<(), Failed> {
    let mut buffer = vec![0; BUFFER];
    let mut connections: Vec<tcp::Connection> = Vec::new();
    let mut flows: Vec<udp::Flow> = Vec::new();
    loop {
        let ready = wait(ports, inside.pidfd, &connections, &flows)?;
        if ready.ended {
            return Ok(());
        }
        for number in ready.connections {
            connections[number].carry(&mut buffer);
        }
        for number in ready.flows {
            flows[number].answer(ports, &mut buffer);
        }
        connections.retain(|connection| !connection.is_over());
        flows.retain(udp::Flow::is_fresh);
        for number in ready.ports {
            let target = (inside.address, ports[number].port.target);
            match &ports[number].socket {
                Socket::Tcp(listener) => {
                    connections.extend(tcp::Connection::accept(listener, target));
                }
                Socket::Udp(socket) => {
                    udp::forward(number, socket, target, &mut flows, &mut buffer);
                }
            }
        }
    }
}

/// What has something to say, by its number.
#[derive(Default)]
struct Ready {
    ended: bool,
    ports: Vec<usize>,
    connections: Vec<usize>,
    flows: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Who {
    Container,
    Port(usize),
    Connection(usize),
    Flow(usize),
}

fn wait(
    ports: &[Held],
    pidfd: BorrowedFd,
    connections: &[tcp::Connection],
    flows: &[udp::Flow],
) -> Result<Ready, Failed> {
    let mut who = vec![Who::Container];
    let mut fds = vec![PollFd::new(pidfd, PollFlags::POLLIN)];
    for (number, held) in ports.iter().enumerate() {
        who.push(Who::Port(number));
        fds.push(PollFd::new(held.as_fd(), PollFlags::POLLIN));
    }
    for (number, connection) in connections.iter().enumerate() {
        for fd in connection.wants() {
            who.push(Who::Connection(number));
            fds.push(fd);
        }
    }
    for (number, flow) in flows.iter().enumerate() {
        who.push(Who::Flow(number));
        fds.push(flow.wants());
    }
    let patience =
        if flows.is_empty() { PollTimeout::NONE } else { PollTimeout::from(udp::CHECK_EVERY) };
    match poll(&mut fds, patience) {
        Err(Errno::EINTR) => return Ok(Ready::default()),
        other => other.call("poll")?,
    };
    let mut ready = Ready::default();
    for (fd, who) in fds.iter().zip(who) {
        match who {
            _ if fd.revents().is_none_or(|events| events.is_empty()) => {}
            Who::Container => ready.ended = true,
            Who::Port(number) => ready.ports.push(number),
            Who::Connection(number) => ready.connections.push(number),
            Who::Flow(number) => ready.flows.push(number),
        }
    }
    ready.connections.dedup();
    Ok(ready)
}
