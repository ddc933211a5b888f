//! What a container changed: read from its upper layer.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::error::{Error, Result};

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// As the container sees it, from its `/`.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: Kind,
}

/// What happened to a path; the letters of `docker diff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new: `A`.
    Added,
    /// It was there and is different, or something in it is: `C`.
    Changed,
    /// It is gone: `D`.
    Deleted,
}

impl Kind {
    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// What the layer `upper` changes of the tree `lower`, sorted by path.
///
/// # Errors
/// A directory cannot be read.
pub fn changes(lower: &Path, upper: &Path) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    walk(lower, upper, Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}

// ANCHOR: walk
fn walk(lower: &Path, upper: &Path, below: &Path, found: &mut Vec<Change>) -> Result<()> {
    for name in names(&upper.join(below))? {
        let path = below.join(name);
        let metadata = fs::symlink_metadata(upper.join(&path)).map_err(|e| unreadable(&path, e))?;
        let was = fs::symlink_metadata(lower.join(&path)).ok();
        let kind = match (&was, is_whiteout(&metadata)) {
            (_, true) => Kind::Deleted,
            (Some(_), false) => Kind::Changed,
            (None, false) => Kind::Added,
        };
        found.push(Change { path: Path::new("/").join(&path), kind });
        if metadata.is_dir() {
            walk(lower, upper, &path, found)?;
            if was.is_some_and(|was| was.is_dir()) && is_opaque(&upper.join(&path)) {
                add_hidden(lower, upper, &path, found)?;
            }
        }
    }
    Ok(())
}
// ANCHOR_END: walk

/// An opaque directory hides all that the lower layers have in it.
fn add_hidden(lower: &Path, upper: &Path, below: &Path, found: &mut Vec<Change>) -> Result<()> {
    for name in names(&lower.join(below))? {
        let path = below.join(name);
        if fs::symlink_metadata(upper.join(&path)).is_err() {
            found.push(Change { path: Path::new("/").join(path), kind: Kind::Deleted });
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(dir).map_err(|e| unreadable(dir, e))?;
    Ok(entries.flatten().map(|entry| entry.file_name()).collect())
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(format!("cannot read {}", path.display())).because(error)
}

// ANCHOR: marks
/// A deleted file is a character device 0:0.
fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// A directory that was removed and made again.
fn is_opaque(dir: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 1];
        rustix::fs::lgetxattr(dir, *name, &mut value[..]).is_ok() && &value == b"y"
    })
}
// ANCHOR_END: marks
