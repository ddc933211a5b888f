//! Talking to the kernel about networks: `netlink(7)`, without `ip` and without `nft`.
//!
//! [`Netlink`] asks for links, addresses and routes (`rtnetlink(7)`); [`nft`] adds elements to
//! the firewall's maps. Both are one request and one answer each, a few microseconds, and may be
//! used in the child between `clone3` and `execve`: no thread, no runtime, no lock.

mod addresses;
mod channel;
mod links;
pub mod nft;

pub use addresses::HostAddresses;
pub use links::{Mac, Veth};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::error::Failed;
use channel::Channel;

/// A socket for links, addresses and routes of the network namespace it was opened in.
pub struct Netlink {
    channel: Channel,
}

impl Netlink {
    /// Opens it: `socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)`.
    ///
    /// # Errors
    /// What `socket(2)` answered.
    pub fn open() -> Result<Self, Failed> {
        Ok(Self { channel: Channel::open(NETLINK_ROUTE)? })
    }

    /// Sends one request and waits for its acknowledgement. `call` names it in the error.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        call: impl FnOnce() -> String,
    ) -> Result<(), Failed> {
        let number = self.channel.next_number();
        let bytes = serialize(message, NLM_F_REQUEST | NLM_F_ACK | flags, number);
        self.channel
            .send(&bytes)
            .and_then(|()| self.channel.acknowledgement(number))
            .map_err(|errno| Failed::new(call(), errno))
    }

    /// Asks for everything of a kind.
    fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        call: &'static str,
    ) -> Result<Vec<RouteNetlinkMessage>, Failed> {
        let number = self.channel.next_number();
        let bytes = serialize(message, NLM_F_REQUEST | NLM_F_DUMP, number);
        let mut found = Vec::new();
        self.channel
            .send(&bytes)
            .and_then(|()| {
                self.channel.answers(number, |bytes| {
                    // A kind of attribute that is newer than the library: not ours to understand.
                    let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
                    if let Ok(NetlinkPayload::InnerMessage(inner)) = parsed.map(|m| m.payload) {
                        found.push(inner);
                    }
                })
            })
            .map_err(|errno| Failed::new(call, errno))?;
        Ok(found)
    }
}

fn serialize(message: RouteNetlinkMessage, flags: u16, number: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The index of an interface: `if_nametoindex(3)`. None when there is no such interface.
pub fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// Sets the loopback interface of this network namespace up.
///
/// # Errors
/// As [`Netlink::open`] and [`Netlink::loopback_up`].
pub fn loopback_up() -> Result<(), Failed> {
    Netlink::open()?.loopback_up()
}
