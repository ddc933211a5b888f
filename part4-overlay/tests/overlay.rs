//! Part 4 by effect: one image, many containers, each with changes of its own.

#[path = "../../shared/tests/harness/mod.rs"]
mod harness;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Need, Output, Sandbox, TestResult, need, needs, test};
use nix::unistd::geteuid;

const PART2: &str = "part2-namespaces";
const PART4: &str = "part4-overlay";

fn main() -> ExitCode {
    harness::run(vec![
        test("the_image_stays_as_it_is", overlays(), image_unchanged),
        test("part_2_changes_its_tree", needs![userns, binary(PART2)], part2_changes),
        test("two_containers_on_one_image_do_not_meet", overlays(), two_containers),
        test("diff_names_what_changed", overlays(), diff),
        test("diff_sees_a_directory_made_anew", overlays(), diff_opaque),
        test("diff_is_json_when_asked", overlays(), diff_json),
        test("a_read_only_root_is_read_only", overlays(), read_only),
        test("rm_removes_what_it_wrote", overlays(), removed),
        test("rm_removes_what_its_other_users_wrote", subordinate(), others_files_removed),
        test("diff_sees_what_its_other_users_wrote", subordinate(), diff_of_others),
        test("diff_shows_signs_that_steer_a_terminal", overlays(), diff_escapes),
        test("a_foreground_container_keeps_nothing", overlays(), foreground),
        test("exec_writes_to_the_same_layer", overlays(), exec),
        test("metadata_comes_through", overlays(), metadata),
        test("a_path_with_signs_in_it_is_an_image", overlays(), strange_path),
        test("the_default_image_is_shared", overlays(), default_image),
        test("a_disk_that_cannot_hold_a_layer_is_named", needs![root, overlay], bad_disk),
    ])
}

/// Overlays, by root or in a user namespace.
fn overlays() -> Vec<Need> {
    if geteuid().is_root() { needs![overlay] } else { needs![userns, overlay_userns] }
}

fn subordinate() -> Vec<Need> {
    let mut needs = overlays();
    needs.push(need::subuid());
    needs
}

fn part4(sandbox: &Sandbox, words: &[&str]) -> Output {
    sandbox.run(&[&[PART4], words].concat())
}

