//! What a container changed: read from its upper layer.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::error::{Error, Result};
use shared::identity;
use shared::part::User;

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

impl Change {
    /// Its letter, its path, and a zero byte, which no path has in it.
    fn to_bytes(&self) -> Vec<u8> {
        [&[self.kind.letter() as u8], self.path.as_os_str().as_bytes(), &[0]].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (letter, path) = bytes.split_first()?;
        let kinds = [Kind::Added, Kind::Changed, Kind::Deleted];
        let kind = kinds.into_iter().find(|kind| kind.letter() == char::from(*letter))?;
        Some(Self { path: OsStr::from_bytes(path).into(), kind })
    }
}

/// What the layer `upper` changes of the tree `lower`, sorted by path.
///
/// The caller has one thread.
///
/// # Errors
/// A directory cannot be read.
pub fn changes(lower: &Path, upper: &Path) -> Result<Vec<Change>> {
    let walked = walk_all(lower, upper);
    let mut found = match walked {
        // A container's other users are not us: only root of their user namespace may look into
        // what they keep to themselves.
        Err(error) if !User::current().is_root() => {
            walk_as_root_inside(lower, upper).ok_or(error)?
        }
        walked => walked?,
    };
    found.sort();
    Ok(found)
}

fn walk_all(lower: &Path, upper: &Path) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    walk(lower, upper, Path::new(""), &mut found)?;
    Ok(found)
}

/// None: it fails there, too.
fn walk_as_root_inside(lower: &Path, upper: &Path) -> Option<Vec<Change>> {
    // A file in memory, not a pipe: that could be full before anybody reads it.
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut answer = File::from(rustix::fs::memfd_create("changes", flags).ok()?);
    identity::as_root_inside(User::current(), || {
        let found = walk_all(lower, upper).map_err(std::io::Error::other)?;
        (&answer).write_all(&found.iter().flat_map(Change::to_bytes).collect::<Vec<_>>())
    })
    .ok()?;
    let mut bytes = Vec::new();
    answer.rewind().ok()?;
    answer.read_to_end(&mut bytes).ok()?;
    // After the last zero byte comes nothing.
    Some(bytes.split(|byte| *byte == 0).filter_map(Change::from_bytes).collect())
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
