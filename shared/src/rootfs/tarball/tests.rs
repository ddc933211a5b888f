//! Archives made by hand, most of them by somebody who means harm.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;

use tar::{Builder, Header};

use super::*;

/// A directory with a file outside the tree that nothing may touch.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        Self { dir }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// Unpacks, and checks that nothing outside has changed and nothing is left of a failure.
    fn unpack(&self, archive: &[u8]) -> Result<Report> {
        let file = self.dir.path().join("archive");
        fs::write(&file, archive).unwrap();
        let result = create(&self.tree(), &file, false);
        let outside = fs::read_dir(self.outside()).unwrap().count();
        assert_eq!(outside, 1, "something new outside");
        assert_eq!(fs::read_to_string(self.outside().join("file")).unwrap(), "untouched");
        assert_eq!(fs::metadata(self.outside().join("file")).unwrap().nlink(), 1);
        let left = fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(left, if result.is_ok() { 3 } else { 2 }, "a half-made tree is left");
        result
    }
}

/// An archive whose names are written as they are: the crate's own builder refuses bad ones.
#[derive(Default)]
struct Forged(Vec<u8>);

impl Forged {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        self.header(kind, name, link, content.len() as u64, 0o755);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn header(&mut self, kind: EntryType, name: &str, link: &str, size: u64, mode: u32) {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_uid(u64::from(nix::unistd::geteuid().as_raw()));
        header.set_gid(u64::from(nix::unistd::getegid().as_raw()));
        header.set_mtime(1_700_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.extend(header.as_bytes());
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn message(result: Result<Report>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn an_ordinary_tree_arrives_whole() {
    let place = Place::new();
    let archive = Forged::default()
        .directory("./")
        .directory("usr/lib/")
        .symlink("lib", "usr/lib")
        .file("lib/a", "one")
        .hard_link("usr/lib/b", "lib/a")
        .file("no/parents/named", "two")
        .file("/absolute", "three")
        .entry(EntryType::Fifo, "fifo", "", b"")
        .end();
    let report = place.unpack(&archive).unwrap();
    let tree = place.tree();
    assert_eq!(report.skipped, Vec::<String>::new());
    assert_eq!(fs::read_to_string(tree.join("usr/lib/a")).unwrap(), "one");
    assert_eq!(fs::metadata(tree.join("usr/lib/a")).unwrap().nlink(), 2);
    assert_eq!(fs::read_to_string(tree.join("no/parents/named")).unwrap(), "two");
    assert_eq!(fs::read_to_string(tree.join("absolute")).unwrap(), "three");
    assert!(fs::symlink_metadata(tree.join("fifo")).unwrap().file_type().is_fifo());
    for path in ["usr/lib", "usr/lib/a", "lib"] {
        assert_eq!(fs::symlink_metadata(tree.join(path)).unwrap().mtime(), 1_700_000_000, "{path}");
    }
    assert_eq!(Report::read(&tree), Some(report));
}

#[test]
fn compression_is_told_by_content() {
    let plain = Forged::default().file("a", "one").end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for archive in [plain, gzip.finish().unwrap(), zstd] {
        let place = Place::new();
        place.unpack(&archive).unwrap();
        assert_eq!(fs::read_to_string(place.tree().join("a")).unwrap(), "one");
    }
    assert!(message(Place::new().unpack(b"\xfd7zXZ\0...")).contains("xz -dk"));
    assert!(message(Place::new().unpack(b"BZh9...")).contains("bzip2 -dk"));
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../outside/new", "a/../../outside/new", "a/..", "..", "/../outside/new"] {
        let place = Place::new();
        let error = message(place.unpack(&Forged::default().file(name, "bad").end()));
        assert!(error.contains("`..`"), "{name}: {error}");
    }
    let place = Place::new();
    let link = Forged::default().hard_link("a", "../outside/file").end();
    assert!(message(place.unpack(&link)).contains("`..`"));
}

#[test]
fn links_lead_nowhere_but_inside() {
    let place = Place::new();
    let outside = place.outside();
    let archive = Forged::default()
        .symlink("absolute", outside.to_str().unwrap())
        .symlink("climbing", "../outside")
        .symlink("proc-self", "/proc/self/root")
        .directory("outside/")
        .file("climbing/new", "inside")
        .file("climbing/file", "inside")
        .end();
    place.unpack(&archive).unwrap();
    let inside = place.tree().join("outside");
    assert_eq!(fs::read_to_string(inside.join("new")).unwrap(), "inside");
    assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "inside");

    // A link whose target is not there: its directory is neither made inside nor used outside.
    let place = Place::new();
    let target = place.outside();
    let archive = Forged::default().symlink("x", target.to_str().unwrap()).file("x/new", "bad");
    assert!(message(place.unpack(&archive.end())).contains("File exists"));
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_not_followed() {
    let place = Place::new();
    let target = place.outside().join("file");
    let archive = Forged::default()
        .symlink("passwd", target.to_str().unwrap())
        .file("passwd", "mine")
        .symlink("directory", place.outside().to_str().unwrap())
        .directory("directory/")
        .file("directory/new", "mine")
        .end();
    place.unpack(&archive).unwrap();
    let passwd = place.tree().join("passwd");
    assert!(fs::symlink_metadata(&passwd).unwrap().is_file());
    assert_eq!(fs::read_to_string(passwd).unwrap(), "mine");
    assert!(place.tree().join("directory/new").is_file());
}

#[test]
fn a_parent_swapped_for_a_link() {
    let place = Place::new();
    let archive = Forged::default()
        .directory("a/")
        .file("a/x", "inside")
        .hard_link("a/x", "a/x")
        .entry(EntryType::Regular, "b", "", b"")
        .directory("c/")
        .symlink("c", place.outside().to_str().unwrap())
        .file("c/file", "bad")
        .end();
    // `c` was an empty directory, so the link took its place; it leads to nothing inside.
    assert!(place.unpack(&archive).is_err());
    let place = Place::new();
    let archive = Forged::default().directory("a/").file("a/x", "").symlink("a", "/").end();
    assert!(message(place.unpack(&archive)).contains("not empty"));
}

#[test]
fn hard_links_stay_inside() {
    let place = Place::new();
    let target = place.outside().join("file");
    let archive = Forged::default().hard_link("a", target.to_str().unwrap()).end();
    assert!(message(place.unpack(&archive)).contains("No such file"));
    // Through a link: the name `outside` is looked for inside.
    let place = Place::new();
    let outside = place.outside();
    let archive =
        Forged::default().symlink("out", outside.to_str().unwrap()).hard_link("a", "out/file");
    assert!(place.unpack(&archive.end()).is_err());
    // To a link that leads outside: the link itself gets a second name.
    let place = Place::new();
    let archive =
        Forged::default().symlink("out", target.to_str().unwrap()).hard_link("a", "out").end();
    place.unpack(&archive).unwrap();
    assert!(fs::symlink_metadata(place.tree().join("a")).unwrap().is_symlink());
}

#[test]
fn sizes_that_are_lies() {
    let place = Place::new();
    let mut archive = Forged::default();
    archive.header(EntryType::Regular, "huge", "", 1 << 60, 0o644);
    assert!(message(place.unpack(&archive.end())).contains("MiB left"));

    let mut archive = Forged::default();
    archive.header(EntryType::Regular, "truncated", "", 4096, 0o644);
    archive.0.extend([1; 100]);
    assert!(message(Place::new().unpack(&archive.0)).contains("too early"));

    // Cut anywhere, also in a header.
    let whole = Forged::default().file("a", "one").file("b", "two").end();
    for length in [1, 100, 511, 513, 1030, 1535] {
        assert!(Place::new().unpack(&whole[..length]).is_err(), "{length}");
    }
    assert!(Place::new().unpack(b"").is_err());
}

#[test]
fn a_sparse_file_stays_sparse() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.as_old_mut().name[..6].copy_from_slice(b"sparse");
    let gnu = header.as_gnu_mut().unwrap();
    let octal = |field: &mut [u8; 12], value: u64| {
        field.copy_from_slice(format!("{value:011o}\0").as_bytes());
    };
    octal(&mut gnu.sparse[0].offset, 1 << 28);
    octal(&mut gnu.sparse[0].numbytes, 0);
    octal(&mut gnu.realsize, 1 << 28);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend([0; 1024]);
    let place = Place::new();
    place.unpack(&archive).unwrap();
    let found = fs::metadata(place.tree().join("sparse")).unwrap();
    assert_eq!(found.len(), 1 << 28);
    assert!(found.blocks() * 512 < 1 << 20, "the holes took space");
}

#[test]
fn names_without_end_do_not_fill_the_memory() {
    // A gigabyte of zeros as one name: 100 kB compressed.
    let mut archive = Forged::default();
    archive.header(EntryType::GNULongName, "././@LongLink", "", 1 << 30, 0o644);
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.write_all(&archive.0).unwrap();
    let zeros = vec![b'a'; 1 << 20];
    for _ in 0..1 << 10 {
        zstd.write_all(&zeros).unwrap();
    }
    assert!(message(Place::new().unpack(&zstd.finish().unwrap())).contains("longer than 1 MiB"));
}

#[test]
fn devices_are_roots() {
    let place = Place::new();
    let archive = Forged::default().file("a", "").entry(EntryType::Char, "null", "", b"").end();
    let report = place.unpack(&archive).unwrap();
    let made = fs::symlink_metadata(place.tree().join("null"));
    if nix::unistd::geteuid().is_root() && report.skipped.is_empty() {
        let made = made.unwrap();
        assert!(made.file_type().is_char_device());
        assert_eq!(made.rdev(), makedev(1, 3));
    } else {
        assert!(made.is_err());
        assert!(report.skipped[0].contains("device files left out"));
    }
}

#[test]
fn closed_directories_and_set_user_id() {
    let place = Place::new();
    let mut archive = Forged::default();
    archive.header(EntryType::Directory, "closed/", "", 0, 0o500);
    let mut archive = archive.file("closed/a", "one");
    archive.header(EntryType::Regular, "su", "", 0, 0o4755);
    place.unpack(&archive.end()).unwrap();
    let mode = |path| fs::metadata(place.tree().join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("closed"), 0o500);
    let root = nix::unistd::geteuid().is_root();
    assert_eq!(mode("su"), if root { 0o4755 } else { 0o755 });
    crate::rootfs::remove_tree(&place.tree()).unwrap();
}

#[test]
fn attributes_that_matter_are_kept() {
    let mut builder = Builder::new(Vec::new());
    let extensions: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.colour", b"blue"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.system.posix_acl_access", b"x"),
        ("mtime", b"1600000000.5"),
    ];
    builder.append_pax_extensions(extensions).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(u64::from(nix::unistd::geteuid().as_raw()));
    header.set_gid(u64::from(nix::unistd::getegid().as_raw()));
    builder.append_data(&mut header, "a", io::empty()).unwrap();
    let place = Place::new();
    let report = place.unpack(&builder.into_inner().unwrap()).unwrap();
    let file = place.tree().join("a");
    let found = fs::metadata(&file).unwrap();
    assert_eq!((found.mtime(), found.mtime_nsec()), (1_600_000_000, 500_000_000));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&file, "user.colour", &mut value);
    match report.skipped.first() {
        None => assert_eq!(&value[..length.unwrap()], b"blue"),
        Some(note) => assert!(note.contains("extended attributes")),
    }
    assert!(rustix::fs::getxattr(&file, "trusted.overlay.opaque", &mut value).is_err());
}

#[test]
fn an_image_is_told_from_a_root_file_system() {
    let archive = Forged::default().file("manifest.json", "[]").file("blobs/sha256/a", "").end();
    assert!(message(Place::new().unpack(&archive)).contains("docker export"));
}

#[test]
fn the_kernels_directories_are_no_links() {
    let archive = Forged::default().file("bin/sh", "").symlink("proc", "bin").end();
    assert!(message(Place::new().unpack(&archive)).contains("/proc is a symbolic link"));
}

#[test]
fn a_manifest_in_the_archive_is_not_taken_for_ours() {
    let place = Place::new();
    let target = place.outside().join("file");
    let archive =
        Forged::default().file("a", "").symlink(".rootfs.json", target.to_str().unwrap()).end();
    let report = place.unpack(&archive).unwrap();
    assert_eq!(Report::read(&place.tree()), Some(report));
}

#[test]
fn what_is_no_archive() {
    let place = Place::new();
    assert!(place.unpack(&[b'x'; 5000]).is_err());
    symlink("nowhere", place.dir.path().join("dangling")).unwrap();
    for name in ["none", "dangling", "outside"] {
        assert!(create(&place.tree(), &place.dir.path().join(name), false).is_err(), "{name}");
    }
}