/// Runs a script in a container `name` that is kept until `rm`, and waits for its end.
fn leave(sandbox: &Sandbox, name: &str, keys: &[&str], script: &str) {
    let name_key = format!("container_name: {name}");
    let spec = sandbox.service(&[&[&*name_key], keys].concat(), script);
    part4(sandbox, &["run", "-d", &spec]).assert_code(0);
    let end = Instant::now() + Duration::from_secs(30);
    while part4(sandbox, &["ps", "-q"]).stdout.lines().any(|line| line == name) {
        assert!(Instant::now() < end, "{name} does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Everything about a tree that a container could change.
fn fingerprint(directory: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        let found = fs::symlink_metadata(&path).expect("it is there");
        (&path, found.mode(), found.uid(), found.gid(), found.mtime(), found.mtime_nsec())
            .hash(&mut hasher);
        if found.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path)
                .expect("a directory")
                .map(|e| e.expect("an entry").path())
                .collect();
            below.sort();
            todo.extend(below);
        } else if found.is_file() {
            fs::read(&path).expect("it is ours").hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Changes a tree in every way there is.
const HAVOC: &str = "echo changed >>/etc/passwd; rm -r /usr/bin/env /var/log; touch /new; \
                     mkdir -p /deep/down; mv /etc/hosts /etc/moved; chmod 777 /srv; \
                     ln -sf /new /etc/mtab; touch -d 2001-01-01 /etc/group; echo done";

fn image_unchanged() -> TestResult {
    let sandbox = Sandbox::new()?;
    let before = fingerprint(&sandbox.rootfs());
    sandbox.run_service(PART4, &[], HAVOC).assert_code(0).assert_stdout("done");
    assert_eq!(fingerprint(&sandbox.rootfs()), before);
    leave(&sandbox, "one", &[], HAVOC);
    assert_eq!(fingerprint(&sandbox.rootfs()), before);
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    Ok(())
}

/// Without a layer the tree itself is changed: the fingerprint would show it.
fn part2_changes() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    let before = fingerprint(&rootfs);
    let key = format!("x-rootfs: {}", rootfs.display());
    sandbox.run_service(PART2, &[&key], HAVOC).assert_code(0).assert_stdout("done");
    assert_ne!(fingerprint(&rootfs), before);
    Ok(())
}

fn two_containers() -> TestResult {
    let sandbox = Sandbox::new()?;
    for name in ["one", "two"] {
        let keys = [&*format!("container_name: {name}")];
        let spec = sandbox.service(&keys, &format!("echo {name} >/mark; echo ready; sleep 60"));
        part4(&sandbox, &["run", "-d", &spec]).assert_code(0);
    }
    let see = |name: &str, script: &str| {
        let end = Instant::now() + Duration::from_secs(30);
        while part4(&sandbox, &["logs", name]).stdout.is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        part4(&sandbox, &["exec", name, "sh", "-c", script]).stdout
    };
    assert_eq!(see("one", "cat /mark; rm /etc/passwd; ls /etc/passwd"), "one\n");
    assert_eq!(see("two", "cat /mark; ls /etc/passwd"), "two\n/etc/passwd\n");
    part4(&sandbox, &["rm", "-f", "one", "two"]).assert_code(0);
    Ok(())
}

fn diff() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "echo new >/srv/new; mkdir -p /opt/a/b; echo x >>/etc/hosts; chmod 700 /media; \
                  rm /etc/profile; rm -r /var/spool; ln -s nowhere /srv/link; touch /tmp/gone; \
                  rm /tmp/gone; mkfifo /srv/pipe";
    leave(&sandbox, "one", &[], script);
    let output = part4(&sandbox, &["diff", "one"]);
    let found: Vec<_> = output.assert_code(0).stdout.lines().collect();
    let expected = [
        "C /etc",
        "C /etc/hosts",
        "D /etc/profile",
        "C /media",
        "C /opt",
        "A /opt/a",
        "A /opt/a/b",
        "C /srv",
        "A /srv/link",
        "A /srv/new",
        "A /srv/pipe",
        "C /tmp",
        "C /var",
        "D /var/spool",
    ];
    assert_eq!(found, expected, "{output}");
    // A container that changed nothing has nothing to show.
    leave(&sandbox, "two", &[], "ls / >/dev/null");
    assert_eq!(part4(&sandbox, &["diff", "two"]).assert_code(0).stdout, "");
    part4(&sandbox, &["rm", "one", "two"]).assert_code(0);
    Ok(())
}

/// Removed and made again, a directory hides what the image has in it.
fn diff_opaque() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    fs::create_dir_all(rootfs.join("srv/old/deep"))?;
    fs::write(rootfs.join("srv/old/file"), "of the image")?;
    fs::write(rootfs.join("srv/old/kept"), "of the image")?;
    let key = format!("x-rootfs: {}", rootfs.display());
    let script = "rm -r /srv/old; mkdir /srv/old; echo again >/srv/old/kept; ls /srv/old >/list";
    leave(&sandbox, "one", &[&key], script);
    let output = part4(&sandbox, &["diff", "one"]);
    let found: Vec<_> = output.assert_code(0).stdout.lines().collect();
    let expected = [
        "A /list",
        "C /srv",
        "C /srv/old",
        "D /srv/old/deep",
        "D /srv/old/file",
        "C /srv/old/kept",
    ];
    assert_eq!(found, expected, "{output}");
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    assert!(rootfs.join("srv/old/file").exists());
    Ok(())
}

fn diff_json() -> TestResult {
    let sandbox = Sandbox::new()?;
    leave(&sandbox, "one", &[], "echo x >/new; rm /etc/profile");
    let output = part4(&sandbox, &["diff", "--json", "one"]);
    let list: serde_json::Value = serde_json::from_str(&output.assert_code(0).stdout)?;
    let expected = serde_json::json!([
        {"path": "/etc", "kind": "changed"},
        {"path": "/etc/profile", "kind": "deleted"},
        {"path": "/new", "kind": "added"},
    ]);
    assert_eq!(list, expected);
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    part4(&sandbox, &["diff", "one"]).assert_code(125).assert_stderr("no container called");
    if harness::sandbox::binary(PART2).is_file() {
        let spec = sandbox.service(&["container_name: one"], "true");
        sandbox.run(&[PART2, "run", "-d", &spec]).assert_code(0);
        let output = part4(&sandbox, &["diff", "one"]);
        output.assert_code(125).assert_stderr("has no layer of its own");
        part4(&sandbox, &["rm", "--force", "one"]).assert_code(0);
    }
    Ok(())
}

