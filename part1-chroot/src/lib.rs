//! part1-chroot

pub mod create;
pub mod show;
