//! A root file system from a tar archive: `.tar`, `.tar.gz`, `.tar.zst`.
//!
//! The archive may come from anybody. The crate `tar` only parses it; everything is written by
//! [`Tree`], which never leaves the directory.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{FileType, makedev};
use tar::{Archive, Entry, EntryType};

use super::interrupt::Interrupt;
use super::partial;
use super::report::{Origin, Report};
use super::tree::{Attributes, Tree};
use crate::{Error, Result};

/// How much the names and attributes of one file may take, in bytes. Content is not counted.
const HEADER_LIMIT: u64 = 1 << 20;

/// Makes a root file system at `dir` from the archive `file`; replaces one we made with `force`.
///
/// # Errors
/// As `rootfs create` for `dir`; the archive cannot be read, is damaged, compressed in a way we
/// do not know, or an entry's path has `..` in it; the disk is full. Nothing is left then.
pub fn create(dir: &Path, file: &Path, force: bool) -> Result<Report> {
    partial::build(dir, force, |tree, interrupt| fill(tree, file, interrupt))
}

fn fill(tree: &Path, file: &Path, interrupt: &Interrupt) -> Result<Report> {
    let failed = |error: io::Error| failure(file, None, &error);
    let origin = Origin::Tarball { file: std::path::absolute(file).map_err(failed)? };
    let meter = Meter { inner: decompressed(file)?, left: Rc::new(Cell::new(HEADER_LIMIT)) };
    let left = Rc::clone(&meter.left);
    let mut archive = Archive::new(meter);
    let mut tree_writer = Tree::open(tree).map_err(failed)?;
    let mut entries = archive.entries().map_err(failed)?;
    loop {
        interrupt.check()?;
        // What is read to get to the next entry's content are names and attributes.
        left.set(HEADER_LIMIT);
        let Some(entry) = entries.next() else { break };
        left.set(u64::MAX);
        let mut entry = entry.map_err(failed)?;
        write(&mut tree_writer, &mut entry)
            .map_err(|error| failure(file, entry.path().ok().as_deref(), &error))?;
        // What was not wanted of its content must not count as the next one's names.
        io::copy(&mut entry, &mut io::sink()).map_err(failed)?;
    }
    let mut report = Report::new(origin);
    report.skipped = tree_writer.finish().map_err(failed)?;
    refuse_images(tree, file)?;
    Ok(report)
}

fn write<R: Read>(tree: &mut Tree, entry: &mut Entry<'_, R>) -> io::Result<()> {
    let attributes = attributes(entry)?;
    let path = entry.path()?.into_owned();
    let kind = entry.header().entry_type();
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            // Archives older than 1988 mark a directory by its name only.
            if entry.path_bytes().ends_with(b"/") && entry.size() == 0 {
                return tree.directory(&path, attributes);
            }
            tree.file(&path, &attributes, entry.size(), entry)
        }
        EntryType::Directory => tree.directory(&path, attributes),
        EntryType::Symlink => tree.symlink(&path, &target(entry)?, &attributes),
        EntryType::Link => tree.hard_link(&path, &target(entry)?),
        EntryType::Char => tree.node(&path, FileType::CharacterDevice, device(entry)?, &attributes),
        EntryType::Block => tree.node(&path, FileType::BlockDevice, device(entry)?, &attributes),
        EntryType::Fifo => tree.node(&path, FileType::Fifo, 0, &attributes),
        EntryType::XGlobalHeader => Ok(()),
        _ => {
            tree.note("entries of a kind we do not know left out");
            Ok(())
        }
    }
}

fn target<R: Read>(entry: &Entry<'_, R>) -> io::Result<std::path::PathBuf> {
    let target = entry.link_name()?;
    target.map(|target| target.into_owned()).ok_or_else(|| io::Error::other("a link to nothing"))
}

fn device<R: Read>(entry: &Entry<'_, R>) -> io::Result<u64> {
    let header = entry.header();
    Ok(makedev(header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
}

fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Attributes> {
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner out of range"));
    let mut found = Attributes {
        mode: header.mode()? & 0o7777,
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
        modified: (i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0),
        xattrs: Vec::new(),
    };
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        if key == b"mtime" {
            found.modified = time(value).unwrap_or(found.modified);
        } else if key == b"GNU.sparse.major" {
            return Err(io::Error::other("a sparse file in a format we do not know"));
        } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
            && (name == b"security.capability" || name.starts_with(b"user."))
        {
            found.xattrs.push((OsStr::from_bytes(name).to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

/// `1700000000.25`
fn time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

/// The archive without its compression, told by its first bytes: names of files may be wrong.
fn decompressed(file: &Path) -> Result<Box<dyn Read>> {
    let failed = |error: io::Error| failure(file, None, &error);
    let mut start = Vec::new();
    let opened = File::open(file).map_err(failed)?;
    if !opened.metadata().map_err(failed)?.is_file() {
        return Err(failure(file, None, &io::Error::other("it is no regular file")));
    }
    (&opened).take(6).read_to_end(&mut start).map_err(failed)?;
    io::Seek::rewind(&mut &opened).map_err(failed)?;
    match start.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(opened)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Ok(Box::new(zstd::stream::read::Decoder::new(opened).map_err(failed)?))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(compressed(file, "xz")),
        [b'B', b'Z', b'h', ..] => Err(compressed(file, "bzip2")),
        _ => Ok(Box::new(BufReader::with_capacity(64 * 1024, opened))),
    }
}

fn compressed(file: &Path, with: &str) -> Error {
    Error::new(format!("cannot unpack {}", file.display()))
        .because(format!("it is compressed with {with}; we read gzip and zstd"))
        .hint(format!("{with} -dk {}", file.display()))
}

/// What `docker save` writes holds layers, not files.
fn refuse_images(tree: &Path, file: &Path) -> Result<()> {
    let has = |name: &str| std::fs::symlink_metadata(tree.join(name)).is_ok();
    if !has("manifest.json") && !has("oci-layout") || has("bin") || has("usr") {
        return Ok(());
    }
    Err(Error::new(format!("cannot use {}", file.display()))
        .because("it is an image with its layers, not a root file system")
        .hint("docker export CONTAINER > rootfs.tar writes a root file system"))
}

fn failure(file: &Path, entry: Option<&Path>, error: &io::Error) -> Error {
    let wanted = Error::new(format!("cannot unpack {}", file.display()));
    // Names in an archive are anybody's text: quoted, so that they draw nothing on the terminal.
    let wanted = match entry {
        Some(entry) => wanted.because(format!("{entry:?}: {error}")),
        None => wanted.because(error),
    };
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            wanted.hint("make space, or choose a directory on another disk")
        }
        io::ErrorKind::NotFound if entry.is_none() => wanted.hint("check the path"),
        _ => wanted,
    }
}

/// Lets only so many bytes through.
struct Meter<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("a file's names and attributes are longer than 1 MiB"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
