//! One TCP connection: two sockets, and what is on its way between them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

/// A connection from outside and its continuation inside.
pub struct Connection {
    outside: TcpStream,
    inside: TcpStream,
    inward: Direction,
    outward: Direction,
}

/// One of the two directions.
#[derive(Default)]
struct Direction {
    /// Read, but not yet taken by the receiver.
    kept: Vec<u8>,
    /// The sender has said its last, and the receiver was told.
    finished: bool,
    /// One of the sockets is broken.
    broken: bool,
}

impl Connection {
    /// Takes the next connection and continues it to `target`. None when it is gone already, or
    /// nobody listens there: then it is closed, as the container would have done.
    pub fn accept(listener: &TcpListener, target: (Ipv4Addr, u16)) -> Option<Self> {
        let (outside, _) = listener.accept().ok()?;
        outside.set_nonblocking(true).ok()?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let inside = socket(AddressFamily::Inet, SockType::Stream, flags, None).ok()?;
        let address = SockaddrIn::from(SocketAddrV4::new(target.0, target.1));
        match connect(std::os::fd::AsRawFd::as_raw_fd(&inside), &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(_) => return None,
        }
        // Small messages must not wait for larger ones.
        let inside = TcpStream::from(inside);
        let _ = inside.set_nodelay(true);
        let _ = outside.set_nodelay(true);
        Some(Self { outside, inside, inward: Direction::default(), outward: Direction::default() })
    }

    /// What `poll` is asked for. A socket of which nothing is wanted is left out: its end would
    /// be reported again and again.
    pub fn wants(&self) -> impl Iterator<Item = PollFd<'_>> {
        [
            (self.outside.as_fd(), wants(&self.inward, &self.outward)),
            (self.inside.as_fd(), wants(&self.outward, &self.inward)),
        ]
        .into_iter()
        .filter(|(_, events)| !events.is_empty())
        .map(|(fd, events)| PollFd::new(fd, events))
    }

    /// Carries what there is, in both directions.
    pub fn carry(&mut self, buffer: &mut [u8]) {
        self.inward.carry(&mut self.outside, &mut self.inside, buffer);
        self.outward.carry(&mut self.inside, &mut self.outside, buffer);
    }

    /// Whether nothing will come any more.
    pub fn is_over(&self) -> bool {
        let broken = self.inward.broken || self.outward.broken;
        broken || (self.inward.finished && self.outward.finished)
    }
}

/// A socket is read while the direction from it has nothing kept, and written while the direction
/// to it has.
fn wants(from: &Direction, to: &Direction) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, from.kept.is_empty() && !from.finished);
    flags.set(PollFlags::POLLOUT, !to.kept.is_empty());
    flags
}

impl Direction {
    fn carry(&mut self, from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) {
        if !self.kept.is_empty() {
            match write_some(to, &self.kept) {
                Ok(written) => drop(self.kept.drain(..written)),
                Err(()) => self.broken = true,
            }
        }
        if !self.kept.is_empty() || self.finished || self.broken {
            return;
        }
        self.kept = Vec::new();
        match from.read(buffer) {
            Ok(0) => {
                // The other direction may go on: a client that has sent its request.
                self.finished = true;
                let _ = to.shutdown(Shutdown::Write);
            }
            Ok(length) => match write_some(to, &buffer[..length]) {
                Ok(written) => self.kept.extend(&buffer[written..length]),
                Err(()) => self.broken = true,
            },
            Err(e) if is_later(&e) => {}
            Err(_) => self.broken = true,
        }
    }
}

/// Writes as much as the receiver takes now.
fn write_some(mut to: &TcpStream, bytes: &[u8]) -> Result<usize, ()> {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(length) => written += length,
            Err(e) if is_later(&e) => break,
            Err(_) => return Err(()),
        }
    }
    Ok(written)
}

/// Not now; or not yet connected.
fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        || error.raw_os_error() == Some(Errno::ENOTCONN as i32)
}
