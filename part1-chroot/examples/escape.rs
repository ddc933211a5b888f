//! The classic way out of a chroot, in three calls of the standard library. Needs root.
//!
//! Section 1.21 of the book tells why it works. Copy the binary into a root file system (it is
//! static, so it runs in any) and start it there: `escape PROGRAM ARGUMENT…`.

use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::{env, fs, io, process};

// ANCHOR: escape
fn escape() -> io::Result<()> {
    // Any directory will do: it becomes the root, and we are outside of it.
    fs::create_dir_all("/tmp/a-smaller-jail")?;
    chroot("/tmp/a-smaller-jail")?;
    // On the way up from here there is no root to stop at, but the real one.
    for _ in 0..64 {
        env::set_current_dir("..")?;
    }
    chroot(".")
}
// ANCHOR_END: escape

fn main() {
    let mut words = env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: escape PROGRAM ARGUMENT…");
        process::exit(2);
    };
    if let Err(error) = escape() {
        eprintln!("no way out: {error}");
        process::exit(1);
    }
    let error = process::Command::new(program).args(words).exec();
    eprintln!("cannot run it: {error}");
    process::exit(127);
}
