//! A file as a disk: `loop(4)`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::check;
use crate::error::{Call, Failed};

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CLR_FD: libc::c_ulong = 0x4c01;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
/// The device lets go of its file with the last descriptor on it.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config`, with the `struct loop_info64` that is in it.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    device_and_sizes: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Makes a free loop device a disk over `file`, as long as the answered descriptor is open.
///
/// # Errors
/// `ENOENT` (no `/dev/loop-control`: the kernel has no loop devices, or `/dev` is a
/// container's), `EACCES` or `EPERM` without root, `EBUSY` (somebody else took it first).
pub fn over(file: BorrowedFd) -> Result<OwnedFd, Failed> {
    let open = |path: &str| {
        let options = File::options().read(true).write(true).open(path);
        options.call(format!("open({path:?})"))
    };
    let control = open("/dev/loop-control")?;
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }.into())
        .call("ioctl(LOOP_CTL_GET_FREE)")?;
    let device = open(&format!("/dev/loop{number}"))?;
    let config = Config {
        fd: file.as_raw_fd() as u32,
        block_size: 0,
        device_and_sizes: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags: LO_FLAGS_AUTOCLEAR,
        names_and_key: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    let fd = device.as_fd().as_raw_fd();
    // SAFETY: `config` is laid out as the kernel's struct and outlives the call, which reads it.
    check(unsafe { libc::ioctl(fd, LOOP_CONFIGURE, &raw const config) }.into())
        .call("ioctl(LOOP_CONFIGURE)")?;
    Ok(device.into())
}

/// Lets a loop device go of its file, as `losetup --detach`; when it is still in use, with its
/// last user.
///
/// # Errors
/// `ENXIO` when it has no file.
pub fn detach(device: BorrowedFd) -> Result<(), Failed> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) }.into())
        .call("ioctl(LOOP_CLR_FD)")
        .map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_struct_is_the_kernels() {
        assert_eq!(size_of::<super::Config>(), 304);
    }
}
