//! Part 3: memory, CPU, processes, I/O.
//!
//! The walls of part 2 hide the machine; they do not keep a container from using all of it. A
//! *cgroup* does: a directory in a file system of the kernel's, with files for its limits and a
//! file for its processes ([`hierarchy`] finds the place, [`limits`] and [`settings`] the
//! values). [`recipe`] adds six steps to part 2's.

pub mod cpuset;
pub mod device_program;
pub mod devices;
mod files;
pub mod limits;
pub mod oom;
pub mod placement;
pub mod settings;
pub mod stats;
pub mod steps;
pub mod update;
pub mod usage;

use std::path::PathBuf;

use shared::Result;
use shared::part::{Part, Request};
use shared::recipe::{Place, Recipe};
use shared::shell::quoted;
use shared::spec::Service;

pub use shared::hierarchy;

use hierarchy::{Cgroups, Controller, Version};
use limits::Limits;
use placement::{Group, Placement, cgroup_name};
use settings::settings;

/// The part that these steps belong to.
const PART: u8 = 3;

/// Part 3 as the command line sees it.
pub fn part() -> Part {
    let mut part = part2_namespaces::part();
    part.number = PART;
    part.binary = "part3-cgroups";
    part.about = "Run a service with limits on memory, CPU, processes, I/O and devices";
    part.recipe = recipe;
    part.commands.extend([stats::command(), update::command()]);
    part
}

/// Part 2's recipe, in cgroups that have the service's limits.
///
/// # Errors
/// Part 2's, or a limit that the kernel would refuse or change.
pub fn recipe(request: &Request) -> Result<Recipe> {
    let limits = Limits::of(request.service)?;
    let is_root = request.user.is_root();
    let placement = place(request, &limits, is_root);
    if let Some(group) = placement.with(Controller::Cpuset) {
        limits.check_cpus(&update::available_cpus(&group.dir))?;
    }

    let restricting = placement
        .with(Controller::Devices)
        .filter(|group| group.version == Version::V1 || devices::v2_can_restrict());
    let mut service = request.service.clone();
    if is_root && restricting.is_none() {
        forbid_device_files(&mut service);
    }
    let mut recipe = part2_namespaces::recipe(&Request { service: &service, ..request.clone() })?;
    recipe.continue_in(PART);
    recipe.notes.extend(notes(&limits, &placement));
    if is_root && restricting.is_none() {
        recipe.notes.push(NO_DEVICE_WALL.to_owned());
    }
    if placement.groups.is_empty() {
        return Ok(recipe);
    }

    let named: Vec<_> =
        placement.groups.iter().map(|g| (g.variable(), quoted(g.dir.display()))).collect();
    recipe.variables.push(Box::new(move || Ok(named.clone())));
    // ANCHOR: recipe
    recipe.insert_before("clone", steps::make(&placement.groups));
    let located = placement.locate(|version| settings(&limits, version));
    if !located.is_empty() {
        recipe.insert_before("clone", steps::limit(located, &placement.groups));
    }
    if let Some(group) = restricting {
        let rules = devices::rules(request.service)?;
        recipe.insert_before("clone", steps::restrict_devices(group, &rules));
    }
    recipe.clone.cgroup = born_in(&placement.groups);
    join_first(&mut recipe, &placement.groups);
    recipe.insert_after("sys", files::show(&placement.groups));
    if let Some(step) = steps::look_for_oom(&placement) {
        recipe.push(step);
    }
    Ok(recipe)
    // ANCHOR_END: recipe
}

const NO_DEVICE_WALL: &str = "devices are not restricted: this machine lets us use neither the \
     devices cgroup nor a BPF program; the container cannot make device files instead \
     (CAP_MKNOD is taken away)";

fn place(request: &Request, limits: &Limits, is_root: bool) -> Placement {
    let cgroups = Cgroups::detect();
    // The controllers are the same for both versions.
    let mut asked: Vec<_> =
        settings(limits, Version::V2).iter().map(|setting| setting.controller).collect();
    if is_root {
        asked.push(Controller::Devices);
    }
    Placement::find(&cgroups, &cgroup_name(&request.name, request.home), &asked)
}

fn forbid_device_files(service: &mut Service) {
    service.cap_add.retain(|name| name != "MKNOD");
    service.cap_drop.push("MKNOD".to_owned());
}

fn notes(limits: &Limits, placement: &Placement) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(placement::sentence(&placement.missing, &settings(limits, Version::V2)));
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if let Some(asked) = limits.cpus.filter(|asked| *asked > cpus as f64) {
        notes.push(format!("cpus: {asked} limits nothing: we have {cpus} here"));
    }
    notes
}

// ANCHOR: born_in
/// `clone3` can place the child in one cgroup of version 2.
fn born_in(groups: &[Group]) -> Option<PathBuf> {
    groups.iter().find(|group| group.version == Version::V2).map(|group| group.dir.clone())
}
// ANCHOR_END: born_in

/// Before anything else that the child does: so that all of it counts.
fn join_first(recipe: &mut Recipe, groups: &[Group]) {
    let first = recipe.at(Place::Child).next().map(|(_, step)| step.name.clone());
    match first {
        Some(name) => recipe.insert_before(&name, steps::join(groups)),
        None => recipe.push(steps::join(groups)),
    }
}
