//! A netlink socket: numbered requests out, their answers in.

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::error::{AsErrno, Call, Failed};

/// The kernel never sends more than this at once.
const ANSWER_MAX: usize = 32 * 1024;
/// Length, type, flags, number and sender of a message: `struct nlmsghdr`.
const HEADER: usize = 16;

/// `struct nlmsghdr`'s types that every protocol has.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

pub struct Channel {
    socket: Socket,
    number: u32,
}

impl Channel {
    pub fn open(protocol: isize) -> Result<Self, Failed> {
        let socket = Socket::new(protocol).call("socket(AF_NETLINK)")?;
        Ok(Self { socket, number: 0 })
    }

    /// The number of the next request; its answers carry it.
    pub fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    pub fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(bytes, &kernel, 0).map(drop).map_err(|e| e.as_errno())
    }

    /// Waits for the answer to a request that has only a yes or no.
    pub fn acknowledgement(&self, number: u32) -> Result<(), Errno> {
        self.answers(number, |_| {})
    }

    /// Waits for the acknowledgement of the last request of a transaction, or the first error of
    /// any of them.
    pub fn first_error(&self, last: u32) -> Result<(), Errno> {
        let mut result = None;
        while result.is_none() {
            self.receive(|message| {
                if result.is_none() && field(message, 4) as u16 == NLMSG_ERROR {
                    let answer = acknowledged(message);
                    if answer.is_err() || field(message, 8) == last {
                        result = Some(answer);
                    }
                }
            })?;
        }
        result.unwrap_or(Ok(()))
    }

    /// Hands the answers to a request to `take`, until the last one.
    pub fn answers(&self, number: u32, mut take: impl FnMut(&[u8])) -> Result<(), Errno> {
        let mut result = None;
        while result.is_none() {
            self.receive(|message| {
                // Others are the rest of an earlier answer that nobody waited for.
                if field(message, 8) == number && result.is_none() {
                    match field(message, 4) as u16 {
                        NLMSG_DONE => result = Some(Ok(())),
                        NLMSG_ERROR => result = Some(acknowledged(message)),
                        _ => take(message),
                    }
                }
            })?;
        }
        result.unwrap_or(Ok(()))
    }

    /// Receives one datagram and hands over its messages.
    fn receive(&self, mut take: impl FnMut(&[u8])) -> Result<(), Errno> {
        let mut buffer = Vec::with_capacity(ANSWER_MAX);
        loop {
            match self.socket.recv(&mut buffer, 0).map_err(|e| e.as_errno()) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => break,
            }
        }
        messages(&buffer).for_each(&mut take);
        Ok(())
    }
}

/// `struct nlmsgerr`: 0 is the acknowledgement, else the errno, negative.
fn acknowledged(message: &[u8]) -> Result<(), Errno> {
    match field(message, HEADER) as i32 {
        0 => Ok(()),
        error => Err(Errno::from_raw(-error)),
    }
}

/// The messages of one datagram, each with its header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = field(bytes, 0) as usize;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let message = &bytes[..length];
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some(message)
    })
}

/// Four bytes at `at`; 0 beyond the end.
fn field(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}
