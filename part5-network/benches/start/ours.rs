//! Our own sides: part 2, and part 5 with everything.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use shared::{Call, Error, Result};

use crate::measure::Side;

/// The name of the side that is part 2.
pub const PART2: &str = "part 2";
/// The name of the side that is part 5: limits, an overlay, an address and a published port.
pub const PART5: &str = "part 5, everything";

const PART5_PROGRAM: &str = env!("CARGO_BIN_EXE_part5-network");

/// Where our binaries keep their containers.
const HOME: &str = "INSIDE_DOCKER_HOME";

/// Containers that stay up during the bench. They keep the network up, as on a machine at work,
/// and their supervisors' memory is looked at.
const DETACHED: [&str; 5] = ["bench-1", "bench-2", "bench-3", "bench-4", "bench-5"];

const SPEC2: &str = "\
services:
  bench:
    image: host
    x-rootfs: ./rootfs
    command: [/bin/true]
";

const SPEC5: &str = "\
name: bench
services:
  bench:
    image: host
    x-rootfs: ./rootfs
    command: [/bin/true]
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 32
    ports: [\"127.0.0.1:PORT:80\"]
  waiting:
    image: host
    x-rootfs: ./rootfs
    command: [/bin/waiting]
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 32
";

/// Our binaries, and the files they are given.
pub struct Ours {
    part2: PathBuf,
    home: PathBuf,
    spec2: PathBuf,
    spec5: PathBuf,
}

impl Ours {
    /// Builds part 2, writes the specs into `dir` beside its `rootfs`, and starts the containers
    /// that stay up. All state stays in `dir`.
    pub fn prepare(dir: &Path) -> Result<Self> {
        let spec5 = SPEC5.replace("PORT", &free_port()?.to_string());
        let ours = Self {
            part2: build_part2()?,
            home: dir.join("home"),
            spec2: write(dir.join("part2.yml"), SPEC2)?,
            spec5: write(dir.join("part5.yml"), &spec5)?,
        };
        for name in DETACHED {
            let spec = ours.spec5.display().to_string();
            let output = ours.part5(&["run", &spec, "waiting", "-d", "--name", name])?;
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stderr);
                println!("SKIPPED detached part 5: {} {}", output.status, text.trim());
                break;
            }
        }
        Ok(ours)
    }

    /// Part 2, and part 5 with everything.
    pub fn sides(&self) -> Vec<Side> {
        let run = |name, program: &Path, spec: &Path| {
            Side::new(name, program)
                .args(["run".as_ref(), spec.as_os_str(), "bench".as_ref()])
                .env(HOME, &self.home)
        };
        vec![run(PART2, &self.part2, &self.spec2), run(PART5, PART5_PROGRAM.as_ref(), &self.spec5)]
    }

    /// The median private memory of the supervisors, in kB: what one more container costs.
    /// None when none runs.
    pub fn supervisor_memory(&self) -> Result<Option<u64>> {
        let output = self.part5(&[&["inspect"], &DETACHED[..]].concat())?;
        let containers: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let pids = containers.as_array().into_iter().flatten().filter_map(|c| c["pid"].as_u64());
        let mut memory: Vec<u64> = pids.filter_map(parent_of).filter_map(private_memory).collect();
        memory.sort_unstable();
        Ok(memory.get(memory.len() / 2).copied())
    }

    fn part5(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(PART5_PROGRAM);
        let output = command.args(arguments).env(HOME, &self.home).output();
        output.map_err(|e| Error::new(format!("cannot run {PART5_PROGRAM}")).because(e))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        for name in DETACHED {
            let _ = self.part5(&["rm", "--force", name]);
        }
    }
}

/// Cargo builds the binaries of this package for us, but not those of others.
fn build_part2() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "part2-namespaces"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    match status {
        Ok(status) if status.success() => {
            Ok(Path::new(PART5_PROGRAM).with_file_name("part2-namespaces"))
        }
        Ok(status) => Err(Error::new("cannot build part 2").because(status)),
        Err(error) => Err(Error::new("cannot run cargo").because(error)),
    }
}

fn write(file: PathBuf, text: &str) -> Result<PathBuf> {
    let written = fs::write(&file, text);
    written
        .map(|()| file.clone())
        .map_err(|e| Error::new(format!("cannot write {}", file.display())).because(e))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").call("bind(127.0.0.1)")?;
    Ok(listener.local_addr().call("getsockname")?.port())
}

fn parent_of(pid: u64) -> Option<u64> {
    field(&format!("/proc/{pid}/status"), "PPid:")
}

/// `Private_Clean` and `Private_Dirty` in kB: see `proc_pid_smaps_rollup(5)`.
fn private_memory(pid: u64) -> Option<u64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    Some(field(&file, "Private_Clean:")? + field(&file, "Private_Dirty:")?)
}

/// The number after `name` in a file of /proc.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}