fn read_only() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec =
        sandbox.service(&["tmpfs: [/run]"], "touch /file /etc/file; touch /run/file && echo run");
    let output = part4(&sandbox, &["run", "--read-only", &spec]);
    output.assert_code(0).assert_stdout("run");
    assert_eq!(output.stderr.matches("Read-only file system").count(), 2, "{output}");
    Ok(())
}

/// Where the container `name` keeps what it wrote.
fn data(sandbox: &Sandbox, name: &str) -> std::path::PathBuf {
    sandbox.home().join("data/containers").join(name)
}

fn removed() -> TestResult {
    let sandbox = Sandbox::new()?;
    leave(&sandbox, "one", &[], &format!("{HAVOC}; chmod 000 /deep; chmod 555 /"));
    assert!(data(&sandbox, "one").join("upper/new").exists());
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    assert!(!data(&sandbox, "one").exists());
    // The same name starts from the image again.
    leave(&sandbox, "one", &[], "ls /new /etc/hosts");
    let output = part4(&sandbox, &["logs", "one"]);
    assert!(output.stdout.contains("\n/etc/hosts") || output.stdout.ends_with("/etc/hosts\n"));
    assert!(output.stdout.contains("cannot access '/new'"), "{output}");
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    Ok(())
}

/// To an ordinary user these belong to subordinate ids: `rm` alone could not remove them.
fn others_files_removed() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "mkdir -m 777 /drop; setpriv --reuid=33 --regid=33 --clear-groups \
                  sh -c 'mkdir -m 700 /drop/own; echo secret >/drop/own/file'; ls -ld /drop/own";
    leave(&sandbox, "one", &[], script);
    part4(&sandbox, &["logs", "one"]).assert_stdout("www-data");
    let owner = fs::symlink_metadata(data(&sandbox, "one").join("upper/drop/own"))?.uid();
    assert_ne!(owner, geteuid().as_raw());
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    assert!(!data(&sandbox, "one").exists());
    // In the foreground, too.
    sandbox.run_service(PART4, &[], script).assert_code(0);
    assert!(!data(&sandbox, "one").exists());
    Ok(())
}

/// An ordinary user may not look into them.
fn diff_of_others() -> TestResult {
    let sandbox = Sandbox::new()?;
    let script = "mkdir -m 700 /data; echo >/data/file; echo >/data/$(printf 'no\\377text'); \
                  rm /etc/profile; chown -R 33:33 /data";
    leave(&sandbox, "one", &[], script);
    let expected = "A /data\nA /data/file\nA /data/no\u{fffd}text\nC /etc\nD /etc/profile\n";
    assert_eq!(part4(&sandbox, &["diff", "one"]).assert_code(0).stdout, expected);
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    Ok(())
}

