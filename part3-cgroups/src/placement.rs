//! Which cgroups a container gets, and what it cannot have here.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use shared::home::Home;

use crate::hierarchy::{Cgroups, Controller, Hierarchy, Unusable, Version, names_in};
use crate::settings::{Located, Setting};

/// One cgroup of a container: its only one on version 2, one for each tree on version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which kind of tree it is in.
    pub version: Version,
    /// What it limits or counts.
    pub controllers: Vec<Controller>,
    /// The cgroup it is made in.
    pub parent: PathBuf,
    /// Its directory: `parent/inside-docker-NAME`.
    pub dir: PathBuf,
    /// Version 2: controllers that its parent must pass on first.
    pub switch_on: Vec<&'static str>,
}

/// Why a controller cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// There is no cgroup tree with it.
    NoController,
    /// It exists, but the cgroups above do not pass it on.
    NotPassedOn(PathBuf),
    /// The tree cannot take a cgroup of ours.
    Unusable(Unusable),
}

/// Where a container's cgroups go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Its cgroups, not made yet.
    pub groups: Vec<Group>,
    /// What it cannot have.
    pub missing: Vec<(Controller, Missing)>,
}

/// What every container gets: limits can be set later, `stats` has something to count.
const ALWAYS: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::CpuAccounting];
/// On version 2 these cost no cgroup of their own; used where they can be had.
const FREE_ON_V2: [Controller; 2] = [Controller::Cpu, Controller::Io];

impl Placement {
    /// Finds a place for the cgroups of a container that needs the controllers `asked` for.
    /// Looks, but changes nothing.
    pub fn find(cgroups: &Cgroups, name: &str, asked: &[Controller]) -> Self {
        let mut placement = Self::default();
        let mut seen = Vec::new();
        for controller in ALWAYS.iter().chain(asked) {
            if seen.contains(controller) {
                continue;
            }
            seen.push(*controller);
            if let Err(why) = placement.add(cgroups, name, *controller) {
                placement.missing.push((*controller, why));
            }
        }
        for controller in FREE_ON_V2 {
            let on_v2 = cgroups.with(controller).is_some_and(|h| h.version == Version::V2);
            if on_v2 && !seen.contains(&controller) {
                // Nobody asked: it is not missed.
                let _ = placement.add(cgroups, name, controller);
            }
        }
        placement
    }

    /// The cgroup that has a controller.
    pub fn with(&self, controller: Controller) -> Option<&Group> {
        self.groups.iter().find(|group| group.controllers.contains(&controller))
    }

    /// Brings settings and cgroups together; those without a cgroup are left out.
    pub fn locate(&self, settings: impl Fn(Version) -> Vec<Setting>) -> Vec<Located> {
        let (v1, v2) = (settings(Version::V1), settings(Version::V2));
        let mut located = Vec::new();
        for group in &self.groups {
            let settings = if group.version == Version::V1 { &v1 } else { &v2 };
            let ours = settings.iter().filter(|s| group.controllers.contains(&s.controller));
            located.extend(
                ours.map(|setting| Located { dir: group.dir.clone(), setting: setting.clone() }),
            );
        }
        located
    }

