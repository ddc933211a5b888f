//! The sessions of the README, as one, typed as they stand there.
//!
//! `cargo run -p part1-chroot -- ARGUMENTS` is answered by the program that cargo built before the
//! tests: everything else is real, in a network namespace of its own.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use harness::{Sandbox, TestResult, needs, sandbox, test};

/// What answers for cargo.
const CARGO: &str = r#"#!/bin/sh
[ "$1" = run ] || exit 99
shift
program=part5-network
while [ "$1" != -- ]; do
    case $1 in -p) program=$2; shift ;; -q) ;; *) exit 99 ;; esac
    shift
done
shift
exec "PROGRAMS/$program" "$@"
"#;

fn main() -> ExitCode {
    let needs =
        needs![root, bridge, nft, overlay, cgroups, binary("part1-chroot"), binary("probe")];
    let programs = needs![program("curl"), program("ps"), program("pgrep")];
    let all = needs.into_iter().chain(programs).collect();
    harness::run(vec![test("every_session_is_as_it_stands_there", all, sessions)])
}

fn sessions() -> TestResult {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("a workspace")?;
    let readme = fs::read_to_string(repository.join("README.md"))?;
    let sessions: Vec<&str> =
        readme.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(sessions.len() >= 8, "{} sessions were found", sessions.len());
    let indented: String = sessions.concat().lines().map(|line| format!("  {line}\n")).collect();

    let sandbox = Sandbox::new()?;
    let programs = sandbox::binary("part5-network");
    let programs = programs.parent().ok_or("it lies in a directory")?.display().to_string();
    let cargo = sandbox.file("bin/cargo", CARGO.replace("PROGRAMS", &programs));
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;
    sandbox.file(
        "book/readme.md",
        format!(
            "```yaml checkpoint\nid: 5.1\ntitle: The README\nminutes: 5\nneeds: [root]\n\
             unshare: [net]\nsession: |\n  $ PATH={}:$PATH; cd '{}'\n{indented}hint: none\n\
             because: it says so\n```\n",
            sandbox.dir().join("bin").display(),
            repository.display(),
        ),
    );
    let checkpoint = ["part5-network", "checkpoint", "5.1", "--yes", "--book", "book"];
    let output = sandbox.run(&checkpoint);
    assert!(output.status.success(), "{}\n{}", output.stdout, output.stderr);
    Ok(())
}
