//! A root file system from this machine's tools: does everything in it work?

// A test says what went wrong by where it stopped.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use harness::{TestResult, needs, test};
use shared::rootfs::{Report, elf, host, validate};

fn main() -> ExitCode {
    harness::run(vec![
        test("every_library_is_there", needs![], every_library_is_there),
        test(
            "no_program_lacks_a_library_when_it_starts",
            needs![root],
            no_program_lacks_a_library_when_it_starts,
        ),
        test("it_has_what_work_needs", needs![], it_has_what_work_needs),
        test("it_is_a_place_to_work_in", needs![root], it_is_a_place_to_work_in),
        test(
            "with_proc_it_sees_processes_and_their_owners",
            needs![root, program("ps"), program("top"), program("ip")],
            with_proc_it_sees_processes_and_their_owners,
        ),
        test("nothing_in_it_is_the_hosts", needs![], nothing_in_it_is_the_hosts),
        test(
            "an_ordinary_user_can_make_one",
            needs![root, program("setpriv")],
            an_ordinary_user_can_make_one,
        ),
        test("it_is_quick", needs![], it_is_quick),
    ])
}

fn make() -> (tempfile::TempDir, PathBuf, Report) {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let report = host::create(&tree, false).unwrap();
    (dir, tree, report)
}

/// Every file below `dir` that is no directory, links not followed.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

/// What a script says that runs inside, as root.
fn inside(tree: &Path, script: &str) -> String {
    let output = Command::new("chroot")
        .arg(tree)
        .args(["/bin/sh", "-c", script])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{text}{errors}");
    text + &errors
}

fn every_library_is_there() -> TestResult {
    let (_dir, tree, _) = make();
    let files = files(&tree);
    let names: HashSet<_> = files.iter().filter_map(|file| file.file_name()).collect();
    let mut programs = 0;
    for file in &files {
        let regular = fs::symlink_metadata(file).unwrap().is_file();
        let Some(elf) = regular.then(|| elf::read(file).unwrap()).flatten() else { continue };
        programs += 1;
        for library in &elf.needed {
            let name = library.file_name().unwrap();
            assert!(names.contains(name), "{} needs {}", file.display(), library.display());
        }
        if let Some(loader) = elf.interpreter {
            assert!(names.contains(loader.file_name().unwrap()), "{}", loader.display());
        }
    }
    assert!(programs > 20, "only {programs} programs");
    Ok(())
}

fn no_program_lacks_a_library_when_it_starts() -> TestResult {
    let (_dir, tree, report) = make();
    // The loader lists what it would load; a static program ignores the variable, so `probe` and
    // shell built-ins are left out by asking only files that have a loader.
    let script = "for p in \"$@\"; do f=$(command -v $p); case $f in /*) \
                  LD_TRACE_LOADED_OBJECTS=1 $f 2>&1 | grep 'not found' && echo $p;; esac; done; :";
    let programs = report.programs.iter().filter(|name| !["probe", "["].contains(&name.as_str()));
    let output = Command::new("chroot")
        .arg(&tree)
        .args(["/bin/sh", "-c", script, "sh"])
        .args(programs)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(output.status.success());
    Ok(())
}

fn it_has_what_work_needs() -> TestResult {
    let (_dir, tree, report) = make();
    validate(&tree).unwrap();
    for name in ["sh", "ls", "cat", "id", "grep", "mount", "probe"] {
        assert!(report.programs.iter().any(|have| have == name), "no {name}");
    }
    Ok(())
}

fn it_is_a_place_to_work_in() -> TestResult {
    let (_dir, tree, _) = make();
    let text = inside(&tree, "ls /; id; ls -ld /root; echo a b | awk '{print $2}'");
    for expected in ["proc\n", "uid=0(root) gid=0(root)", "root root", "\nb\n"] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    Ok(())
}

fn with_proc_it_sees_processes_and_their_owners() -> TestResult {
    let (_dir, tree, _) = make();
    // Namespaces of its own: the mounts are gone with the shell. It wants /dev/null for what it
    // runs in the background; that has become `probe` a moment later. (Not `ps aux`, nor `top`
    // where the machine's fails, too: they take some kernels' /proc/cpuinfo for none.)
    let script = format!(
        "mount -t proc proc {0}/proc && touch {0}/dev/null && mount --bind /dev/null {0}/dev/null \
         && exec chroot {0} /bin/sh -c 'probe sleep 30 & \
         until ps -C probe || [ $((i=i+1)) -gt 99 ]; do sleep 0.1; done; \
         ps -eo user,args; top -b -n1 >/dev/null && echo top works; ip -br link && \
         probe look --json && probe forks 3'",
        tree.display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let of_root = |line: &str| line.starts_with("root") && line.ends_with(" probe sleep 30");
    assert!(text.lines().any(of_root), "{text}");
    let top = Command::new("top").args(["-b", "-n1"]).output()?.status.success();
    assert_eq!(text.contains("top works"), top, "{text}{errors}");
    assert!(text.contains("started 3 of 3"), "{text}");
    // `probe look --json` is JSON, and sees the few processes of its namespace.
    let start = text.find("{\n").unwrap();
    let end = text.find("\n}\n").unwrap() + 3;
    let seen: serde_json::Value = serde_json::from_str(&text[start..end]).unwrap();
    assert!(seen["processes"].as_u64().unwrap() < 8, "{seen}");
    assert_eq!(seen["uid"], 0);
    Ok(())
}

fn nothing_in_it_is_the_hosts() -> TestResult {
    let (_dir, tree, report) = make();
    for file in files(&tree) {
        let found = fs::symlink_metadata(&file).unwrap();
        assert_eq!(found.mode() & 0o6000, if found.is_file() { 0 } else { found.mode() & 0o6000 });
    }
    for source in &report.sources {
        let copy = tree.join(source.path.strip_prefix("/").unwrap());
        let (copy, original) = (fs::metadata(copy).unwrap(), fs::metadata(&source.path).unwrap());
        assert_ne!((copy.dev(), copy.ino()), (original.dev(), original.ino()));
    }
    Ok(())
}

fn an_ordinary_user_can_make_one() -> TestResult {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The test program itself, copied to where that user can start it.
    let program = dir.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for name in ["every_library_is_there", "it_has_what_work_needs"] {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["--exact", name])
            .env("TMPDIR", dir.path())
            .env(harness::LOCK_IS_HELD, "1")
            .current_dir(dir.path())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    }
    Ok(())
}

fn it_is_quick() -> TestResult {
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    host::create(&dir.path().join("tree"), false).unwrap();
    let made = start.elapsed();
    let cache = dir.path().join("cache");
    host::ensure(&cache).unwrap();
    let best = (0..20).map(|_| {
        let start = Instant::now();
        host::ensure(&cache).unwrap();
        start.elapsed()
    });
    let best = best.min().unwrap();
    eprintln!("made in {made:?}, found fresh in {best:?}");
    // Far above what it takes, far below what anybody would wait: machines under load differ.
    assert!(made.as_secs() < 10 && best.as_millis() < 50);
    Ok(())
}
