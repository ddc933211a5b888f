//! Seccomp: which system calls the kernel answers at all.
//!
//! Every wall of a container is code in the kernel, and every system call is a door to that code.
//! A web server uses a hundred of the five hundred doors. The filter closes those that no
//! ordinary program needs, so that a mistake behind them cannot be reached.
//!
//! A filter is a program for the kernel's small machine ("classic BPF"). It sees the
//! architecture, the number and the arguments of a call, cannot follow pointers, and answers.
//! Ours finds the number in a tree of comparisons: eight steps instead of the hundreds of a list.
//! That matters at the start, because the kernel runs a new filter once for each number, to
//! remember which calls are always allowed.
//!
//! See `seccomp(2)` and the kernel's `userspace-api/seccomp_filter.rst`.

use libc::c_long;
use shared::Call;
use shared::recipe::Outcome;
use shared::sys::seccomp::{Instruction, set_filter};

use crate::capabilities::CapabilitySet;
use crate::syscalls::{GROUPS, LAST, Rule};

/// What the filter answers to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The kernel goes on.
    Allow,
    /// The kernel answers this errno and does nothing.
    Errno(i32),
    /// It depends on the argument of this index. "From this value on, that verdict."
    ByArgument(u32, &'static [(u32, Verdict)]),
    /// Allowed when the argument of this index has none of these bits, else `EPERM`.
    WithoutBits(u32, u32),
}

const ALLOW: Verdict = Verdict::Allow;
const REFUSE: Verdict = Verdict::Errno(libc::EPERM);
const UNKNOWN: Verdict = Verdict::Errno(libc::ENOSYS);

/// Flags of `clone(2)` that make namespaces.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u32;

/// `socket(2)`, by address family. Left out are the families that Linux has given up, and two:
/// `AF_ALG` (the kernel's cryptography, with a history of holes) and `AF_VSOCK` (to other virtual
/// machines: it has no namespace).
const SOCKET: Verdict = Verdict::ByArgument(
    0,
    &[
        (0, ALLOW),   // AF_UNIX, AF_INET, … AF_ROSE
        (12, REFUSE), // AF_DECnet
        (13, ALLOW),  // AF_NETBEUI, … AF_NETLINK, AF_PACKET, AF_ASH
        (19, REFUSE), // AF_ECONET, AF_ATMSVC
        (21, ALLOW),  // AF_RDS, AF_SNA
        (23, REFUSE), // AF_IRDA
        (24, ALLOW),  // AF_PPPOX
        (25, REFUSE), // AF_WANPIPE
        (26, ALLOW),  // AF_LLC, … AF_CAN, AF_TIPC, AF_BLUETOOTH, … AF_RXRPC
        (34, REFUSE), // AF_ISDN
        (35, ALLOW),  // AF_PHONET, AF_IEEE802154
        (37, REFUSE), // AF_CAIF, AF_ALG
        (39, ALLOW),  // AF_NFC
        (40, REFUSE), // AF_VSOCK
        (41, ALLOW),  // AF_KCM, AF_QIPCRTR, AF_SMC, AF_XDP, AF_MCTP
        (46, REFUSE), // what will come
    ],
);

/// `ioctl(2)`, by request. Both type on behalf of the user: `TIOCSTI` (0x5412) into a terminal,
/// `TIOCLINUX` (0x541c) into the machine's console.
const IOCTL: Verdict = Verdict::ByArgument(
    1,
    &[(0, ALLOW), (0x5412, REFUSE), (0x5413, ALLOW), (0x541c, REFUSE), (0x541d, ALLOW)],
);

/// `personality(2)`, by value: Linux (0), 32-bit Linux (8), either as "version 2.6" (0x20000), and
/// the question which one it is (0xffff_ffff). Others weaken address randomization and the like.
const PERSONALITY: Verdict = Verdict::ByArgument(
    0,
    &[
        (0, ALLOW),
        (1, REFUSE),
        (8, ALLOW),
        (9, REFUSE),
        (0x2_0000, ALLOW),
        (0x2_0001, REFUSE),
        (0x2_0008, ALLOW),
        (0x2_0009, REFUSE),
        (0xffff_ffff, ALLOW),
    ],
);

/// The calls that are decided by their arguments.
fn by_argument(capabilities: CapabilitySet) -> [(c_long, Verdict); 5] {
    // A new user namespace makes its maker root inside: the way to most holes of late years.
    // clone3 has its flags behind a pointer. The C library falls back to clone.
    let (clone, clone3) = if capabilities.intersects(CapabilitySet::of(&["SYS_ADMIN"])) {
        (ALLOW, ALLOW)
    } else {
        (Verdict::WithoutBits(0, NEW_NAMESPACES), UNKNOWN)
    };
    [
        (libc::SYS_clone, clone),
        (libc::SYS_clone3, clone3),
        (libc::SYS_socket, SOCKET),
        (libc::SYS_ioctl, IOCTL),
        (libc::SYS_personality, PERSONALITY),
    ]
}

/// A filter, ready to be installed.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<Instruction>,
}

/// The filter of a container with these capabilities: what a capability is for is of no use when
/// its system calls are refused. To be made on the host, before the clone.
pub fn filter(capabilities: CapabilitySet) -> Filter {
    let mut verdicts = [UNKNOWN; LAST + 1];
    for group in GROUPS {
        let verdict = match group.rule {
            Rule::Allow => ALLOW,
            Rule::AllowWith(any) if capabilities.intersects(any) => ALLOW,
            Rule::AllowWith(_) | Rule::Refuse => REFUSE,
        };
        for (_, number) in group.calls {
            verdicts[*number as usize] = verdict;
        }
    }
    for (number, verdict) in by_argument(capabilities) {
        verdicts[number as usize] = verdict;
    }
    Filter { program: program(&ranges(&verdicts)) }
}

