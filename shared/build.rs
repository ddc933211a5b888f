//! Puts into the library what it carries: the pages of the book, and `probe`, which is built a
//! second time for that, small and static.
//!
//! Cargo builds binaries after the library of the same package, so the library cannot embed the
//! binary Cargo makes. `probe` needs only the standard library: one call of the compiler does.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "src/bin/probe";
const BOOK: &str = "../book/src";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("probe");
    // Without the C library's static half (`libc.a`) it is linked as any other program, and its
    // libraries are put into a root file system as those of any other.
    compile(&out, true).or_else(|_| compile(&out, false))?;
    println!("cargo::rustc-env=PROBE_ID={:016x}", identity(&out)?);
    list_pages()
}

/// Writes a list of the book's pages that have checkpoints: name and text of each.
fn list_pages() -> Result<(), Box<dyn Error>> {
    let book = fs::canonicalize(BOOK)?;
    let mut dirs = vec![book.clone()];
    let mut list = String::from("const PAGES: &[(&str, &str)] = &[\n");
    while let Some(dir) = dirs.pop() {
        println!("cargo::rerun-if-changed={}", dir.display());
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if fs::read_to_string(&path)
                .is_ok_and(|text| text.contains("```yaml checkpoint"))
            {
                let name = path.strip_prefix(&book)?.display();
                writeln!(
                    list,
                    "    (\"{name}\", include_str!({:?})),",
                    path.display().to_string()
                )?;
            }
        }
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("pages.rs"), list + "];\n")?;
    Ok(())
}

fn compile(out: &Path, fixed: bool) -> Result<(), Box<dyn Error>> {
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "probe", "--crate-type", "bin"]);
    rustc.args(["--target", &env::var("TARGET")?]);
    for option in ["opt-level=s", "panic=abort", "strip=symbols", "codegen-units=1", "lto=fat"] {
        rustc.args(["-C", option]);
    }
    if fixed {
        rustc.args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let output = rustc.arg("-o").arg(out).arg(format!("{SOURCE}/main.rs")).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("probe cannot be built:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Tells one build from another: a root file system with an older `probe` is made anew.
fn identity(program: &Path) -> Result<u64, Box<dyn Error>> {
    let mut hasher = DefaultHasher::new();
    fs::read(program)?.hash(&mut hasher);
    Ok(hasher.finish())
}