    fn add(&mut self, cgroups: &Cgroups, name: &str, wanted: Controller) -> Result<(), Missing> {
        let hierarchy = cgroups.with(wanted).ok_or(Missing::NoController)?;
        let at = match self.groups.iter().position(|g| g.dir.starts_with(&hierarchy.mount)) {
            Some(at) => at,
            None => {
                self.groups.push(Group::in_tree(hierarchy, name)?);
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[at];
        if let (Version::V2, Some(name)) = (group.version, wanted.v2_name()) {
            let has = |file: &str| names_in(&group.parent.join(file)).iter().any(|n| n == name);
            if !has("cgroup.controllers") {
                let parent = group.parent.clone();
                self.groups.retain(|group| !group.controllers.is_empty());
                return Err(Missing::NotPassedOn(parent));
            }
            if !has("cgroup.subtree_control") {
                group.switch_on.push(name);
            }
        }
        group.controllers.push(wanted);
        Ok(())
    }
}

impl Group {
    /// What the shell calls its directory: `CGROUP` on version 2, `CGROUP_MEMORY` on version 1.
    pub fn variable(&self) -> String {
        match (self.version, self.controllers.first()) {
            (Version::V1, Some(first)) => format!("CGROUP_{}", first.v1_name().to_uppercase()),
            _ => "CGROUP".to_owned(),
        }
    }

    fn in_tree(hierarchy: &Hierarchy, name: &str) -> Result<Self, Missing> {
        let parent = hierarchy.parent().map_err(Missing::Unusable)?;
        let dir = parent.join(name);
        let version = hierarchy.version;
        Ok(Self { version, controllers: Vec::new(), parent, dir, switch_on: Vec::new() })
    }
}

/// The name of a container's cgroup: `inside-docker-NAME`, beside those of other containers.
///
/// Names are unique in a home only. One that is not the machine's own gets its mark added, so
/// that containers with the same name in two homes never share a cgroup.
pub fn cgroup_name(container: &str, home: &Home) -> String {
    let home = home.containers();
    if home.starts_with("/run") {
        return format!("inside-docker-{container}");
    }
    format!("inside-docker-{container}.{:08x}", fingerprint(&home))
}

/// FNV-1a: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn fingerprint(path: &Path) -> u32 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// One sentence for the user: which limits are not enforced, why, what to do. None: all are.
pub fn sentence(missing: &[(Controller, Missing)], settings: &[Setting]) -> Option<String> {
    let mut keys: Vec<&str> = Vec::new();
    let mut why = None;
    for setting in settings.iter().filter(|setting| !setting.optional) {
        let Some((_, reason)) = missing.iter().find(|(c, _)| *c == setting.controller) else {
            continue;
        };
        why.get_or_insert((setting.controller, reason));
        if !keys.contains(&setting.key) {
            keys.push(setting.key);
        }
    }
    let (controller, reason) = why?;
    let mut text = format!("limits are not enforced ({}): ", keys.join(", "));
    // Writing to a string cannot fail.
    let _ = match reason {
        Missing::NoController => {
            let name = controller.v1_name();
            write!(text, "this machine has no cgroup with the {name} controller")
        }
        Missing::NotPassedOn(parent) => {
            let name = controller.v2_name().unwrap_or_default();
            write!(text, "{} has no {name} controller to pass on", parent.display())
        }
        Missing::Unusable(Unusable::NotOurs(dir)) => {
            let who = if nix::unistd::geteuid().is_root() { "we" } else { "this user" };
            write!(text, "{who} may not make cgroups in {}; {}", dir.display(), way_out())
        }
        Missing::Unusable(Unusable::Busy(dir)) => write!(
            text,
            "{0} has processes, so it cannot have children with controllers; \
             move them to a cgroup below it first",
            dir.display()
        ),
    };
    Some(text)
}

/// What gives a user a cgroup of their own.
fn way_out() -> &'static str {
    let systemd_of_user = std::env::var_os("XDG_RUNTIME_DIR")
        .is_some_and(|dir| Path::new(&dir).join("systemd/private").exists());
    match (nix::unistd::geteuid().is_root(), systemd_of_user) {
        (true, _) => "mount the cgroup file system writable",
        (false, true) => "start it with `systemd-run --user --scope -p Delegate=yes`, or as root",
        (false, false) => "run it as root",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_once() {
        let setting = |key, optional| Setting {
            controller: Controller::Memory,
            key,
            files: &["memory.max"],
            value: "1".into(),
            effect: None,
            optional,
        };
        let missing = [(Controller::Memory, Missing::NoController)];
        let settings = [setting("mem_limit", false), setting("memswap_limit", true)];
        assert_eq!(
            sentence(&missing, &settings).as_deref(),
            Some(
                "limits are not enforced (mem_limit): \
                 this machine has no cgroup with the memory controller"
            )
        );
        assert_eq!(sentence(&missing, &[]), None);
        assert_eq!(sentence(&[], &settings), None);
    }

    #[test]
    fn without_cgroups_everything_is_missing() {
        let placement = Placement::find(&Cgroups::default(), "x", &[Controller::Io]);
        assert_eq!(placement.groups, []);
        assert_eq!(placement.missing.len(), ALWAYS.len() + 1);
    }

    #[test]
    fn two_homes_two_names() {
        assert_ne!(fingerprint(Path::new("/a")), fingerprint(Path::new("/b")));
    }
}
