//! Filters of system calls: `seccomp(2)`.

use nix::errno::Errno;

pub use libc::sock_filter as Instruction;

/// Puts `program` in front of every system call this process and its children will make, for
/// good: `SECCOMP_SET_MODE_FILTER` of `seccomp(2)`.
///
/// # Errors
/// `EACCES` without `no_new_privs` or `CAP_SYS_ADMIN`; `EINVAL` when the program is empty, longer
/// than 4096 instructions or not valid; `ENOSYS` from a kernel without seccomp.
pub fn set_filter(program: &[Instruction]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which outlives the call, and writes nothing to it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    super::check(result).map(drop)
}
