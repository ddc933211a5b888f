//! Part 5: the network. Addresses, published ports, names and volumes.
//!
//! The recipe of part 4 stays. On the host, before the process exists, the container takes its
//! ports and its place on each network; once the pid is known, a cable (a veth pair) is laid into
//! its network namespace and its ports are led there; inside, it gives its end an address.

pub mod address;
mod compose;
pub mod firewall;
pub mod forwarder;
pub mod host;
mod logs;
pub mod names;
pub mod network;
mod next_steps;
mod places;
mod ports;
pub mod publish;
pub mod volumes;

use shared::part::{Part, Request};
use shared::recipe::Recipe;
use shared::{Error, Failed, Result};

/// The part that these steps belong to.
const PART: u8 = 5;

/// Part 5 as the command line sees it.
pub fn part() -> Part {
    let mut part = part4_overlay::part();
    part.number = PART;
    part.binary = "part5-network";
    part.about = "Run services with addresses, published ports and volumes";
    part.recipe = recipe;
    part.commands.extend(compose::commands());
    part.commands.retain(|command| command.name != "logs");
    part.commands.push(logs::command());
    part
}

/// The recipe of part 4 with addresses, published ports, names and volumes.
///
/// # Errors
/// As part 4; or a volume's source that is missing, an address that cannot be had.
pub fn recipe(request: &Request) -> Result<Recipe> {
    extend(part4_overlay::recipe(request)?, request)
}

// ANCHOR: extend
/// Adds this part's steps to a recipe that has a `pivot_root`.
///
/// # Errors
/// As [`recipe`].
pub fn extend(mut recipe: Recipe, request: &Request) -> Result<Recipe> {
    recipe.continue_in(PART);
    let places = places::add(&mut recipe, request)?;
    ports::add(&mut recipe, request, &places);
    volumes::add(&mut recipe, request)?;
    names::add(&mut recipe, request);
    Ok(recipe)
}
// ANCHOR_END: extend

/// What a step answers instead of an error for a person: the same in one line.
fn blame(error: Error) -> Failed {
    let text = error.to_string().replace("\n  try: ", "; try: ");
    Failed::new(text, nix::errno::Errno::ECANCELED)
}
