//! Part 5 by effect: real containers, real packets.
//!
//! Everything happens in a network namespace and a mount namespace of this process alone: it
//! plays the host, another namespace behind a cable plays the world. The machine's own interfaces,
//! rules and settings are not touched.

// A test may stop at what it did not expect; clippy knows tests only by the usual harness.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod costs;
#[path = "../../../shared/tests/harness/mod.rs"]
mod harness;
mod lab;
mod published;
mod reach;
mod server;
mod unprivileged;
mod volumes;

use std::process::ExitCode;

use harness::{Need, Test, need, needs};

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args().collect();
    // The program in the containers is this one.
    if argv.get(1).is_some_and(|word| word == "serve") {
        server::serve(&argv[2]);
    }
    let mut tests = Vec::new();
    tests.extend(reach::tests());
    tests.extend(published::tests());
    tests.extend(volumes::tests());
    tests.extend(unprivileged::tests());
    if argv.iter().any(|word| word == "costs") {
        tests.extend(costs::tests());
    }
    harness::run(tests)
}

/// A test in the lab that needs no more than that.
fn test(name: &str, body: fn()) -> Test {
    test_with(name, needs![], body)
}

/// A test in the lab that leaves nothing behind: that is asserted after each.
fn test_with(name: &str, more: Vec<Need>, body: fn()) -> Test {
    let mut all = needs![root, bridge];
    all.extend(more);
    all.push(the_lab());
    harness::test(name, all, move || {
        body();
        lab::assert_clean();
        Ok(())
    })
}

/// Namespaces of our own. They are entered when the first test asks for them, once for all.
fn the_lab() -> Need {
    need::custom("lab", lab::enter)
}
