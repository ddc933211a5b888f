//! `rootfs show DIR`: what is in a root file system, and where it came from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use colored::Colorize;
use shared::rootfs::{self, Origin, Report};
use shared::{Error, Result};

/// Shows what a root file system holds and where it came from.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The directory
    pub dir: PathBuf,

    /// Prints it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Where programs are, in the order they are looked for.
const PROGRAM_DIRECTORIES: [&str; 6] =
    ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];

/// Shows it.
///
/// # Errors
/// `dir` is no root file system: see [`rootfs::validate`].
pub fn run(args: &Show) -> Result<()> {
    rootfs::validate(&args.dir)?;
    let report = Report::read(&args.dir);
    if args.json {
        return print_json(&args.dir, report.as_ref());
    }
    let (bytes, files) = size(&args.dir)?;
    println!("{}", args.dir.display().to_string().bold());
    match &report {
        Some(report) => println!("  from     {}, {}", origin(&report.origin), ago(report.created)),
        None => println!("  from     unknown: it is not one we made"),
    }
    println!("  holds    {files} files, {}", mebibytes(bytes));
    let programs = programs(&args.dir);
    println!("  programs {}", programs.len());
    for line in wrapped(&programs, 68) {
        println!("           {}", line.dimmed());
    }
    if let Some(report) = &report {
        print_gaps(report);
    }
    Ok(())
}

/// Prints what is known about the root file system at `dir` as one JSON object.
///
/// # Errors
/// A directory in it cannot be read.
pub fn print_json(dir: &Path, report: Option<&Report>) -> Result<()> {
    let (bytes, files) = size(dir)?;
    let shown = serde_json::json!({
        "dir": dir,
        "origin": report.map(|report| &report.origin),
        "created": report.map(|report| report.created),
        "programs": programs(dir),
        "missing": report.map(|report| &report.missing),
        "skipped": report.map(|report| &report.skipped),
        "files": files,
        "bytes": bytes,
    });
    println!("{shown:#}");
    Ok(())
}

/// Prints what should be there and is not.
pub fn print_gaps(report: &Report) {
    for missing in &report.missing {
        let hint = format!("(apt-get install {})", missing.package);
        println!("  {}  {} {}", "missing".yellow(), missing.program, hint.dimmed());
    }
    for skipped in &report.skipped {
        println!("  {}     {skipped}", "note".yellow());
    }
}

/// Where it comes from, in words.
pub fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Host { system } => format!("the tools of this machine ({system})"),
        Origin::Tarball { file } => format!("the archive {}", file.display()),
        Origin::Debian { suite, mirror, include, .. } => {
            let mut text = format!("debootstrap, {suite}");
            if !include.is_empty() {
                text += &format!(" with {}", include.join(", "));
            }
            if let Some(mirror) = mirror {
                text += &format!(", packages of {mirror}");
            }
            text
        }
    }
}

/// `28.3 MiB`.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn size(dir: &Path) -> Result<(u64, u64)> {
    rootfs::size_of(dir).map_err(|error| {
        Error::new(format!("cannot look into {}", dir.display()))
            .because(error)
            .hint("run it as the user who made it, or as root")
    })
}

/// The names of the programs, sorted. Links among the directories are not followed: here they
/// would lead to the host's.
fn programs(dir: &Path) -> Vec<String> {
    let real = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let directories = PROGRAM_DIRECTORIES
        .iter()
        .map(Path::new)
        .filter(|path| path.ancestors().all(|ancestor| real(&dir.join(ancestor))));
    let entries = directories.flat_map(|path| fs::read_dir(dir.join(path)).into_iter().flatten());
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Lines of at most `width` characters, where words allow.
fn wrapped(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

fn ago(created: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seconds = now.saturating_sub(created);
    let (count, unit) = match seconds {
        0..120 => return "made just now".into(),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("made {count} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_host_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/ours"), "").unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("usr")).unwrap();
        std::os::unix::fs::symlink("/usr/sbin", dir.path().join("sbin")).unwrap();
        assert_eq!(programs(dir.path()), ["ours"]);
    }

    #[test]
    fn lines_fit() {
        let words: Vec<String> = ["aa", "bb", "cccccc", "d"].map(String::from).into();
        assert_eq!(wrapped(&words, 5), ["aa bb", "cccccc", "d"]);
    }
}