impl Filter {
    /// Puts the filter in front of every system call of this process and its children, for good.
    ///
    /// To be called as late as possible, and after `no_new_privs` (else it needs
    /// `CAP_SYS_ADMIN`): from here on the filter also answers us.
    ///
    /// # Errors
    /// As [`set_filter`].
    pub fn install(&self) -> Outcome {
        set_filter(&self.program).call("seccomp(SECCOMP_SET_MODE_FILTER)")
    }

    /// How many instructions it has; the kernel takes up to 4096.
    pub fn instructions(&self) -> usize {
        self.program.len()
    }
}

/// Neighbours with the same verdict as one: "from this number on, that verdict".
fn ranges(verdicts: &[Verdict]) -> Vec<(u32, Verdict)> {
    let mut ranges: Vec<(u32, Verdict)> = Vec::with_capacity(128);
    // Beyond the table nothing is known. (So are the calls of the x32 ABI: their numbers start
    // at 0x4000_0000.)
    for (number, verdict) in (0..).zip(verdicts.iter().copied().chain([UNKNOWN])) {
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges
}

/// Where the kernel puts what a filter may look at: `struct seccomp_data`.
mod offset {
    pub const NUMBER: u32 = 0;
    pub const ARCHITECTURE: u32 = 4;

    /// The lower half of an argument. The calls we look at take it as 32 bits, and so the
    /// kernel ignores the upper half too.
    pub const fn argument(index: u32) -> u32 {
        16 + 8 * index
    }
}

/// What the kernel calls the architecture we are compiled for: `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The whole filter: one architecture, then the tree.
///
/// Docker also lets 32-bit programs run. There every socket call is one number with its arguments
/// behind a pointer, so no filter can see the address family. Programs for another architecture
/// are killed at their first call: they could do nothing useful, and a `SIGSYS` says why.
fn program(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    let mut code = Backwards::default();
    let tree = code.tree(ranges);
    let killed = code.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    let number = code.load_then(offset::NUMBER, tree);
    let compare = code.branch(libc::BPF_JEQ, ARCHITECTURE, number, killed);
    code.load_then(offset::ARCHITECTURE, compare);
    code.instructions.reverse();
    code.instructions
}

/// A program that is written from its end to its beginning: jumps only go forward, so when a
/// jump is written, the place it leads to is known.
#[derive(Default)]
struct Backwards {
    instructions: Vec<Instruction>,
    /// Where each verdict is given: all branches share it, so the program stays short.
    verdicts: Vec<(Verdict, Label)>,
}

/// The place of an instruction, counted from the end of the program.
type Label = usize;

impl Backwards {
    /// Finds the range that the loaded value is in, by halves. `ranges` starts at 0, sorted.
    fn tree(&mut self, ranges: &[(u32, Verdict)]) -> Label {
        if let [(_, verdict)] = ranges {
            return self.verdict(*verdict);
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (first_high, _) = high[0];
        let (high, low) = (self.tree(high), self.tree(low));
        self.branch(libc::BPF_JGE, first_high, high, low)
    }

    fn verdict(&mut self, verdict: Verdict) -> Label {
        if let Some((_, label)) = self.verdicts.iter().find(|(known, _)| *known == verdict) {
            return *label;
        }
        let label = match verdict {
            Verdict::Allow => self.push(answer(libc::SECCOMP_RET_ALLOW)),
            Verdict::Errno(errno) => self.push(answer(libc::SECCOMP_RET_ERRNO | errno as u32)),
            Verdict::ByArgument(index, ranges) => {
                let tree = self.tree(ranges);
                self.load_then(offset::argument(index), tree)
            }
            Verdict::WithoutBits(index, bits) => {
                let (refuse, allow) = (self.verdict(REFUSE), self.verdict(ALLOW));
                let test = self.branch(libc::BPF_JSET, bits, refuse, allow);
                self.load_then(offset::argument(index), test)
            }
        };
        self.verdicts.push((verdict, label));
        label
    }

    /// Compares the loaded value with `value` and goes on at `yes` or `no`.
    fn branch(&mut self, comparison: u32, value: u32, yes: Label, no: Label) -> Label {
        let (yes, no) = (self.near(yes), self.near(no));
        let (yes, no) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(instruction(libc::BPF_JMP | libc::BPF_K | comparison, value, yes, no))
    }

    /// Loads the 32 bits at this offset of `struct seccomp_data` and goes on at `next`.
    fn load_then(&mut self, offset: u32, next: Label) -> Label {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.push(instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0))
    }

    /// A place that a branch can reach and from where it goes on at `label`. A branch skips at
    /// most 255 instructions, a jump any number.
    fn near(&mut self, label: Label) -> Label {
        // Two of these in a row must leave both within reach.
        const REACH: usize = u8::MAX as usize - 2;
        if self.distance(label) > REACH { self.jump(label) } else { label }
    }

    fn jump(&mut self, to: Label) -> Label {
        let distance = self.distance(to) as u32;
        self.push(instruction(libc::BPF_JMP | libc::BPF_JA, distance, 0, 0))
    }

    /// How many instructions lie between `label` and the one that will be pushed next.
    fn distance(&self, label: Label) -> usize {
        self.instructions.len() - 1 - label
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.instructions.push(instruction);
        self.instructions.len() - 1
    }
}

/// Ends with this `SECCOMP_RET_…`.
fn answer(value: u32) -> Instruction {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
