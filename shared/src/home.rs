//! Where this user's containers keep what they need.

use std::env;
use std::path::{Path, PathBuf};

use crate::part::User;

/// Two directories: one for what lives as long as the machine runs, one for what stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    run: PathBuf,
    data: PathBuf,
}

impl Home {
    /// For root `/run/inside-docker` and `/var/lib/inside-docker`; for others
    /// `$XDG_RUNTIME_DIR/inside-docker` (or below `/tmp`) and
    /// `$XDG_DATA_HOME/inside-docker` (or below `~/.local/share`).
    ///
    /// `INSIDE_DOCKER_HOME=DIR` puts both below DIR.
    pub fn of_this_user() -> Self {
        let dir = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let user = User::current();
        let (run, data) = if let Some(home) = dir("INSIDE_DOCKER_HOME") {
            (home.join("run"), home.join("data"))
        } else if user.is_root() {
            ("/run/inside-docker".into(), "/var/lib/inside-docker".into())
        } else {
            let tmp = || PathBuf::from(format!("/tmp/inside-docker-{}", user.uid));
            let run = dir("XDG_RUNTIME_DIR").filter(|d| d.is_dir());
            let data = dir("XDG_DATA_HOME").or_else(|| dir("HOME").map(|h| h.join(".local/share")));
            (
                run.map_or_else(|| tmp().join("run"), |d| d.join("inside-docker")),
                data.filter(|d| can_be_made(d))
                    .map_or_else(|| tmp().join("data"), |d| d.join("inside-docker")),
            )
        };
        Self { run, data }
    }

    /// Both directories below `dir`.
    pub fn below(dir: &Path) -> Self {
        Self { run: dir.join("run"), data: dir.join("data") }
    }

    /// A directory for each container: its state, journal, lock and log.
    pub fn containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// The shared things that are networks: see [`crate::shared_resource`].
    pub fn networks(&self) -> PathBuf {
        self.run.join("networks")
    }

    /// Root file systems by the name of their image.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// What a learner has done: see [`crate::lab::checkpoint::progress`].
    pub fn progress(&self) -> PathBuf {
        self.data.join("progress.json")
    }

    /// Root file systems that parts 1 to 3 use in place, so that the images stay as they are.
    pub fn trees(&self) -> PathBuf {
        self.data.join("trees")
    }

    /// A directory for each named volume.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// What a container keeps on disk until it is removed: its upper layer.
    pub fn container_data(&self, name: &str) -> PathBuf {
        self.data.join("containers").join(name)
    }

    /// All of [`Home::container_data`]'s.
    pub fn containers_data(&self) -> PathBuf {
        self.data.join("containers")
    }
}

/// Whether we could make a directory below `dir`: a user like `nobody` has no real home.
fn can_be_made(dir: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    dir.ancestors().find(|d| d.exists()).is_some_and(|d| access(d, AccessFlags::W_OK).is_ok())
}
