//! Adding to and removing from the sets and maps of the firewall's table.
//!
//! The table itself is written once, as text, by `nft` (part 5). What changes with every
//! container, its published ports, goes straight to the kernel: a process of `nft` takes 2 ms,
//! the request below 30 µs.
//!
//! nf_tables takes changes as a transaction: a *begin* message, the changes, an *end* message,
//! all in one datagram; either all of them happen or none. The kernel's own description is
//! `Documentation/netlink/specs/nftables.yaml`.

use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::libc;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use crate::error::Failed;

/// An element expires with the kernel's next tick: after 1 to 10 ms.
const EXPIRY: Duration = Duration::from_millis(30);

/// Our table, of the family `ip`.
pub const TABLE: &str = "inside-docker";

/// An element of a set, or, with data, of a map of our table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// The set's name.
    pub set: String,
    /// As the kernel compares it: each field in network byte order, filled up to 4 bytes.
    pub key: Vec<u8>,
    /// What the key is mapped to, likewise; empty in a set.
    pub data: Vec<u8>,
    /// In a set of ranges: the first key that is *not* in the range any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_range: bool,
}

/// Adds elements, all or none.
///
/// # Errors
/// `ENOENT` (no such table or set), `EEXIST` (a key is there with other data), `EPERM`.
pub fn add(elements: &[Element]) -> Result<(), Failed> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let give_up = Instant::now() + EXPIRY;
    loop {
        match transaction(libc::NFT_MSG_NEWSETELEM, flags, elements, None) {
            // One that was removed a moment ago: see `remove`.
            Err(Errno::EEXIST) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other.map_err(|errno| Failed::new("nftables NEWSETELEM", errno)),
        }
    }
}

/// Removes elements. One that is not there, or has other data by now, is left alone.
///
/// A deletion makes whoever closes the socket wait for the kernel's readers (RCU), 10 ms and more,
/// and the next one who changes the firewall, too. So elements of maps are not deleted but made
/// to expire at once; since Linux 6.12 that can be said of an element that is there.
///
/// # Errors
/// `EPERM`.
pub fn remove(elements: &[Element]) -> Result<(), Failed> {
    let can_expire = elements.iter().all(|element| !element.data.is_empty()) && is_since_6_12();
    let removed = if can_expire { expire(elements) } else { delete(elements) };
    match removed {
        // Something is not there, or another's: each on its own, if there is anything at all.
        Err(failed) if is_absence(failed.errno) && elements.len() > 1 && has_table() => {
            elements.iter().try_for_each(|element| remove(std::slice::from_ref(element)))
        }
        Err(failed) if is_absence(failed.errno) => Ok(()),
        other => other,
    }
}

/// What is said of an element, set or table that is not there, or of a key with other data; and
/// by a kernel without nf_tables, which has none either.
fn is_absence(errno: Errno) -> bool {
    use Errno::{EAFNOSUPPORT, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT};
    matches!(errno, ENOENT | EEXIST | EINVAL | EOPNOTSUPP | EPROTONOSUPPORT | EAFNOSUPPORT)
}

/// Adding an element again changes its timeout; one with other data is refused (`EEXIST`).
fn expire(elements: &[Element]) -> Result<(), Failed> {
    transaction(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, elements, Some(1))
        .map_err(|errno| Failed::new("nftables NEWSETELEM(timeout)", errno))
}

fn delete(elements: &[Element]) -> Result<(), Failed> {
    for element in elements {
        if !element.data.is_empty() && !is_there(element)? {
            return Err(Failed::new("nftables GETSETELEM", Errno::ENOENT));
        }
    }
    transaction(libc::NFT_MSG_DELSETELEM, 0, elements, None)
        .map_err(|errno| Failed::new("nftables DELSETELEM", errno))
}

fn is_since_6_12() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else { return false };
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 12),
        _ => false,
    }
}

