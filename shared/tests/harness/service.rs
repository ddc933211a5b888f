//! A shell script as a service: what most tests run behind the walls of a part.

use super::sandbox::{Output, Sandbox, binary};

impl Sandbox {
    /// Writes a `service-specs.yml` whose service `one` runs `script` in the root file system that
    /// all tests share, with more `keys`: `"cap_add: [SYS_ADMIN]"`. Its own `x-rootfs: DIR` may be
    /// among them. Answers the file's path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn service(&self, keys: &[&str], script: &str) -> String {
        let mut text = String::from("services:\n  one:\n    image: host\n");
        if !keys.iter().any(|key| key.starts_with("x-rootfs:")) {
            text.push_str(&format!("    x-rootfs: {}\n", self.rootfs().display()));
        }
        for key in keys {
            text.push_str(&format!("    {key}\n"));
        }
        // A JSON string is a YAML string; a dollar sign would be a variable of Compose.
        let script = format!("{script:?}").replace("\\'", "'").replace('$', "$$");
        text.push_str(&format!("    command: [sh, -c, {script}]\n"));
        self.spec(&text).to_str().expect("our paths are text").to_owned()
    }

    /// Runs `script` behind the walls of `part`: see [`Sandbox::service`].
    ///
    /// # Panics
    /// As [`Sandbox::run`].
    pub fn run_service(&self, part: &str, keys: &[&str], script: &str) -> Output {
        self.run(&[part, "run", &self.service(keys, script)])
    }

    /// Runs `script` behind the wall of part 1, which is hardly one, with a `/proc` to see it by:
    /// what must fail in part 2 works there. For root; in a mount namespace of its own.
    ///
    /// # Panics
    /// As [`Sandbox::run`].
    pub fn run_in_part1(&self, script: &str) -> Output {
        let (rootfs, part1) = (self.rootfs(), binary("part1-chroot"));
        let command = format!(
            "mount -t proc proc {0}/proc && exec {1} run --rootfs {0} -- sh -c \"$0\"",
            rootfs.display(),
            part1.display()
        );
        self.run(&["unshare", "--mount", "sh", "-ec", &command, script])
    }
}
