//! Programs that the kernel itself runs, as far as a container needs them: `bpf(2)`.
//!
//! One kind only: the program that is asked each time a process of a cgroup v2 opens a device or
//! makes a device file (`BPF_PROG_TYPE_CGROUP_DEVICE`).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::check;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Ours is asked besides those that are there already, not instead of them.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// `struct bpf_insn`: one instruction of the kernel's virtual machine, see its
/// `Documentation/bpf/standardization/instruction-set.rst`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What is done: class, source, operation.
    pub code: u8,
    /// The destination register in the lower four bits, the source register in the upper.
    pub registers: u8,
    /// A distance in memory (bytes) or to another instruction (instructions).
    pub offset: i16,
    /// The number that is in the instruction itself.
    pub immediate: i32,
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
struct LoadProgram {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` reads.
#[repr(C)]
struct AttachProgram {
    target: RawFd,
    program: RawFd,
    kind: u32,
    flags: u32,
}

/// Has the kernel check a device program and keep it as long as the descriptor, or a cgroup that
/// it is attached to, lives: `BPF_PROG_LOAD` of `bpf(2)`.
///
/// # Errors
/// `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN` in the first user namespace, `EINVAL` or `EACCES`
/// when the kernel's verifier refuses it or the kernel has no `CONFIG_CGROUP_BPF`, `ENOSYS`
/// without `CONFIG_BPF_SYSCALL`.
pub fn load_device_program(instructions: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut attributes = LoadProgram {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"inside_docker\0\0\0",
    };
    // SAFETY: the attributes point to `instructions` and to a NUL-terminated string; all three
    // outlive the call, which only reads them.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw mut attributes, size_of::<LoadProgram>())
    };
    let fd = check(fd)? as RawFd;
    // SAFETY: the kernel has just opened this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has a cgroup v2 (an open directory) and all below it ask this program: `BPF_PROG_ATTACH` of
/// `bpf(2)`. It goes with the cgroup.
///
/// # Errors
/// `EPERM`, `EBADF` when it is no cgroup v2 directory.
pub fn attach_device_program(program: BorrowedFd, cgroup: BorrowedFd) -> Result<(), Errno> {
    let mut attributes = AttachProgram {
        target: cgroup.as_raw_fd(),
        program: program.as_raw_fd(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attributes are plain numbers and outlive the call, which only reads them.
    check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw mut attributes,
            size_of::<AttachProgram>(),
        )
    })
    .map(drop)
}
