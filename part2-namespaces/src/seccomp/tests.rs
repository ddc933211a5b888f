//! The filter, run as the kernel would run it, for every number.

use proptest::prelude::*;

use super::*;

const SYS_ADMIN: CapabilitySet = CapabilitySet::of(&["SYS_ADMIN"]);
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// The kernel's machine, as far as we use it. Answers also the number of steps.
fn interpret(
    program: &[Instruction],
    architecture: u32,
    number: u32,
    args: &[u64],
) -> (u32, usize) {
    let word = |offset: u32| match offset {
        offset::NUMBER => number,
        offset::ARCHITECTURE => architecture,
        _ => {
            let value = args.get((offset as usize - 16) / 8).copied().unwrap_or_default();
            if offset.is_multiple_of(8) { value as u32 } else { (value >> 32) as u32 }
        }
    };
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        (at, steps) = (at + 1, steps + 1);
        let branch = |yes: bool| usize::from(if yes { jt } else { jf });
        match u32::from(code) {
            0x20 => accumulator = word(k),              // BPF_LD | BPF_W | BPF_ABS
            0x15 => at += branch(accumulator == k),     // BPF_JMP | BPF_JEQ | BPF_K
            0x35 => at += branch(accumulator >= k),     // BPF_JMP | BPF_JGE | BPF_K
            0x45 => at += branch(accumulator & k != 0), // BPF_JMP | BPF_JSET | BPF_K
            0x05 => at += k as usize,                   // BPF_JMP | BPF_JA
            0x06 => return (k, steps),                  // BPF_RET | BPF_K
            other => panic!("unknown instruction {other:#x} at {}", at - 1),
        }
    }
}

fn answer_to(capabilities: CapabilitySet, number: c_long, args: &[u64]) -> u32 {
    interpret(&filter(capabilities).program, ARCHITECTURE, number as u32, args).0
}

/// What the table says, looked up the simple way.
fn expected(capabilities: CapabilitySet, number: u32) -> u32 {
    let found =
        GROUPS.iter().find(|group| group.calls.iter().any(|(_, n)| *n == c_long::from(number)));
    match found.map(|group| group.rule) {
        Some(Rule::Allow) => ALLOWED,
        Some(Rule::AllowWith(any)) if capabilities.bits() & any.bits() != 0 => ALLOWED,
        Some(_) => EPERM,
        None => ENOSYS,
    }
}

#[test]
fn every_number_is_answered_as_the_table_says() {
    let by_argument = by_argument(CapabilitySet::EMPTY).map(|(number, _)| number as u32);
    for capabilities in [
        CapabilitySet::EMPTY,
        CapabilitySet::DEFAULT,
        SYS_ADMIN,
        CapabilitySet::of(&["BPF", "SYS_PTRACE"]),
        CapabilitySet::from_bits(u64::MAX),
    ] {
        let filter = filter(capabilities);
        let numbers = (0..2048).chain(0x4000_0000..0x4000_0800).chain([u32::MAX]);
        for number in numbers.filter(|number| !by_argument.contains(number)) {
            let (answer, steps) = interpret(&filter.program, ARCHITECTURE, number, &[]);
            assert_eq!(answer, expected(capabilities, number), "number {number}");
            assert!(steps <= 16, "{steps} steps for number {number}");
        }
    }
}

#[test]
fn another_architecture_is_killed() {
    let filter = filter(CapabilitySet::from_bits(u64::MAX));
    for architecture in [0, 0x4000_0003, 0x4000_0028, !ARCHITECTURE] {
        for number in 0..512 {
            let (answer, _) = interpret(&filter.program, architecture, number, &[]);
            assert_eq!(answer, KILLED);
        }
    }
}

#[test]
fn a_new_namespace_needs_sys_admin() {
    let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_SETTLS;
    for flags in [libc::SIGCHLD, thread, libc::CLONE_VFORK] {
        assert_eq!(answer_to(CapabilitySet::DEFAULT, libc::SYS_clone, &[flags as u64]), ALLOWED);
    }
    for flag in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWCGROUP,
    ] {
        // The kernel ignores the upper half; it must not help to slip through.
        for high in [0, 1 << 32, u64::MAX << 32] {
            let args = [high | (flag | libc::SIGCHLD) as u64];
            assert_eq!(answer_to(CapabilitySet::DEFAULT, libc::SYS_clone, &args), EPERM);
            assert_eq!(answer_to(SYS_ADMIN, libc::SYS_clone, &args), ALLOWED);
        }
    }
    assert_eq!(answer_to(CapabilitySet::DEFAULT, libc::SYS_clone3, &[]), ENOSYS);
    assert_eq!(answer_to(SYS_ADMIN, libc::SYS_clone3, &[]), ALLOWED);
}

#[test]
fn sockets_by_family() {
    const AF_ALG: i32 = 38;
    let socket = |family: u64| answer_to(CapabilitySet::DEFAULT, libc::SYS_socket, &[family]);
    for family in [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
        libc::AF_PACKET,
        libc::AF_CAN,
        libc::AF_BLUETOOTH,
        libc::AF_XDP,
    ] {
        assert_eq!(socket(family as u64), ALLOWED, "family {family}");
    }
    for family in [AF_ALG, libc::AF_VSOCK, 46, 1000, -1] {
        assert_eq!(socket(family as u64), EPERM, "family {family}");
        assert_eq!(socket(family as u32 as u64 | 7 << 32), EPERM, "family {family}, high bits");
    }
}

#[test]
fn ioctls_by_request() {
    let ioctl = |request| answer_to(CapabilitySet::DEFAULT, libc::SYS_ioctl, &[0, request]);
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        assert_eq!(ioctl(request), EPERM);
        assert_eq!(ioctl(request | 1 << 32), EPERM, "with high bits");
    }
    for request in [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONBIO, libc::TIOCSCTTY, 0x5411, 0x541b]
    {
        assert_eq!(ioctl(request), ALLOWED, "{request:#x}");
    }
}

#[test]
fn personalities_by_value() {
    let set = |value| answer_to(CapabilitySet::DEFAULT, libc::SYS_personality, &[value]);
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(set(value), ALLOWED, "{value:#x}");
    }
    for value in [1, 7, 9, 0x4_0000, 0x1_ffff, 0x2_0001, 0x2_0009, 0x040_0000, 0xffff_fffe] {
        assert_eq!(set(value), EPERM, "{value:#x}");
    }
}

/// Sorted ranges from 0 on with any verdicts; also so many that jumps get long.
fn any_ranges() -> impl Strategy<Value = Vec<(u32, Verdict)>> {
    let verdict = prop_oneof![Just(ALLOW), Just(REFUSE), Just(UNKNOWN)];
    prop::collection::btree_map(1..u32::MAX, verdict, 0..700)
        .prop_map(|map| [(0, ALLOW)].into_iter().chain(map).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tree_finds_what_a_list_finds(ranges in any_ranges(), random: Vec<u32>) {
        let program = program(&ranges);
        let borders = ranges.iter().flat_map(|(n, _)| [*n, n.saturating_sub(1), n + 1]);
        for number in borders.chain(random) {
            let (_, verdict) = ranges.iter().rfind(|(first, _)| *first <= number).unwrap();
            let wanted = match verdict {
                Verdict::Allow => ALLOWED,
                Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | *errno as u32,
                _ => unreachable!(),
            };
            prop_assert_eq!(interpret(&program, ARCHITECTURE, number, &[]).0, wanted);
        }
    }
}
