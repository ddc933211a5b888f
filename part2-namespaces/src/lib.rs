//! Part 2: namespaces. What a process sees, and what it may do.
//!
//! The recipe of part 1 stays: make a process, give it a root, execute the program. `clone` now
//! makes new namespaces, `pivot_root` takes the place of `chroot`, and between them stand the
//! file systems of the kernel and, last, the privileges.

mod account;
pub mod capabilities;
mod dev;
mod exec;
mod init;
mod mounts;
mod namespaces;
mod privileges;
mod proc;
mod rootfs;
pub mod seccomp;
pub mod syscalls;
mod terminal;
mod uts;

use shared::error::Result;
use shared::part::{Part, Request};
use shared::recipe::Recipe;

pub use capabilities::CapabilitySet;
pub use exec::recipe as exec_recipe;
pub use proc::shell_read_only;

pub use mounts::{
    DATA_ONLY, at_root, attach, detached, detached_bind, make_read_only, open_beneath, shell_place,
};

/// The part that these steps belong to.
const PART: u8 = 2;

/// Part 2 as the command line sees it.
pub fn part() -> Part {
    let mut part = part1_chroot::part();
    part.number = PART;
    part.binary = "part2-namespaces";
    part.about = "Run a service in namespaces, with few privileges";
    part.recipe = recipe;
    part.exec = Some(exec_recipe);
    part.commands.extend(shared::cli::container_commands());
    part
}

/// The recipe of part 1 with namespaces, kernel file systems and privileges.
///
/// # Errors
/// As part 1; or a user, capability or identity that is not there.
// ANCHOR: recipe
pub fn recipe(request: &Request) -> Result<Recipe> {
    let mut recipe = part1_chroot::recipe(request)?;
    recipe.continue_in(PART);

    // Who we are inside, and what we see.
    namespaces::add(&mut recipe, request);
    // A tree of our own, with the kernel's file systems in it …
    rootfs::add(&mut recipe, request);
    proc::add(&mut recipe, request);
    dev::add(&mut recipe, request);
    uts::add(&mut recipe, request);
    // … which becomes the root.
    rootfs::add_pivot(&mut recipe, request);
    namespaces::add_loopback(&mut recipe, request);
    terminal::add(&mut recipe, request);
    // Last, the privileges: what has been given up cannot be used by mistake.
    privileges::add(&mut recipe, request)?;
    init::add(&mut recipe, request);
    Ok(recipe)
}
// ANCHOR_END: recipe
