//! The program: its arguments, its environment, and `execve`.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use shared::error::{Error, Failed, Result};
use shared::part::{Joining, Request};
use shared::recipe::{Outcome, Place, Step};
use shared::shell::{all_quoted, quoted};
use shared::spec::Service;

/// What Docker sets, then what the service says.
fn variables(
    service: &Service,
    hostname: &str,
    home: &Path,
    terminal: bool,
) -> Vec<(String, String)> {
    let mut variables = vec![("PATH".to_owned(), PATH.to_owned())];
    variables.push(("HOSTNAME".into(), hostname.into()));
    if terminal {
        variables.push(("TERM".into(), "xterm".into()));
    }
    variables.push(("HOME".into(), home.display().to_string()));
    variables.extend(service.environment.iter().cloned());
    variables
}

/// Where programs are looked for when the service does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is executed, prepared before the process exists.
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<CString>,
    environment: Vec<CString>,
    /// Where it may be, in the order of `PATH`.
    candidates: Vec<CString>,
    /// Device and inode of our own binary: it must never run inside.
    ours: (u64, u64),
}

impl Program {
    /// The program of a request, run by a user whose home directory is `home`.
    ///
    /// # Errors
    /// An argument or variable holds a NUL byte.
    pub fn of(request: &Request, home: &Path) -> Result<Self> {
        let service = request.service;
        let argv: Vec<String> = if service.entrypoint.is_empty() && service.command.is_empty() {
            vec!["/bin/sh".into()]
        } else {
            service.entrypoint.iter().chain(&service.command).cloned().collect()
        };
        let hostname = service.hostname.as_deref().unwrap_or(&request.name);
        Self::new(&argv, variables(service, hostname, home, request.terminal))
    }

    /// A program that joins a running container.
    ///
    /// # Errors
    /// An argument or variable holds a NUL byte.
    pub fn joining(joining: &Joining, home: &Path) -> Result<Self> {
        let service = joining.service;
        let hostname = service.hostname.as_deref().unwrap_or(&joining.record.name);
        Self::new(&joining.command, variables(service, hostname, home, joining.terminal))
    }

    /// A program with its arguments and variables; of two variables with one name the later
    /// one counts.
    ///
    /// # Errors
    /// An argument or variable holds a NUL byte.
    pub fn new(argv: &[String], variables: Vec<(String, String)>) -> Result<Self> {
        let mut environment: Vec<(String, String)> = Vec::new();
        for (key, value) in variables {
            environment.retain(|(other, _)| *other != key);
            environment.push((key, value));
        }
        let path = environment.iter().find(|(key, _)| key == "PATH").map_or(PATH, |(_, v)| v);
        let program = argv.first().map_or("", String::as_str);
        let candidates = if program.contains('/') {
            vec![program.to_owned()]
        } else if program.is_empty() {
            Vec::new() // `PATH/` is a directory, not a program
        } else {
            path.split(':').map(|dir| format!("{dir}/{program}")).collect()
        };
        let ours = std::fs::metadata("/proc/self/exe").map(|m| (m.dev(), m.ino()));
        Ok(Self {
            argv: argv.iter().map(|a| c_string(a)).collect::<Result<_>>()?,
            environment: environment
                .iter()
                .map(|(key, value)| c_string(&format!("{key}={value}")))
                .collect::<Result<_>>()?,
            candidates: candidates.iter().map(|c| c_string(c)).collect::<Result<_>>()?,
            ours: ours.unwrap_or_default(),
        })
    }

    /// The last step of every recipe.
    pub fn execve(self) -> Step {
        let shown: Vec<_> = self.argv.iter().map(|a| a.to_string_lossy().into_owned()).collect();
        Step::new(1, Place::Child, shared::container::EXECVE)
            .what(format!("become {}", shown.first().map_or("nothing", String::as_str)))
            .why("the process keeps its walls and its pid; only its program changes")
            .section("1.15")
            .shell(format!("exec env -i {} \\\n  {}", self.shell_environment(), all_quoted(&shown)))
            .hint(
                "is it in the root file system, executable (chmod +x), with its libraries? \
                 `rootfs show` lists what is there",
            )
            .does(move || self.become_it())
    }

