//! Capabilities and seccomp by effect: a process raises the wall around itself and tries.
//!
//! Each attempt is made twice, in a process of its own: in the open, where the kernel answers
//! something else, and behind the wall.
#![allow(unsafe_code)] // the attempts are raw system calls

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Output};

use harness::{Need, Test, TestResult, need, needs, test};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use part2_namespaces::capabilities::{self, CapabilitySet};
use part2_namespaces::seccomp;
use rustix::thread::{CapabilitySets, set_no_new_privs};

/// Tells this binary that it is the program, not the test.
const INSIDE: &str = "--inside";
const NOBODY: u32 = 65534;

/// What the kernel answered: 0 or an errno.
type Answer = i32;

/// Makes the attempt.
type Call = fn() -> Answer;

/// A system call that the filter refuses.
struct Attempt {
    name: &'static str,
    call: Call,
    refused_with: Errno,
}

const ATTEMPTS: &[Attempt] = &[
    refused("socket_af_alg", || raw(libc::SYS_socket, [38, libc::SOCK_SEQPACKET as u64, 0])),
    refused("socket_af_vsock", || raw(libc::SYS_socket, [40, libc::SOCK_STREAM as u64, 0])),
    refused("userfaultfd", || raw(libc::SYS_userfaultfd, [1, 0, 0])),
    refused("io_uring_setup", || raw(libc::SYS_io_uring_setup, [1, 0, 0])),
    refused("keyctl_of_the_session", || raw(libc::SYS_keyctl, [0, -3i64 as u64, 0])),
    refused("add_key", || raw(libc::SYS_add_key, [0; 3])),
    refused("unshare_nothing", || raw(libc::SYS_unshare, [0; 3])),
    refused("unshare_user", || raw(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0])),
    refused("clone_user", || clone(libc::CLONE_NEWUSER | libc::SIGCHLD)),
    Attempt { refused_with: Errno::ENOSYS, ..refused("clone3", || raw(libc::SYS_clone3, [0; 3])) },
    refused("setns", || raw(libc::SYS_setns, [-1i64 as u64, 0, 0])),
    refused("mount", || raw(libc::SYS_mount, [0; 3])),
    refused("fsopen", || raw(libc::SYS_fsopen, [0; 3])),
    refused("bpf", || raw(libc::SYS_bpf, [0; 3])),
    refused("perf_event_open", || raw(libc::SYS_perf_event_open, [0; 3])),
    refused("open_by_handle_at", || raw(libc::SYS_open_by_handle_at, [0; 3])),
    refused("ioctl_tiocsti", || raw(libc::SYS_ioctl, [0, libc::TIOCSTI, 0])),
    refused("ioctl_tiocsti_with_high_bits", || {
        raw(libc::SYS_ioctl, [0, libc::TIOCSTI | 1 << 32, 0])
    }),
    refused("personality_without_randomization", || raw(libc::SYS_personality, [0x40000, 0, 0])),
];

/// What ordinary programs do, and must still be able to.
const ORDINARY: &[(&str, Call)] = &[
    ("threads", || std::thread::spawn(|| 0).join().unwrap_or(1)),
    ("children", || answer(Command::new("/proc/self/exe").args([INSIDE, "nothing"]).status())),
    ("files", || answer(std::fs::read("/proc/self/status"))),
    ("socket_inet", || answer(std::net::UdpSocket::bind("127.0.0.1:0"))),
    ("personality_asked", || raw(libc::SYS_personality, [0xffff_ffff, 0, 0])),
];

const fn refused(name: &'static str, call: Call) -> Attempt {
    Attempt { name, call, refused_with: Errno::EPERM }
}

/// A system call with three arguments.
fn raw(number: libc::c_long, [a, b, c]: [u64; 3]) -> Answer {
    // SAFETY: the pointers among the arguments are null, which the kernel refuses; what it opens
    // or changes ends with this process.
    let result = unsafe { libc::syscall(number, a, b, c, 0, 0, 0) };
    if result < 0 { Errno::last_raw() } else { 0 }
}

fn clone(flags: i32) -> Answer {
    // SAFETY: without CLONE_VM and without a stack this is fork(2); the child only exits.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        // SAFETY: always sound.
        0 => unsafe { libc::_exit(0) },
        -1 => Errno::last_raw(),
        _ => 0,
    }
}

fn answer<T>(result: std::io::Result<T>) -> Answer {
    result.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |_| 0)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == INSIDE) {
        let words: Vec<&str> = arguments[2..].iter().map(String::as_str).collect();
        return ExitCode::from(inside(&words) as u8);
    }
    harness::run(seccomp_tests().into_iter().chain(capability_tests()).collect())
}

/// The program behind the wall. Its exit status is the answer.
fn inside(words: &[&str]) -> Answer {
    match words {
        ["nothing"] => 0,
        ["open", name] => attempt(name)(),
        ["filtered", name] => {
            set_no_new_privs(true).expect("no_new_privs");
            seccomp::filter(CapabilitySet::DEFAULT).install().expect("the filter");
            attempt(name)()
        }
        ["filtered-admin", name] => {
            set_no_new_privs(true).expect("no_new_privs");
            seccomp::filter(CapabilitySet::of(&["SYS_ADMIN"])).install().expect("the filter");
            attempt(name)()
        }
        ["capabilities", user, keep, then] => {
            become_user_with(user.parse().expect("a user"), keep.parse().expect("a set"));
            let error = Command::new("/proc/self/exe").args([INSIDE, then]).exec();
            error.raw_os_error().unwrap_or(libc::EIO)
        }
        ["status"] => {
            print!("{}", std::fs::read_to_string("/proc/self/status").expect("/proc"));
            0
        }
        ["chroot"] => answer(std::os::unix::fs::chroot("/")),
        other => panic!("{other:?}"),
    }
}

