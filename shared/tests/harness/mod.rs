//! What every integration test stands on: it runs one test at a time, says why a test cannot
//! run here, and fails a test that leaves anything behind on the machine.
//!
//! A test binary sets `harness = false` in its `Cargo.toml` and looks like this:
//!
//! ```ignore
//! #[path = "../../shared/tests/harness/mod.rs"]
//! mod harness;
//!
//! use harness::{Sandbox, TestResult, needs, test};
//!
//! fn main() -> std::process::ExitCode {
//!     harness::run(vec![test("its_host_name_is_its_own", needs![userns], host_name)])
//! }
//!
//! fn host_name() -> TestResult {
//!     let sandbox = Sandbox::new()?;
//!     …
//! }
//! ```
//!
//! Two variables of the environment matter: `INSIDE_DOCKER_NO_SKIP` (see [`need`]) and
//! `INSIDE_DOCKER_DEBIAN` (see [`need::debian`]).
#![allow(dead_code, unused_imports, unused_macros)]

pub mod footprint;
pub mod need;
pub mod pty;
mod reaper;
pub mod sandbox;
mod service;

use std::any::Any;
use std::error::Error;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

pub use footprint::Footprint;
pub use need::Need;
pub use pty::Pty;
pub use sandbox::{Lines, Output, Running, Sandbox, Victim};

/// Set for a harness that runs inside a test.
pub const LOCK_IS_HELD: &str = "INSIDE_DOCKER_TEST_LOCK_IS_HELD";

/// What a test answers. It may also panic: `assert!` is welcome.
pub type TestResult = Result<(), Box<dyn Error>>;

/// How long the kernel may take to clean up after a test (a network namespace ends later than
/// its last process).
const GRACE: Duration = Duration::from_secs(2);

/// One test: see [`test`].
pub struct Test {
    name: String,
    needs: Vec<Need>,
    body: Box<dyn FnOnce() -> TestResult + Send>,
}

/// A test with its needs: `test("name", needs![root, cgroup_v2], function)`.
pub fn test(
    name: impl Into<String>,
    needs: Vec<Need>,
    body: impl FnOnce() -> TestResult + Send + 'static,
) -> Test {
    Test { name: name.into(), needs, body: Box::new(body) }
}

/// The needs of a test by name: `needs![root, program("crun")]`. They are the functions of
/// [`need`]. The harness must be `mod harness` at the top of the test's crate.
macro_rules! needs {
    ($($need:ident $(($argument:expr))?),* $(,)?) => {
        vec![$($crate::harness::need::$need($($argument)?)),*]
    };
}
pub(crate) use needs;

/// Runs the tests the way `cargo test` expects it, one at a time.
pub fn run(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Containers share one machine: two tests at once would see each other's traces.
    arguments.test_threads.get_or_insert(1);
    hear_signals();
    if !arguments.list && !reaper::runs_us() {
        return reaper::run_below_a_reaper();
    }
    reaper::end_with_it();
    let skipped = Arc::new(Mutex::new(Vec::new()));
    let trials = tests.into_iter().map(|test| trial(test, skipped.clone())).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    sandbox::remove_shared_rootfs();
    print_skipped(&skipped.lock().expect("no test panics here"));
    conclusion.exit_code()
}

/// `nohup`, or a shell that started us in the background, has us ignore signals. All that we start
/// would ignore them, too, and a program cannot wait for what it was told to ignore.
fn hear_signals() {
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let _ = shared::sys::set_signal(signal, false);
    }
}

/// The tests that were skipped, with the reason.
type Skipped = Arc<Mutex<Vec<(String, String)>>>;

fn trial(test: Test, skipped: Skipped) -> Trial {
    let name = test.name.clone();
    Trial::ignorable_test(test.name, move || {
        if let Some(reason) = need::first_unmet(&test.needs).map_err(Failed::from)? {
            skipped.lock().expect("no test panics here").push((name, reason.clone()));
            return Ok(Completion::ignored_with(reason));
        }
        judge(test.body).map(|()| Completion::Completed).map_err(Failed::from)
    })
}

/// Runs one test and looks for what it left behind.
fn judge(body: Box<dyn FnOnce() -> TestResult + Send>) -> Result<(), String> {
    let _one_at_a_time = only_test_on_this_machine();
    let before = Footprint::take();
    let outcome = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(panic_message(&*panic)),
    };
    let mut left = before.differences(GRACE);
    left.extend(sandbox::take_leaks());
    if left.is_empty() {
        return outcome;
    }
    // What a failed test left must not spoil the next one.
    footprint::kill_leftover_processes(&before);
    let left = format!("left behind:\n  {}", left.join("\n  "));
    Err(match outcome {
        Ok(()) => left,
        Err(failure) => format!("{failure}\n{left}"),
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the test panicked")
        .to_string()
}

/// Held while a test runs. Another checkout's tests on the same machine wait, because either
/// would take the other's mounts and links for leftovers. (The harness's own tests run a second
/// harness inside a test; it is told that the lock is held.)
pub fn only_test_on_this_machine() -> Option<Flock<File>> {
    if std::env::var_os(LOCK_IS_HELD).is_some() {
        return None;
    }
    // A directory can be locked, too: nothing of ours needs to lie there.
    let directory = File::open("/tmp").ok()?;
    Flock::lock(directory, FlockArg::LockExclusive).ok()
}

/// The last lines of the output: how many tests were skipped, and why.
fn print_skipped(skipped: &[(String, String)]) {
    if skipped.is_empty() {
        return;
    }
    let mut reasons: Vec<&str> = skipped.iter().map(|(_, reason)| reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    println!("SKIPPED {}: {}", skipped.len(), reasons.join("; "));
    for (name, reason) in skipped {
        println!("SKIPPED   {name}: {reason}");
    }
    println!();
}
