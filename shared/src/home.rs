//! Where this user's containers keep what they need.

use std::env;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::part::User;

/// Two directories: one for what lives as long as the machine runs, one for what stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    run: PathBuf,
    data: PathBuf,
    /// What both are below, where others could have made it before us: in `/tmp`.
    shared: Option<PathBuf>,
}

impl Home {
    /// For root `/run/inside-docker` and `/var/lib/inside-docker`; for others
    /// `$XDG_RUNTIME_DIR/inside-docker` (or below `/tmp`) and
    /// `$XDG_DATA_HOME/inside-docker` (or below `~/.local/share`).
    ///
    /// `INSIDE_DOCKER_HOME=DIR` puts both below DIR.
    pub fn of_this_user() -> Self {
        // A path from here would be another one for a supervisor, who stands elsewhere.
        let dir = |name| {
            let value = env::var_os(name).filter(|value| !value.is_empty())?;
            std::path::absolute(value).ok()
        };
        let user = User::current();
        let tmp = PathBuf::from(format!("/tmp/inside-docker-{}", user.uid));
        let (run, data) = if let Some(home) = dir("INSIDE_DOCKER_HOME") {
            (home.join("run"), home.join("data"))
        } else if user.is_root() {
            ("/run/inside-docker".into(), "/var/lib/inside-docker".into())
        } else {
            let run = dir("XDG_RUNTIME_DIR").filter(|d| d.is_dir());
            let data = dir("XDG_DATA_HOME").or_else(|| dir("HOME").map(|h| h.join(".local/share")));
            (
                run.map_or_else(|| tmp.join("run"), |d| d.join("inside-docker")),
                data.filter(|d| can_be_made(d))
                    .map_or_else(|| tmp.join("data"), |d| d.join("inside-docker")),
            )
        };
        let shared = (run.starts_with(&tmp) || data.starts_with(&tmp)).then_some(tmp);
        Self { run, data, shared }
    }

    /// Both directories below `dir`.
    pub fn below(dir: &Path) -> Self {
        Self { run: dir.join("run"), data: dir.join("data"), shared: None }
    }

    /// Whether what is there is ours: a journal is played as this user, whoever wrote it.
    ///
    /// # Errors
    /// A directory belongs to another user, can be written by others, or is a link.
    pub fn check(&self) -> Result<()> {
        self.private().try_for_each(|dir| check(dir).map(drop))
    }

    /// Makes both directories, closed to others: files in a volume can be set-user-id, and
    /// records hold the environment.
    ///
    /// # Errors
    /// As [`Home::check`]; or they cannot be made.
    pub fn make(&self) -> Result<()> {
        for dir in self.private() {
            let failed =
                |e: std::io::Error| Error::new(format!("cannot make {}", dir.display())).because(e);
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
            if check(dir)?.is_some_and(|found| found.mode() & 0o077 != 0) {
                fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn private(&self) -> impl Iterator<Item = &PathBuf> {
        self.shared.iter().chain([&self.run, &self.data])
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

/// Whether a directory, if it is there, is ours alone. Answers what it is.
fn check(dir: &Path) -> Result<Option<Metadata>> {
    let Ok(found) = fs::symlink_metadata(dir) else { return Ok(None) };
    let ours = nix::unistd::geteuid().as_raw();
    if found.is_dir() && found.uid() == ours && found.mode() & 0o022 == 0 {
        return Ok(Some(found));
    }
    Err(Error::new(format!("{} is not ours alone", dir.display()))
        .because("others could have written what we would do")
        .hint("look at it and remove it, or set INSIDE_DOCKER_HOME to another directory"))
}

/// Whether we could make a directory below `dir`: a user like `nobody` has no real home.
fn can_be_made(dir: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    dir.ancestors().find(|d| d.exists()).is_some_and(|d| access(d, AccessFlags::W_OK).is_ok())
}
