//! Part 5 by effect: real containers, real packets.
//!
//! Everything happens in a network namespace and a mount namespace of this process alone: it
//! plays the host, another namespace behind a cable plays the world. The machine's own interfaces,
//! rules and settings are not touched.

// A test may stop at what it did not expect; clippy knows tests only by the usual harness.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod costs;
mod lab;
mod published;
mod reach;
mod server;
mod unprivileged;
mod volumes;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let argv: Vec<String> = std::env::args().collect();
    // The program in the containers is this one.
    if argv.get(1).is_some_and(|word| word == "serve") {
        server::serve(&argv[2]);
    }
    let mut arguments = Arguments::from_args();
    // `clone3` and `fork` copy one thread only.
    arguments.test_threads = Some(1);
    if !arguments.list
        && let Err(reason) = lab::enter()
    {
        println!("SKIPPED: {reason}");
        return;
    }
    let mut trials = Vec::new();
    trials.extend(reach::trials());
    trials.extend(published::trials());
    trials.extend(volumes::trials());
    trials.extend(unprivileged::trials());
    trials.extend(costs::trials());
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that leaves nothing behind: that is asserted after each.
fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        lab::assert_clean();
        Ok(())
    })
}
