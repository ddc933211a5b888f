//! What all our networks share: the firewall's table and forwarding.
//!
//! They belong to the machine's network namespace, not to one user's home, so this shared thing
//! stands at one place for all, named after that namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shared::journal::{Due, Undo};
use shared::netlink::{index_of, nft};
use shared::shared_resource::Resource;
use shared::{Call, Error, Result};

use crate::firewall;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// The shared thing's directory, for the network namespace we are in.
///
/// # Errors
/// `/proc` is not mounted.
pub fn dir() -> Result<PathBuf> {
    let namespace = fs::metadata("/proc/self/ns/net").call("stat(/proc/self/ns/net)")?;
    Ok(Path::new("/run/inside-docker").join(format!("host-{}", namespace.ino())))
}

/// How the network of `bridge` stops using it; harmless for one that does not.
///
/// # Errors
/// As [`dir`].
pub fn undo(bridge: &str) -> Result<Undo> {
    Ok(Undo::Leave { resource: dir()?, user: bridge.to_owned() })
}

/// What all networks share, locked.
pub struct Host {
    resource: Resource,
}

impl Host {
    /// Locks it: nobody else chooses a subnet or changes the firewall meanwhile.
    ///
    /// # Errors
    /// As [`Resource::lock`].
    pub fn lock() -> Result<Self> {
        Ok(Self { resource: Resource::lock(&dir()?)? })
    }

    /// Uses it for the network of `bridge`. The first one loads the table and turns forwarding on.
    /// Answers whether there is a firewall: not without `nft` or nf_tables, and why.
    ///
    /// # Errors
    /// The journal cannot be written, or `/proc/sys` not.
    pub fn join(&self, bridge: &str) -> Result<Result<(), String>> {
        // A home that was deleted by hand, or another network namespace: the kernel gives the
        // number of one that has ended to the next. A bridge is made under our lock, so one that
        // is not there has no user.
        self.resource.forget_unless(|user| user == bridge || index_of(user).is_some());
        let first = self.resource.users().is_empty();
        self.resource.join(bridge, "")?;
        let Some(nft) = firewall::nft() else { return Ok(Err("nft is not installed".into())) };
        if !first && nft::has_table() {
            return Ok(Ok(()));
        }
        let mut journal = self.resource.journal()?;
        if first {
            // Of one who crashed before it was a user.
            journal.play_back(Due::Stop)?;
        }
        let was_off = self.forwarding_was_off()?;
        journal.record(Due::Stop, &firewall::undo(&nft))?;
        let more_rules = if was_off { firewall::NO_OTHER_FORWARDING } else { "" };
        if let Err(error) = firewall::load(&nft, more_rules) {
            return Ok(Err(error.to_string()));
        }
        if was_off {
            let undo = Undo::WriteFile { path: FORWARDING.into(), content: "0\n".into() };
            journal.record(Due::Stop, &undo)?;
            fs::write(FORWARDING, "1").map_err(|e| {
                Error::new("cannot turn on forwarding (net.ipv4.ip_forward)").because(e)
            })?;
        }
        Ok(Ok(()))
    }

    /// Whether forwarding is off without us. Remembered, for when the table has to be loaded once
    /// more (somebody said `nft flush ruleset`).
    fn forwarding_was_off(&self) -> Result<bool> {
        let memory = self.resource.dir().join("forwarding-was-off");
        let is_off = fs::read_to_string(FORWARDING).call("read(ip_forward)")?.trim() == "0";
        if is_off {
            fs::write(&memory, "").call("write(forwarding-was-off)")?;
        }
        Ok(is_off || memory.exists())
    }
}
