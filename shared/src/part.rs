//! What a part is, and what it is asked for.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid};

use crate::error::Result;
use crate::home::Home;
use crate::recipe::Recipe;
use crate::spec::{Service, Spec};

/// One part of the workspace: a wall on top of all the walls before it.
pub struct Part {
    /// 1–5.
    pub number: u8,
    /// The name of its binary: `part1-chroot`.
    pub binary: &'static str,
    /// What it adds, in a few words.
    pub about: &'static str,
    /// How it starts a container. Pure: it looks, but changes nothing.
    pub recipe: fn(&Request) -> Result<Recipe>,
    /// How it starts one more process in a running container; None where it cannot.
    pub exec: Option<fn(&Joining) -> Result<Recipe>>,
    /// Its commands, those of the parts before it included.
    pub commands: Vec<Command>,
}

/// A command of a part: what `clap` needs to know, and what it does.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its arguments and help, under the same name.
    pub define: fn() -> clap::Command,
    /// What it does. Answers the exit status.
    pub run: fn(&Part, &clap::ArgMatches) -> Result<u8>,
}

/// What a recipe is made for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The service.
    pub service: &'a Service,
    /// The file it stands in; a service of its own (`run --rootfs`) has none.
    pub spec: Option<&'a Spec>,
    /// The container's name: unique on this machine for this user.
    pub name: String,
    /// Its root file system, a directory of the host (absolute).
    pub rootfs: PathBuf,
    /// Where this user's containers keep what they need.
    pub home: &'a Home,
    /// Who we are.
    pub user: User,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Whether what it writes is thrown away as soon as it stops.
    pub throw_away: bool,
}

/// What one more process in a running container is made for (`exec`).
#[derive(Debug, Clone)]
pub struct Joining<'a> {
    /// The container as it was asked for.
    pub service: &'a Service,
    /// Its state.
    pub record: &'a crate::state::Record,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Who we are.
    pub user: User,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

impl Request<'_> {
    /// The container's own directory of state.
    pub fn dir(&self) -> PathBuf {
        self.home.containers().join(&self.name)
    }

    /// What it keeps on disk until it is removed.
    pub fn data(&self) -> PathBuf {
        self.home.container_data(&self.name)
    }
}

/// Who runs the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Effective user.
    pub uid: Uid,
    /// Effective group.
    pub gid: Gid,
}

impl User {
    /// The calling process's.
    pub fn current() -> Self {
        Self { uid: nix::unistd::geteuid(), gid: nix::unistd::getegid() }
    }

    /// Whether it needs no user namespace: root, and not only of a user namespace around us.
    pub fn is_root(self) -> bool {
        self.uid.is_root() && !in_user_namespace()
    }
}

/// Whether this program was started in another user namespace than the machine's first, which has
/// always this number (`PROC_USER_INIT_INO`).
fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        fs::read_link("/proc/self/ns/user")
            .is_ok_and(|name| name.as_os_str() != "user:[4026531837]")
    })
}
