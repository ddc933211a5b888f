//! Every checkpoint of the book, run by the program that a learner runs.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use harness::{Sandbox, Test, TestResult, need, needs, test};
use shared::lab::checkpoint::{Checkpoint, pages};

/// An emulated kernel is slow, and a whole Debian is unpacked.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let checkpoints = pages::embedded().expect("the book is understood");
    let mut tests: Vec<_> = checkpoints.into_iter().map(of_checkpoint).collect();
    tests.push(test("there_are_enough", needs![], there_are_enough));
    let needs = needs![userns, binary("part1-chroot")];
    tests.push(test("a_program_of_the_learners_own_is_judged", needs, own_program));
    harness::run(tests)
}

fn of_checkpoint(checkpoint: Checkpoint) -> Test {
    let needs = checkpoint.needs.iter().map(need::of_checkpoint).collect();
    test(format!("checkpoint_{}", checkpoint.id), needs, move || passes(&checkpoint))
}

fn passes(checkpoint: &Checkpoint) -> TestResult {
    let sandbox = Sandbox::new()?;
    let id = checkpoint.id.to_string();
    let output = sandbox.run_for(PATIENCE, &["part5-network", "checkpoint", &id, "--yes"]);
    assert!(output.status.success(), "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("✓ as expected"), "{}", output.stdout);
    Ok(())
}

/// The small part 2 of the page for instructors passes where it should, and only there.
fn own_program() -> TestResult {
    let page = include_str!("../../book/src/instructors.md");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut scripts = blocks.filter(|block| block.starts_with("#!/bin/sh"));
    let script = scripts.next().ok_or("the page shows a program")?;
    let sandbox = Sandbox::new()?;
    let mine = sandbox.file("mine", script);
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o755))?;
    let judge = |ids: &[&str]| {
        let with = ["--yes", "--as", "part2-namespaces=./mine"];
        sandbox.run(&[&["part5-network", "checkpoint"], ids, &with].concat())
    };
    judge(&["2.3", "2.9"]).assert_code(0);
    // It masks nothing.
    judge(&["2.12"]).assert_code(1);
    Ok(())
}

/// At least 60, and 20 of them in part 1, which follows the article the project came from.
fn there_are_enough() -> TestResult {
    let checkpoints = pages::embedded()?;
    let of_part = |part| checkpoints.iter().filter(|c| c.part() == part).count();
    assert!(checkpoints.len() >= 60 && of_part(1) >= 20, "{} {}", checkpoints.len(), of_part(1));
    assert!((1..=5).all(|part| of_part(part) >= 8));
    Ok(())
}
