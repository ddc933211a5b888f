//! Volumes.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use shared::spec::{Mount, Service, Source};

use crate::harness::Test;
use crate::lab::{Lab, project, service};
use crate::test;

pub fn tests() -> Vec<Test> {
    vec![
        test("a_bind_volume_is_the_hosts_directory", bind),
        test("a_read_only_volume_cannot_be_written", read_only),
        test("a_file_can_be_a_volume", file),
        test("a_named_volume_starts_with_the_images_files_and_stays", named),
        test("an_anonymous_volume_ends_with_its_container", anonymous),
        test("a_link_in_the_image_does_not_lead_out", links),
        test("a_missing_source_is_an_error_before_anything_starts", missing),
        test("a_target_that_cannot_be_is_an_error", targets),
    ]
}

fn with_volume(source: Source, target: &str, read_only: bool) -> Service {
    let mut service = service("vol", "default");
    service.volumes = vec![Mount { source, target: target.into(), read_only }];
    service
}

fn root(pid: nix::unistd::Pid) -> PathBuf {
    format!("/proc/{pid}/root").into()
}

fn bind() {
    let lab = Lab::new();
    let dir = lab.dir.path().join("data");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("from-host"), "host").unwrap();
    // Neither /srv nor /srv/deep is in the image.
    let container =
        lab.start(&project(&[]), &with_volume(Source::Bind(dir.clone()), "/srv/deep", false));
    assert_eq!(container.read("/srv/deep/from-host"), "host");
    fs::write(root(container.pid()).join("srv/deep/from-inside"), "inside").unwrap();
    assert_eq!(fs::read_to_string(dir.join("from-inside")).unwrap(), "inside");
}

fn read_only() {
    let lab = Lab::new();
    let dir = lab.dir.path().join("data");
    fs::create_dir_all(dir.join("below")).unwrap();
    // A mount below the source is read-only, too.
    let none = None::<&str>;
    let below = dir.join("below");
    nix::mount::mount(Some("tmpfs"), &below, Some("tmpfs"), nix::mount::MsFlags::empty(), none)
        .unwrap();
    let container =
        lab.start(&project(&[]), &with_volume(Source::Bind(dir.clone()), "/data", true));
    for place in ["data/x", "data/below/x"] {
        let error = fs::write(root(container.pid()).join(place), "").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{place}");
    }
    // Outside it is as it was.
    fs::write(below.join("x"), "").unwrap();
    drop(container);
    nix::mount::umount(&below).unwrap();
}

fn file() {
    let lab = Lab::new();
    let path = lab.dir.path().join("conf");
    fs::write(&path, "hello").unwrap();
    let container =
        lab.start(&project(&[]), &with_volume(Source::Bind(path), "/etc/conf.d/x", true));
    assert_eq!(container.read("/etc/conf.d/x"), "hello");
}

fn named() {
    let lab = Lab::new();
    let rootfs = lab.make_rootfs("rootfs-vol");
    fs::create_dir_all(rootfs.join("data/sub")).unwrap();
    fs::write(rootfs.join("data/sub/file"), "from the image").unwrap();
    symlink("sub/file", rootfs.join("data/link")).unwrap();
    std::os::unix::fs::chown(rootfs.join("data/sub/file"), Some(33), Some(34)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o2750);
    fs::set_permissions(rootfs.join("data"), mode).unwrap();

    let service = with_volume(Source::Volume("store".into()), "/data", false);
    let container = lab.start(&project(&[]), &service);
    assert_eq!(container.read("/data/link"), "from the image");
    fs::write(root(container.pid()).join("data/new"), "kept").unwrap();
    drop(container);
    // What the image has in the meantime is not copied again.
    fs::write(rootfs.join("data/later"), "").unwrap();
    let container = lab.start(&project(&[]), &service);
    assert_eq!(container.read("/data/new"), "kept");
    assert!(!root(container.pid()).join("data/later").exists());

    let volume = lab.home.volumes().join("test_store");
    let stat = fs::metadata(volume.join("sub/file")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (33, 34));
    assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o2750);
}

fn anonymous() {
    let lab = Lab::new();
    let container = lab.start(&project(&[]), &with_volume(Source::Anonymous, "/data", false));
    fs::write(root(container.pid()).join("data/x"), "").unwrap();
    let count = || fs::read_dir(lab.home.volumes()).unwrap().count();
    assert_eq!(count(), 1);
    drop(container);
    assert_eq!(count(), 0);
}

fn links() {
    let lab = Lab::new();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let data = lab.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mark"), "mark").unwrap();
    let rootfs = lab.make_rootfs("rootfs-vol");
    // Absolute, relative and dangling: each means a place inside.
    symlink(&outside, rootfs.join("absolute")).unwrap();
    symlink("../../../../../../../../../../../var", rootfs.join("dotdot")).unwrap();
    symlink("/proc", rootfs.join("to-proc")).unwrap();
    // (The link itself cannot be read through here: from outside it means the outside.)
    let inside = format!("{}/mark", outside.display());
    for (target, place) in [("/absolute", &*inside), ("/dotdot/x", "/var/x/mark")] {
        let service = with_volume(Source::Bind(data.clone()), target, false);
        let container = lab.start(&project(&[]), &service);
        assert_eq!(container.read(place), "mark");
        assert!(!Path::new("/var/x").exists());
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let service = with_volume(Source::Bind(data), "/to-proc/sys", false);
    let error = lab.try_start(&project(&[]), &service).err().unwrap().to_string();
    assert!(error.contains("EPERM") && error.contains("/to-proc/sys"), "{error}");
}

fn missing() {
    let lab = Lab::new();
    let service = with_volume(Source::Bind(lab.dir.path().join("nothing")), "/data", false);
    let error = lab.try_start(&project(&[]), &service).err().unwrap();
    assert!(error.to_string().contains("volume source missing"), "{error}");
    assert_eq!(error.code(), 125);
    assert!(!lab.home.networks().exists());
}

fn targets() {
    let lab = Lab::new();
    for target in ["/", "/proc/sys", "data", "/a/../../b"] {
        let service = with_volume(Source::Anonymous, target, false);
        let error = lab.try_start(&project(&[]), &service).err().unwrap().to_string();
        assert!(error.contains("cannot be mounted"), "{error}");
    }
}
