//! Part 4: overlay. One image, many containers, each with its own changes.
//!
//! The root file system becomes the *lower* layer, which nobody writes. What a container changes
//! is copied to an *upper* layer of its own. It sees both as one tree. See the kernel's
//! `filesystems/overlayfs.rst`.

mod changes;
mod diff;
mod layers;

use shared::error::Result;
use shared::part::{Part, Request};
use shared::recipe::Recipe;

pub use changes::{Change, Kind, changes};

/// The part that these steps belong to.
const PART: u8 = 4;

/// Part 4 as the command line sees it.
pub fn part() -> Part {
    let mut part = part3_cgroups::part();
    part.number = PART;
    part.binary = "part4-overlay";
    part.about = "Run many containers on one image";
    part.recipe = recipe;
    part.commands.push(diff::command());
    part
}

// ANCHOR: recipe
/// The recipe of part 3 with the root file system under a writable layer.
///
/// # Errors
/// As part 3.
pub fn recipe(request: &Request) -> Result<Recipe> {
    let mut recipe = part3_cgroups::recipe(request)?;
    recipe.continue_in(PART);
    layers::add(&mut recipe, request);
    Ok(recipe)
}
// ANCHOR_END: recipe
