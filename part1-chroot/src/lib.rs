//! part1-chroot