fn diff_escapes() -> TestResult {
    let sandbox = Sandbox::new()?;
    leave(&sandbox, "one", &[], "touch \"/a$(printf '\\033[2J\\nb')ü\"");
    assert_eq!(part4(&sandbox, &["diff", "one"]).stdout, "A /a\\u{1b}[2J\\nbü\n");
    let list: serde_json::Value =
        serde_json::from_str(&part4(&sandbox, &["diff", "--json", "one"]).stdout)?;
    assert_eq!(list[0]["path"], "/a\u{1b}[2J\nbü");
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    Ok(())
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

fn foreground() -> TestResult {
    let sandbox = Sandbox::new()?;
    sandbox.run_service(PART4, &[], &format!("{HAVOC}; exit 4")).assert_code(4);
    sandbox.run(&[PART4, "run", "--rootfs", "nowhere", "--", "true"]).assert_code(125);
    let rootfs = sandbox.rootfs();
    let rootfs = rootfs.to_str().ok_or("text")?;
    sandbox.run(&[PART4, "run", "--rootfs", rootfs, "--", "no-such-program"]).assert_code(127);
    assert!(is_empty(&sandbox.home().join("data/containers")));
    assert!(is_empty(&sandbox.home().join("run/containers")));
    Ok(())
}

fn exec() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.service(&["container_name: one"], "exec sleep 60");
    part4(&sandbox, &["run", "-d", &spec]).assert_code(0);
    part4(&sandbox, &["exec", "one", "touch", "/from-exec"]).assert_code(0);
    part4(&sandbox, &["diff", "one"]).assert_stdout("A /from-exec\n");
    // What was written is still there when it has stopped.
    part4(&sandbox, &["stop", "-t", "0", "one"]).assert_code(0);
    part4(&sandbox, &["diff", "one"]).assert_stdout("A /from-exec\n");
    part4(&sandbox, &["rm", "one"]).assert_code(0);
    Ok(())
}

fn metadata() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.own_rootfs();
    fs::write(rootfs.join("srv/file"), "text")?;
    fs::set_permissions(
        rootfs.join("srv/file"),
        std::os::unix::fs::PermissionsExt::from_mode(0o640),
    )?;
    let key = format!("x-rootfs: {}", rootfs.display());
    let script = "stat -c '%a %s' /srv/file; echo more >>/srv/file; stat -c '%a %s' /srv/file; \
                  stat -c %a / /tmp; chmod +x /srv/file; mv /srv /other; cat /other/file";
    let output = sandbox.run_service(PART4, &[&key], script);
    let expected = "640 4\n640 9\n755\n1777\ntextmore\n";
    assert_eq!(output.assert_code(0).stdout, expected, "{output}");
    Ok(())
}

/// Colons and commas stand between the options of an overlay.
fn strange_path() -> TestResult {
    let sandbox = Sandbox::new()?;
    for name in ["a:b", "c,d", "e f", "g\\h"] {
        let rootfs = sandbox.dir().join(name);
        let path = rootfs.to_str().ok_or("text")?;
        sandbox.run(&[PART4, "rootfs", "create", path]).assert_code(0);
        // Here lies the image, and what the container writes: the upper layer.
        let mut command = sandbox.command(PART4);
        command.args(["run", "--rootfs", path, "--", "sh", "-c", "touch /x && echo fine"]);
        command.env("INSIDE_DOCKER_HOME", sandbox.home().join(name));
        let output = harness::Running::start(command).wait(Duration::from_secs(60));
        output.assert_code(0).assert_stdout("fine");
        assert!(!rootfs.join("x").exists());
    }
    Ok(())
}

fn default_image() -> TestResult {
    let sandbox = Sandbox::new()?;
    let spec = sandbox.spec("services:\n  one:\n    image: host\n    command: [touch, /x]\n");
    let spec = spec.to_str().ok_or("text")?;
    for _ in 0..2 {
        part4(&sandbox, &["run", spec]).assert_code(0);
    }
    let image = sandbox.home().join("data/images/host/current");
    assert!(image.join("usr/bin/probe").exists() && !image.join("x").exists());
    Ok(())
}

/// An overlay's changes cannot lie on another overlay.
fn bad_disk() -> TestResult {
    let sandbox = Sandbox::new()?;
    let rootfs = sandbox.rootfs();
    let script = format!(
        "mkdir lower upper work merged; mount -t tmpfs none upper; mkdir upper/u upper/w
         mount -t overlay none -o lowerdir=lower,upperdir=upper/u,workdir=upper/w merged
         INSIDE_DOCKER_HOME=$PWD/merged {} run --rootfs {} -- true || echo status $?
         find merged -mindepth 3",
        harness::sandbox::binary(PART4).display(),
        rootfs.display()
    );
    let output = sandbox.run(&["unshare", "--mount", "sh", "-ec", &script]);
    output.assert_code(0).assert_stderr("INSIDE_DOCKER_HOME=DIR").assert_stderr("part 4");
    assert_eq!(output.stdout, "status 125\n", "{output}");
    Ok(())
}
