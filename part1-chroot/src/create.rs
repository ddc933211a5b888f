//! `rootfs create DIR`: makes a root file system.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use colored::Colorize;
use shared::Result;
use shared::rootfs::{self, Origin, Report, Source};

use crate::show;

/// Makes a root file system: the directory a container will see as `/`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The directory to make; it must not exist, or be empty
    pub dir: PathBuf,

    /// host: this machine's own tools; debian:SUITE: debootstrap; or a tar archive
    #[arg(long, default_value = "host", value_name = "host|debian[:SUITE]|TARBALL")]
    pub from: String,

    /// Packages to add to --from debian
    #[arg(long, value_delimiter = ',', value_name = "PACKAGE,…")]
    pub include: Vec<String>,

    /// Replaces a root file system that was made before
    #[arg(long)]
    pub force: bool,

    /// Prints what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// Makes it and says what there is.
///
/// # Errors
/// As [`rootfs::create`]; `--from` is not understood.
pub fn run(args: &Create) -> Result<()> {
    let source: Source = args.from.parse()?;
    let start = Instant::now();
    let mut progress = Progress::new();
    let made = rootfs::create(&args.dir, &source, &args.include, args.force, &mut |doing| {
        progress.line(doing);
    });
    progress.end();
    let report = made?;
    if args.json {
        return show::print_json(&args.dir, Some(&report));
    }
    print(&args.dir, &report, start.elapsed().as_secs_f64());
    Ok(())
}

fn print(dir: &Path, report: &Report, seconds: f64) {
    let (bytes, files) = rootfs::size_of(dir).unwrap_or_default();
    let size = show::mebibytes(bytes);
    println!("{} {}", "made".green().bold(), dir.display());
    println!("  from     {}", show::origin(&report.origin));
    println!("  holds    {files} files, {size}, in {seconds:.2} s");
    if let Origin::Debian { suite, codename: Some(codename), .. } = &report.origin
        && suite != codename
    {
        println!("  {suite} is now {codename}");
    }
    show::print_gaps(report);
    println!("look at it: {}", format!("rootfs show {}", dir.display()).bold());
}

/// What a slow source is doing: on a terminal one line that changes, else a line per phase.
struct Progress {
    terminal: bool,
    /// The phases that were seen.
    phases: HashSet<String>,
}

impl Progress {
    /// Leaves room for a terminal of 80 columns not to wrap.
    const WIDTH: usize = 76;

    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), phases: HashSet::new() }
    }

    fn line(&mut self, doing: &str) {
        // `Retrieving apt 3.0.3` and `Validating apt 3.0.3` come in turn, for each package; one
        // word after the verb is something else: `Retrieving InRelease`.
        let mut words = doing.split(' ');
        let verb = words.next().unwrap_or(doing);
        let new = self.phases.insert(format!("{verb} {}", words.count() > 1));
        let mut out = std::io::stderr().lock();
        // Progress that nobody can see is no reason to stop.
        let _ = if self.terminal {
            let shown: String = doing.chars().take(Self::WIDTH).collect();
            write!(out, "\r\x1b[2K  {shown}").and_then(|()| out.flush())
        } else if new {
            writeln!(out, "  {doing}")
        } else {
            Ok(())
        };
    }

    fn end(&self) {
        if self.terminal && !self.phases.is_empty() {
            eprint!("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(dir: &Path, from: &str) -> Create {
        let (include, force) = (Vec::new(), false);
        Create { dir: dir.to_owned(), from: from.into(), include, force, json: true }
    }

    #[test]
    fn makes_shows_and_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        run(&create(&tree, "host")).unwrap();
        assert!(tree.join("usr/bin/probe").exists());
        show::run(&show::Show { dir: tree.clone(), json: false }).unwrap();
        assert!(run(&create(&tree, "host")).unwrap_err().to_string().contains("--force"));
        assert!(run(&create(&dir.path().join("x"), "fedora")).is_err());
        let mut with_packages = create(&dir.path().join("x"), "host");
        with_packages.include = vec!["nginx".into()];
        assert!(run(&with_packages).unwrap_err().to_string().contains("--from debian"));
        assert!(!dir.path().join("x").exists());
    }
}