    fn shell_environment(&self) -> String {
        let variable = |pair: &CString| {
            let pair = pair.to_string_lossy();
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            format!("{}={}", quoted(key), quoted(value))
        };
        self.environment.iter().map(variable).collect::<Vec<_>>().join(" ")
    }

    // ANCHOR: become
    /// Tries each place the program may be. Comes back only when none worked.
    fn become_it(&self) -> Outcome {
        let mut worst = Failed::new(format!("execve({:?})", self.argv[0]), Errno::ENOENT);
        for candidate in &self.candidates {
            let path = PathBuf::from(candidate.to_string_lossy().into_owned());
            if self.is_ours(&path) {
                return Err(Failed::new(
                    format!("execve({candidate:?}) is this runtime's own binary"),
                    Errno::EACCES,
                ));
            }
            match nix::unistd::execve(candidate, &self.argv, &self.environment) {
                Err(Errno::ENOENT) if path.exists() => {
                    worst = Failed::new(
                        format!("execve({candidate:?}): its interpreter or loader is missing"),
                        Errno::ENOENT,
                    );
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => worst = Failed::new(format!("execve({candidate:?})"), errno),
                Ok(never) => match never {},
            }
        }
        Err(worst)
    }
    // ANCHOR_END: become

    /// Whether a path, or an interpreter that a script there asks for, is our own binary: inside,
    /// it could be overwritten once it runs (CVE-2019-5736). A script may change after we looked;
    /// then it finds what [`shared::sealed`] made.
    fn is_ours(&self, path: &Path) -> bool {
        let is =
            |path: &Path| std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == self.ours);
        std::iter::successors(Some(path.to_owned()), |path| interpreter(path))
            .take(1 + INTERPRETERS)
            .any(|path| is(&path))
    }
}

/// How often an interpreter may be a script itself before the kernel gives up.
const INTERPRETERS: usize = 5;

/// The interpreter of a script: `#!/bin/sh`, see `execve(2)`.
fn interpreter(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut start = [0; 256];
    // A program may be a pipe or a device: opening one could block for ever.
    let file = std::fs::metadata(path).ok()?.is_file().then(|| std::fs::File::open(path))?.ok()?;
    let length = { file }.read(&mut start).ok()?;
    interpreter_in(&start[..length])
}

/// The interpreter that the first bytes of a script ask for, cut where the kernel cuts it.
fn interpreter_in(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?;
    let path = line.trim_ascii_start().split(|b| b"\0\n \t".contains(b)).next()?;
    (!path.is_empty()).then(|| OsStr::from_bytes(path).into())
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new(format!("{text:?} holds a NUL byte, which no program can be given"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_ends_where_the_kernel_ends_it() {
        let path = |start: &[u8]| interpreter_in(start);
        for line in ["#!/y", "#!/y\n", "#! \t/y ps", "#!/y\tps", "#!/y\0 ps\n", "#!/y\0more"] {
            assert_eq!(path(line.as_bytes()), Some("/y".into()), "{line:?}");
        }
        assert_eq!(path(b"#!/\xff \n"), Some(OsStr::from_bytes(b"/\xff").into()));
        for nothing in ["", "#", "#!", "#! \t", "#!\0/y", "\x7fELF", " #!/y"] {
            assert_eq!(path(nothing.as_bytes()), None, "{nothing:?}");
        }
    }

    #[test]
    fn scripts_of_scripts_are_followed_as_far_as_the_kernel_does() {
        let directory = tempfile::tempdir().unwrap();
        let script = |n: usize| directory.path().join(n.to_string());
        std::fs::write(script(0), "#!/proc/self/exe ps\n").unwrap();
        for n in 1..8 {
            std::fs::write(script(n), format!("#!{}", script(n - 1).display())).unwrap();
        }
        let program = Program::new(&["x".into()], Vec::new()).unwrap();
        // Script 4 asks for the fifth interpreter, in the end: ours.
        assert!((0..=4).all(|n| program.is_ours(&script(n))));
        // The kernel does not go further either.
        assert!(!program.is_ours(&script(5)));
        assert!(!program.is_ours(Path::new("/bin/sh")) && !program.is_ours(&script(9)));
    }
}