/// Whether the element is there, with its data.
///
/// # Errors
/// `EPERM`.
pub fn is_there(element: &Element) -> Result<bool, Failed> {
    let failed = |errno| Failed::new("nftables GETSETELEM", errno);
    let mut channel = Channel::open(NETLINK_NETFILTER)?;
    let number = channel.next_number();
    let mut request = Message::default();
    request.put(libc::NFT_MSG_GETSETELEM, libc::NLM_F_ACK, number, |m| m.element(element, None));
    let mut found = false;
    let answer = channel.send(&request.bytes).and_then(|()| {
        channel.answers(number, |bytes| {
            let data = attribute(NFTA_DATA_VALUE, &element.data);
            found |= bytes.windows(data.len()).any(|window| window == data);
        })
    });
    match answer {
        Ok(()) => Ok(found || element.data.is_empty()),
        Err(errno) if is_absence(errno) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

/// Whether our table is there.
pub fn has_table() -> bool {
    let Ok(mut channel) = Channel::open(NETLINK_NETFILTER) else { return false };
    let number = channel.next_number();
    let mut request = Message::default();
    request.put(libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK, number, |m| {
        m.attribute(NFTA_TABLE_NAME, &c_string(TABLE));
    });
    channel.send(&request.bytes).and_then(|()| channel.acknowledgement(number)).is_ok()
}

/// Makes a change to several elements, all or none; `timeout` in milliseconds.
fn transaction(
    kind: i32,
    flags: i32,
    elements: &[Element],
    timeout: Option<u64>,
) -> Result<(), Errno> {
    let mut channel = Channel::open(NETLINK_NETFILTER).map_err(|failed| failed.errno)?;
    let mut batch = Message::default();
    let mut number = 0;
    batch.put_edge(libc::NFNL_MSG_BATCH_BEGIN, channel.next_number());
    for (i, element) in elements.iter().enumerate() {
        number = channel.next_number();
        // Acknowledged is the last one; before it, only errors are answered.
        let ack = if i + 1 == elements.len() { libc::NLM_F_ACK } else { 0 };
        batch.put(kind, flags | ack, number, |m| m.element(element, timeout));
    }
    batch.put_edge(libc::NFNL_MSG_BATCH_END, channel.next_number());
    channel.send(&batch.bytes)?;
    channel.first_error(number)
}

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
const NFTA_SET_ELEM_EXPIRATION: u16 = 5;
const NFTA_DATA_VALUE: u16 = 1;

/// Messages as bytes: `struct nlmsghdr`, `struct nfgenmsg`, attributes.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// One nf_tables message of family `ip`.
    fn put(&mut self, kind: i32, flags: i32, number: u32, body: impl FnOnce(&mut Self)) {
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8) | kind;
        self.put_raw(kind, flags, number, libc::AF_INET as u8, 0, body);
    }

    /// The begin or the end of a transaction with nf_tables.
    fn put_edge(&mut self, kind: i32, number: u32) {
        let subsystem = libc::NFNL_SUBSYS_NFTABLES as u16;
        self.put_raw(kind, 0, number, libc::AF_UNSPEC as u8, subsystem, |_| {});
    }

    fn put_raw(
        &mut self,
        kind: i32,
        flags: i32,
        number: u32,
        family: u8,
        resource: u16,
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]); // its length, known at the end
        self.bytes.extend((kind as u16).to_ne_bytes());
        self.bytes.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        self.bytes.extend(number.to_ne_bytes());
        self.bytes.extend([0; 4]); // from: the kernel fills it in
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        body(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn element(&mut self, element: &Element, timeout: Option<u64>) {
        self.attribute(NFTA_SET_ELEM_LIST_TABLE, &c_string(TABLE));
        self.attribute(NFTA_SET_ELEM_LIST_SET, &c_string(&element.set));
        let mut fields = nested(NFTA_SET_ELEM_KEY, &attribute(NFTA_DATA_VALUE, &element.key));
        if !element.data.is_empty() {
            let data = attribute(NFTA_DATA_VALUE, &element.data);
            fields.extend(nested(NFTA_SET_ELEM_DATA, &data));
        }
        if element.ends_range {
            fields.extend(attribute(NFTA_SET_ELEM_FLAGS, &1u32.to_be_bytes()));
        }
        if let Some(timeout) = timeout {
            fields.extend(attribute(NFTA_SET_ELEM_TIMEOUT, &timeout.to_be_bytes()));
            fields.extend(attribute(NFTA_SET_ELEM_EXPIRATION, &timeout.to_be_bytes()));
        }
        let list = nested(NFTA_SET_ELEM_LIST_ELEMENTS, &nested(NFTA_LIST_ELEM, &fields));
        self.bytes.extend(list);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(attribute(kind, value));
    }
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | libc::NLA_F_NESTED as u16, value)
}

/// `struct nlattr`, the value, and zeros up to a multiple of 4 bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}
