//! A test's own corner: a home for its containers, files, commands with a time limit.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a command may take unless told otherwise; an emulated kernel is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What sandboxes found in themselves when they ended, for the harness to report.
static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The path of a binary of this workspace: beside the tests' directory, where cargo puts it.
/// Cargo builds it for `cargo test --workspace`, and in the tests of its own crate.
pub fn binary(name: &str) -> PathBuf {
    let tests = env::current_exe().expect("/proc/self/exe is readable");
    let directory = tests.parent().and_then(Path::parent).expect("tests lie in debug/deps");
    directory.join(name)
}

/// A directory for one test with an `INSIDE_DOCKER_HOME` of its own. It ends with the value.
#[derive(Debug)]
pub struct Sandbox {
    directory: PathBuf,
}

impl Sandbox {
    /// Makes one.
    ///
    /// # Errors
    /// The temporary directory cannot be written.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::Builder::new().prefix("inside-docker-test-").tempdir()?.keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(directory.join("tmp"))?;
        fs::create_dir(directory.join("home"))?;
        Ok(Self { directory })
    }

    /// The directory: what the test writes there ends with the sandbox.
    pub fn dir(&self) -> &Path {
        &self.directory
    }

    /// The `INSIDE_DOCKER_HOME` of its commands.
    pub fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// Writes a file (its directories, too) and answers its path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("mkdir");
        fs::write(&path, content).expect("the sandbox can be written");
        path
    }

    /// Writes `service-specs.yml` and answers its path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn spec(&self, yaml: &str) -> PathBuf {
        self.file("service-specs.yml", yaml)
    }

    /// A command in this sandbox. `program` is a binary of the workspace (`part2-namespaces`),
    /// else of the machine.
    pub fn command(&self, program: &str) -> Command {
        let ours = binary(program);
        let mut command = if program.starts_with("part") || ours.is_file() {
            assert!(ours.is_file(), "cargo build --workspace makes {}", ours.display());
            Command::new(ours)
        } else {
            Command::new(program)
        };
        command
            .env("INSIDE_DOCKER_HOME", self.home())
            .env("TMPDIR", self.directory.join("tmp"))
            .env("NO_COLOR", "1")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Runs a command to its end: `run(&["part2-namespaces", "run", "--", "id"])`.
    ///
    /// # Panics
    /// It cannot be started, takes longer than a minute, or its output is held open by a
    /// process that it left.
    pub fn run(&self, command: &[&str]) -> Output {
        self.run_for(PATIENCE, command)
    }

    /// As [`Sandbox::run`], with another time limit.
    ///
    /// # Panics
    /// As [`Sandbox::run`].
    pub fn run_for(&self, patience: Duration, command: &[&str]) -> Output {
        self.spawn(command).wait(patience)
    }

    /// Starts a command.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn spawn(&self, command: &[&str]) -> Running {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut started = self.command(program);
        started.args(arguments);
        Running::start(started)
    }

    /// The root file system `host`, made once for all tests of this binary. Look, do not touch:
    /// a test that writes into it wants [`Sandbox::own_rootfs`].
    ///
    /// # Panics
    /// `part1-chroot rootfs create` failed.
    pub fn rootfs(&self) -> PathBuf {
        static SHARED: OnceLock<PathBuf> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                self.create_rootfs(&shared_rootfs());
                shared_rootfs()
            })
            .clone()
    }

    /// A root file system `host` that this test may change.
    ///
    /// # Panics
    /// `part1-chroot rootfs create` failed.
    pub fn own_rootfs(&self) -> PathBuf {
        let directory = self.directory.join("rootfs");
        self.create_rootfs(&directory);
        directory
    }

    fn create_rootfs(&self, directory: &Path) {
        let path = directory.to_str().expect("our paths are text");
        self.run(&["part1-chroot", "rootfs", "create", path]).assert_code(0);
    }

    /// A process outside of every container, which nothing in one may touch.
    ///
    /// # Panics
    /// `sleep` cannot be started.
    pub fn victim(&self) -> Victim {
        Victim::start()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if thread::panicking() {
            self.clean_up_after_panic();
        }
        let mut leaks = remove_tree(&self.directory);
        LEAKS.lock().unwrap_or_else(|poison| poison.into_inner()).append(&mut leaks);
    }
}

impl Sandbox {
    /// A test that failed half-way left its containers. Killing their processes and asking for
    /// the list lets the journals undo the rest, so that the next test starts clean.
    fn clean_up_after_panic(&self) {
        let variable = format!("INSIDE_DOCKER_HOME={}", self.home().display());
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|pid| *pid != std::process::id().cast_signed())
                && environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
            {
                let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let last_part = binary("part5-network");
        if self.home().join("run").is_dir() && last_part.is_file() {
            let _ = self.command("part5-network").args(["ps", "--all"]).output();
        }
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    /// The process; its group has the same number.
    pub child: Child,
    stdout: Option<Receiver<Vec<u8>>>,
    stderr: Option<Receiver<Vec<u8>>>,
    what: String,
}

impl Running {
    /// Starts `command` with its output collected.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { child, stdout, stderr, what }
    }

