//! The link between the host and the child: how they wait for each other, and how the child
//! says what failed.
//!
//! It is a `SOCK_SEQPACKET` socket pair (`unix(7)`): messages stay whole, a file descriptor can
//! travel along, and the child's end closes itself at `execve`: the end of the stream means that
//! the program runs.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, send, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::error::{Call, Failed};
use crate::recipe::Outcome;
use crate::sys;

/// The longest message; longer descriptions of calls are cut.
const MESSAGE_MAX: usize = 4096;

/// What the child tells the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// A step is done (sent only when the start is narrated).
    Done {
        /// Its number in the recipe, from 1.
        step: usize,
    },
    /// A step failed; the child ends.
    Failed {
        /// Its number in the recipe, from 1.
        step: usize,
        /// The call that failed.
        call: String,
        /// What the kernel answered.
        errno: i32,
    },
    /// The controlling side of the container's terminal travels with this message.
    Terminal,
}

/// One end of the link.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Both ends: (the host's, the child's).
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`.
    pub fn pair() -> Result<(Self, Self), Failed> {
        let (host, child) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .call("socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
        Ok((Self { socket: host }, Self { socket: child }))
    }

    /// Host: tells the child that the step called `step` is done.
    pub fn announce(&self, step: &str) {
        // A child that is gone has said why, or will be seen to have ended.
        let _ = send(self.socket.as_raw_fd(), step.as_bytes(), MsgFlags::MSG_NOSIGNAL);
    }

    /// Child: waits until the host has announced the step called `step`.
    ///
    /// # Errors
    /// `ECANCELED` when the host's end is closed: the start was given up.
    pub fn await_host(&self, step: &str) -> Outcome {
        let mut name = [0; MESSAGE_MAX];
        loop {
            let length =
                recv(self.socket.as_raw_fd(), &mut name, MsgFlags::empty()).call("recv(link)")?;
            match &name[..length] {
                [] => return Err(Failed::new(format!("wait for \"{step}\""), Errno::ECANCELED)),
                received if received == step.as_bytes() => return Ok(()),
                _ => {}
            }
        }
    }

    /// Child: whether the host has gone away.
    pub fn host_is_gone(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let _ = poll(&mut fds, PollTimeout::ZERO);
        fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
    }

    /// Child: sends a message.
    pub fn send(&self, message: &Message) {
        let mut bytes = serde_json::to_vec(message).unwrap_or_default();
        bytes.truncate(MESSAGE_MAX);
        let _ = send(self.socket.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
    }

    /// Child: says which step failed and why.
    pub fn send_failed(&self, step: usize, failed: &Failed) {
        let call = failed.call.chars().take(MESSAGE_MAX / 8).collect();
        self.send(&Message::Failed { step, call, errno: failed.errno as i32 });
    }

    /// Child: sends an open file.
    ///
    /// # Errors
    /// What `sendmsg(2)` answered.
    pub fn send_fd(&self, fd: RawFd) -> Outcome {
        let bytes = serde_json::to_vec(&Message::Terminal).unwrap_or_default();
        let rights = [fd];
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            &[ControlMessage::ScmRights(&rights)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .call("sendmsg(link, SCM_RIGHTS)")
        .map(drop)
    }

    /// Host: the next message, and the file that came with it. None: the program runs, or the
    /// child has ended without a word.
    ///
    /// # Errors
    /// What `recvmsg(2)` answered, or `EBADMSG`.
    pub fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>, Failed> {
        let mut bytes = [0; MESSAGE_MAX];
        let mut room = nix::cmsg_space!([RawFd; 1]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = loop {
            match recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut parts,
                Some(&mut room),
                MsgFlags::MSG_CMSG_CLOEXEC,
            ) {
                // Its end was closed before it had read all that we announced: said once, and
                // then come the messages it has sent.
                Err(Errno::ECONNRESET) => {}
                other => break other.call("recvmsg(link)")?,
            }
        };
        let length = received.bytes;
        let mut file = None;
        for message in received.cmsgs().call("recvmsg(link)")? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                file = fds.first().and_then(|fd| sys::own_fd(*fd).ok());
            }
        }
        if length == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&bytes[..length])
            .map_err(|_| Failed::new("recvmsg(link)", Errno::EBADMSG))?;
        Ok(Some((message, file)))
    }
}
