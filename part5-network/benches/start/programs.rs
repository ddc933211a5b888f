//! The root file system of the bench, and the programs in it: as small as a program can be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared::{Error, Result};

/// Exits at once with success.
pub const TRUE: &str = "true";
/// Exits at once with [`ANSWER`].
pub const ANSWERING: &str = "answering";
/// Never ends.
pub const WAITING: &str = "waiting";

/// The status of the program [`ANSWERING`].
pub const ANSWER: i32 = 42;

/// The programs, compiled.
pub struct Programs {
    /// A root file system with `/bin/true`, `/bin/waiting` and a few empty directories.
    pub rootfs: PathBuf,
    compiled: PathBuf,
}

/// Compiles the programs and makes the root file system, below `dir`.
pub fn build(dir: &Path) -> Result<Programs> {
    let programs = Programs { rootfs: dir.join("rootfs"), compiled: dir.join("programs") };
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        let path = programs.rootfs.join(directory);
        fs::create_dir_all(&path).map_err(|e| cannot("create", &path, e))?;
    }
    fs::create_dir_all(&programs.compiled).map_err(|e| cannot("create", &programs.compiled, e))?;
    compile(&programs.compiled, TRUE, &exit_with(0))?;
    compile(&programs.compiled, ANSWERING, &exit_with(ANSWER))?;
    compile(&programs.compiled, WAITING, WAIT_FOREVER)?;
    copy(&programs.compiled.join(WAITING), &programs.rootfs.join("bin/waiting"))?;
    programs.set_true(TRUE)?;
    Ok(programs)
}

impl Programs {
    /// Makes `program` the `/bin/true` of the root file system.
    pub fn set_true(&self, program: &str) -> Result<()> {
        copy(&self.compiled.join(program), &self.rootfs.join("bin/true"))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(|e| cannot("write", to, e))
}

fn cannot(what: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::new(format!("cannot {what} {}", path.display())).because(cause)
}

/// What each program starts with: no C library, no standard library, one system call.
const PRELUDE: &str = r#"
#![no_std]
#![no_main]

#[panic_handler]
fn never(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, first: usize) {
    unsafe {
        core::arch::asm!("syscall", inout("rax") number => _, in("rdi") first, in("rsi") 0,
            in("rdx") 0, in("r10") 0, in("r8") 0, out("rcx") _, out("r11") _)
    }
}
/// exit_group(2) and ppoll(2), which without arguments waits for ever.
#[cfg(target_arch = "x86_64")]
const CALLS: [usize; 2] = [231, 271];

#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, first: usize) {
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inout("x0") first => _, in("x1") 0,
            in("x2") 0, in("x3") 0, in("x4") 0)
    }
}
#[cfg(target_arch = "aarch64")]
const CALLS: [usize; 2] = [94, 73];
"#;

fn exit_with(status: i32) -> String {
    format!("loop {{ unsafe {{ call(CALLS[0], {status}) }} }}")
}

const WAIT_FOREVER: &str = "loop { unsafe { call(CALLS[1], 0) } }";

fn compile(dir: &Path, name: &str, body: &str) -> Result<()> {
    let start = "#[unsafe(no_mangle)]\nextern \"C\" fn _start() -> !";
    let source = dir.join(format!("{name}.rs"));
    fs::write(&source, format!("{PRELUDE}\n{start} {{ {body} }}\n"))
        .map_err(|e| cannot("write", &source, e))?;
    let output = Command::new("rustc")
        .args(["--edition=2024", "-O", "-Cpanic=abort", "-Cstrip=symbols"])
        .args(["-Crelocation-model=static", "-Clink-args=-nostdlib -nostartfiles -static", "-o"])
        .args([dir.join(name), source])
        .output()
        .map_err(|e| Error::new("cannot run rustc").because(e))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("cannot compile the program {name}")).because(text))
}