fn attempt(name: &str) -> Call {
    let attempts = ATTEMPTS.iter().map(|attempt| (attempt.name, attempt.call));
    let found = attempts.chain(ORDINARY.iter().copied()).chain([("int_0x80", int_0x80 as Call)]);
    found.into_iter().find(|(known, _)| *known == name).expect("an attempt").1
}

/// `getpid` as a 32-bit program calls it.
#[cfg(target_arch = "x86_64")]
fn int_0x80() -> Answer {
    let mut number_then_result = 20;
    // SAFETY: getpid changes nothing but eax.
    unsafe { std::arch::asm!("int 0x80", inout("eax") number_then_result, options(nostack)) };
    i32::from(number_then_result != std::process::id())
}

#[cfg(not(target_arch = "x86_64"))]
fn int_0x80() -> Answer {
    libc::ENOSYS
}

/// What the child of a container does, with something in each set that must not stay.
fn become_user_with(user: u32, keep: u64) {
    let net_raw = rustix::thread::CapabilitySet::NET_RAW;
    let own = rustix::thread::capabilities(None).expect("capget");
    rustix::thread::set_capabilities(None, CapabilitySets { inheritable: net_raw, ..own })
        .expect("capset");
    rustix::thread::configure_capability_in_ambient_set(net_raw, true).expect("ambient");

    let keep = CapabilitySet::from_bits(keep);
    capabilities::drop_bounding(keep).expect("drop_bounding");
    nix::unistd::setgroups(&[]).expect("setgroups");
    nix::unistd::setgid(Gid::from_raw(user)).expect("setgid");
    nix::unistd::setuid(Uid::from_raw(user)).expect("setuid");
    capabilities::apply(keep).expect("apply");
}

fn run(words: &[&str]) -> Output {
    let mut command = Command::new("/proc/self/exe");
    command.arg(INSIDE).args(words).stdin(std::process::Stdio::null());
    command.output().expect("this binary runs itself")
}

fn status(words: &[&str]) -> ExitStatus {
    run(words).status
}

fn seccomp_tests() -> Vec<Test> {
    let mut tests: Vec<Test> = ATTEMPTS
        .iter()
        .map(|attempt| {
            let refused = Some(attempt.refused_with as i32);
            test(format!("seccomp::{}", attempt.name), vec![tells(attempt)], move || {
                equal("its answer", status(&["filtered", attempt.name]).code(), refused)
            })
        })
        .collect();
    tests.extend(ORDINARY.iter().map(|(name, _)| {
        test(format!("seccomp::ordinary::{name}"), needs![], move || {
            equal("in the open", status(&["open", name]).code(), Some(0))?;
            equal("behind the filter", status(&["filtered", name]).code(), Some(0))
        })
    }));
    tests.push(test("seccomp::sys_admin_may_unshare", needs![], || {
        equal("its answer", status(&["filtered-admin", "unshare_nothing"]).code(), Some(0))
    }));
    tests.push(test("seccomp::a_32_bit_call_is_killed", vec![runs_32_bit()], || {
        equal("signal", status(&["filtered", "int_0x80"]).signal(), Some(libc::SIGSYS))
    }));
    tests
}

/// In the open the kernel answers something else than the filter does.
fn tells(attempt: &'static Attempt) -> Need {
    need::custom(&format!("open_{}", attempt.name), || {
        let open = status(&["open", attempt.name]).code();
        let tells = open.is_some_and(|code| code != attempt.refused_with as i32);
        tells.then_some(()).ok_or("it is refused here also without the filter".into())
    })
}

/// Not every kernel runs 32-bit programs.
fn runs_32_bit() -> Need {
    need::custom("runs_32_bit", || {
        let runs = status(&["open", "int_0x80"]).success();
        runs.then_some(()).ok_or("this kernel does not run 32-bit programs".into())
    })
}

/// Only root has some to take away.
fn capability_tests() -> Vec<Test> {
    // What we may keep of the default depends on what this machine's root has.
    let keep =
        CapabilitySet::own().map_or(CapabilitySet::EMPTY, |own| CapabilitySet::DEFAULT.and(own));
    vec![
        test("capabilities::root_has_exactly_what_it_keeps", needs![root], move || {
            sets_after(0, keep, [0, keep.bits(), keep.bits(), keep.bits(), 0])
        }),
        test("capabilities::another_user_has_none", needs![root], move || {
            sets_after(NOBODY, keep, [0, 0, 0, keep.bits(), 0])
        }),
        test("capabilities::root_without_any_has_none", needs![root], || {
            sets_after(0, CapabilitySet::EMPTY, [0; 5])
        }),
        test("capabilities::chroot_needs_sys_chroot", needs![root], move || {
            let chroot = |keep: CapabilitySet| {
                status(&["capabilities", "0", &keep.bits().to_string(), "chroot"]).code()
            };
            equal("with it", chroot(keep), Some(0))?;
            let without = keep.without(CapabilitySet::of(&["SYS_CHROOT"]));
            equal("without it", chroot(without), Some(libc::EPERM))
        }),
    ]
}

/// Whether a program executed by `user` has these inheritable, permitted, effective, bounding
/// and ambient sets.
fn sets_after(user: u32, keep: CapabilitySet, wanted: [u64; 5]) -> TestResult {
    let output = run(&["capabilities", &user.to_string(), &keep.bits().to_string(), "status"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for (name, wanted) in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].iter().zip(wanted) {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        let found = line.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        equal(name, found, Some(wanted))?;
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> TestResult {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {wanted:?}").into())
}
