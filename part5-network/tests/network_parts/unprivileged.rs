//! What works without root.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, setgid, setgroups, setuid};

use crate::harness::Test;
use crate::lab::{HOST, Lab, ask, ask_udp, inside, port, project, service, world};
use crate::test;

/// Nobody in particular.
const USER: u32 = 64_123;

pub fn tests() -> Vec<Test> {
    vec![test("without_root_a_forwarder_publishes", forwarder)]
}

fn forwarder() {
    // In a process of its own: there is no way back to root.
    match shared::sys::fork().unwrap() {
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
        ForkResult::Child => {
            let result = std::panic::catch_unwind(as_user);
            shared::sys::exit_now(result.is_err().into());
        }
    }
}

fn as_user() {
    let lab = Lab::new();
    let rootfs = lab.make_rootfs("rootfs-web");
    for path in [lab.dir.path().to_owned(), rootfs.clone()] {
        chown(&path, Some(USER), Some(USER)).unwrap();
    }
    for entry in fs::read_dir(&rootfs).unwrap().flatten() {
        chown(entry.path(), Some(USER), Some(USER)).unwrap();
    }
    // The world is asked by a process that may enter it.
    let (question, asking) = nix::unistd::pipe().unwrap();
    let (answer, answering) = nix::unistd::pipe().unwrap();
    if let ForkResult::Child = shared::sys::fork().unwrap() {
        drop(asking);
        use std::io::{Read, Write};
        let _ = fs::File::from(question).read(&mut [0]);
        let text = inside(world(), || ask(HOST, 8080));
        let _ = fs::File::from(answering).write_all(text.as_bytes());
        shared::sys::exit_now(0);
    }
    drop((question, answering));
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(USER)).unwrap();
    setuid(Uid::from_raw(USER)).unwrap();
    nix::sys::prctl::set_dumpable(true).unwrap();

    let spec = project(&[]);
    let mut web = service("web", "default");
    web.ports = vec![port(None, Some(8080), 80), port(None, Some(5353), 53)];
    let container = lab.start(&spec, &web);
    let notes = container.recipe.notes.join("\n");
    assert!(notes.contains("no root") && notes.contains("no bridge"), "{notes}");
    assert_eq!(ask(Ipv4Addr::LOCALHOST, 8080), "web 127.0.0.1");
    assert_eq!(ask(HOST, 8080), "web 127.0.0.1");
    assert_eq!(ask_udp(Ipv4Addr::LOCALHOST, 5353), "web 127.0.0.1 hello");
    drop(asking);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(answer), &mut text).unwrap();
    assert_eq!(text, "web 127.0.0.1");
    drop(container);
    assert!(ask(Ipv4Addr::LOCALHOST, 8080).starts_with("error ConnectionRefused"));
}