    /// As [`Running::start`], for a test that reads its standard output while it runs.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start_to_read(command: Command) -> (Self, Lines) {
        let what = format!("{command:?}");
        let mut command = command;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let lines = Lines(BufReader::new(child.stdout.take().expect("it is piped")));
        let stderr = child.stderr.take().map(collect);
        (Self { child, stdout: None, stderr, what }, lines)
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a signal to the process alone.
    ///
    /// # Panics
    /// It has ended and was waited for.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).expect("it was not waited for yet");
    }

    /// Waits for its end and takes its output.
    ///
    /// # Panics
    /// It does not end in time (its process group is killed), or its output is still held open
    /// by another process two seconds later.
    pub fn wait(mut self, patience: Duration) -> Output {
        let status = self.end_within(patience);
        let text = |receiver: Option<Receiver<Vec<u8>>>| {
            let Some(receiver) = receiver else { return Ok(String::new()) }; // the test reads it
            let bytes = receiver.recv_timeout(Duration::from_secs(2));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        match (text(self.stdout.take()), text(self.stderr.take())) {
            (Ok(stdout), Ok(stderr)) => {
                Output { status, stdout, stderr, what: std::mem::take(&mut self.what) }
            }
            _ => panic!("{} ended, but a process it left holds its output open", self.what),
        }
    }

    fn end_within(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            if Instant::now() > end {
                let _ = killpg(self.pid(), Signal::SIGKILL);
                let _ = self.child.wait();
                panic!("{} did not end within {patience:?}", self.what);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The standard output of a command that runs.
#[derive(Debug)]
pub struct Lines(BufReader<ChildStdout>);

impl Lines {
    /// The next line, without its end; empty when there is none any more.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

/// Reads to the end in a thread of its own, so that a full pipe stops nobody.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

/// What a command answered.
#[derive(Debug, Clone)]
pub struct Output {
    /// As `waitpid(2)` says it.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    what: String,
}

impl Output {
    /// The exit status as a shell has it: 128 + n after signal n.
    pub fn code(&self) -> i32 {
        self.status.code().or(self.status.signal().map(|n| 128 + n)).unwrap_or(-1)
    }

    /// Panics, showing everything, unless the exit status is `code`. Answers itself.
    pub fn assert_code(&self, code: i32) -> &Self {
        assert!(self.code() == code, "{self} (expected exit status {code})");
        self
    }

    /// Panics, showing everything, unless standard output has `text`. Answers itself.
    pub fn assert_stdout(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "{self} (expected {text:?} on stdout)");
        self
    }

    /// Panics, showing everything, unless standard error has `text`. Answers itself.
    pub fn assert_stderr(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "{self} (expected {text:?} on stderr)");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, stdout, stderr, .. } = self;
        write!(f, "{what}\nexit status {}\nstdout: {stdout}\nstderr: {stderr}", self.code())
    }
}

/// A process outside: see [`Sandbox::victim`].
#[derive(Debug)]
pub struct Victim {
    child: Child,
}

impl Victim {
    fn start() -> Self {
        let child = Command::new("sleep").arg("3600").process_group(0).spawn();
        Self { child: child.expect("sleep can be run") }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Panics unless it is alive.
    pub fn assert_alive(&mut self) {
        let status = self.child.try_wait().expect("it is our child");
        assert!(status.is_none(), "the process outside was ended: {status:?}");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes what the sandboxes of the last test reported.
pub fn take_leaks() -> Vec<String> {
    std::mem::take(&mut *LEAKS.lock().unwrap_or_else(|poison| poison.into_inner()))
}

fn shared_rootfs() -> PathBuf {
    env::temp_dir().join(format!("inside-docker-rootfs-{}", std::process::id()))
}

/// Whether `path` is the root file system all tests share.
pub fn is_shared(path: &str) -> bool {
    Path::new(path) == shared_rootfs()
}

/// Removes the shared root file system after the last test.
pub fn remove_shared_rootfs() {
    if shared_rootfs().exists() {
        let _between_tests = super::only_test_on_this_machine();
        for leak in remove_tree(&shared_rootfs()) {
            eprintln!("{leak}");
        }
    }
}

/// Removes a directory tree of ours, never across a mount: first it detaches what is mounted
/// there. Answers what should not have been there.
fn remove_tree(directory: &Path) -> Vec<String> {
    let mut leaks = Vec::new();
    for point in mounts_below(directory).into_iter().rev() {
        let answer = umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        leaks.push(format!("mount left in the sandbox: {} ({answer:?})", point.display()));
    }
    if !mounts_below(directory).is_empty() {
        return leaks; // Removing now could remove what is mounted there.
    }
    if fs::remove_dir_all(directory).is_err() {
        // A directory without write permission in it stops a user who is not root.
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(directory).output();
        if let Err(error) = fs::remove_dir_all(directory) {
            leaks.push(format!("directory left: {}: {error}", directory.display()));
        }
    }
    leaks
}

/// Mount points in `directory`, each after those it lies on.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}
