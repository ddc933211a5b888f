//! From the name of a library to its file, as the machine's loader would find it.
//!
//! glibc's loader has its directories built in, and reads a cache made from `/etc/ld.so.conf`;
//! musl's reads `/etc/ld-musl-ARCH.path` or has three directories built in. We look through all of
//! them, and take only what is for the same machine: so one rule is right for Debian, Ubuntu,
//! Fedora, Arch and Alpine. See `ld.so(8)`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::elf::{self, Elf};

/// Directories some loader has built in. `{arch}` is the machine, as in `x86_64-linux-gnu`.
const BUILT_IN: [&str; 8] = [
    "/lib/{arch}-linux-gnu",
    "/usr/lib/{arch}-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
];

/// Finds libraries, each file looked at once.
pub struct Libraries {
    directories: Vec<PathBuf>,
    seen: HashMap<PathBuf, Option<Elf>>,
}

impl Libraries {
    /// The directories of this machine.
    pub fn of_this_machine() -> Self {
        Self::below(Path::new("/"))
    }

    /// The directories of the machine whose root directory is `root`.
    pub fn below(root: &Path) -> Self {
        let mut directories = Vec::new();
        configured(root, Path::new("/etc/ld.so.conf"), &mut directories, 0);
        let musl = format!("/etc/ld-musl-{}.path", std::env::consts::ARCH);
        directories.extend(words(root, Path::new(&musl)).into_iter().map(PathBuf::from));
        let built_in = BUILT_IN.map(|dir| dir.replace("{arch}", std::env::consts::ARCH));
        directories.extend(built_in.into_iter().map(PathBuf::from));
        let mut known = std::collections::HashSet::new();
        directories.retain(|dir| dir.is_absolute() && known.insert(dir.clone()));
        Self { directories, seen: HashMap::new() }
    }

    /// The file that `name`, needed by `user`, stands for; `program` is what was started.
    pub fn find(
        &mut self,
        name: &Path,
        user: (&Path, &Elf),
        program: (&Path, &Elf),
    ) -> Option<PathBuf> {
        if name.components().count() > 1 {
            return self.fits(name, user.1).then(|| name.to_owned());
        }
        let mut candidates: Vec<PathBuf> = Vec::new();
        if user.1.runpath.is_empty() {
            candidates.extend(expanded(&user.1.rpath, user.0));
            candidates.extend(expanded(&program.1.rpath, program.0));
        }
        candidates.extend(expanded(&user.1.runpath, user.0));
        candidates.extend(self.directories.iter().cloned());
        let mut files = candidates.into_iter().map(|directory| directory.join(name));
        files.find(|file| self.fits(file, user.1))
    }

    /// The ELF file at `path`; None when there is none, or not one we can read.
    pub fn elf(&mut self, path: &Path) -> Option<&Elf> {
        if !self.seen.contains_key(path) {
            let found = elf::read(path).ok().flatten();
            self.seen.insert(path.to_owned(), found);
        }
        self.seen.get(path)?.as_ref()
    }

    /// `/usr/lib` may hold libraries for another machine, which the loader passes over.
    fn fits(&mut self, file: &Path, user: &Elf) -> bool {
        self.elf(file).is_some_and(|found| found.machine == user.machine)
    }
}

/// The directories of a `DT_RPATH` or `DT_RUNPATH` with `$ORIGIN` filled in.
fn expanded(directories: &[String], file: &Path) -> Vec<PathBuf> {
    if directories.is_empty() {
        return Vec::new();
    }
    // The directory the file really is in: the loader follows symbolic links, too.
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let origin = real.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let fill = |dir: &String| dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
    directories.iter().map(fill).map(PathBuf::from).collect()
}

/// Adds the directories that `file` names, and those of the files it includes.
fn configured(root: &Path, file: &Path, found: &mut Vec<PathBuf>, depth: u8) {
    for line in lines(root, file) {
        match line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
            // A file that includes itself must not keep us here.
            Some(_) if depth > 4 => {}
            Some(pattern) => {
                for included in matching(root, Path::new("/etc").join(pattern.trim())) {
                    configured(root, &included, found, depth + 1);
                }
            }
            None => found.push(PathBuf::from(line)),
        }
    }
}

fn lines(root: &Path, file: &Path) -> Vec<String> {
    let text = fs::read_to_string(below(root, file)).unwrap_or_default();
    let bare = text.lines().map(|line| line.split('#').next().unwrap_or("").trim().to_owned());
    bare.filter(|line| !line.is_empty()).collect()
}

fn words(root: &Path, file: &Path) -> Vec<String> {
    let text = fs::read_to_string(below(root, file)).unwrap_or_default();
    text.split([':', '\n'])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The files a pattern like `/etc/ld.so.conf.d/*.conf` stands for, in order. A `*` may stand in
/// the last component only, which is all that distributions use.
fn matching(root: &Path, pattern: PathBuf) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern] };
    let directory = pattern.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(below(root, directory)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<PathBuf> = names
        .filter(|name| name.starts_with(before) && name.ends_with(after))
        .map(|name| directory.join(name))
        .collect();
    found.sort();
    found
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_configuration_come_first() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/ld.so.conf.d");
        fs::create_dir_all(&etc).unwrap();
        fs::write(root.path().join("etc/ld.so.conf"), "include ld.so.conf.d/*.conf\n/opt/lib # x")
            .unwrap();
        fs::write(etc.join("b.conf"), "/b\n/b").unwrap();
        fs::write(etc.join("a.conf"), "# none\n/a\ninclude /etc/ld.so.conf\n").unwrap();
        fs::write(etc.join("ignored"), "/ignored").unwrap();
        let found = Libraries::below(root.path()).directories;
        assert_eq!(found[..3], [Path::new("/a"), Path::new("/b"), Path::new("/opt/lib")]);
        assert!(found.contains(&PathBuf::from("/usr/lib")));
        assert!(!found.contains(&PathBuf::from("/ignored")));
    }

    #[test]
    fn origin() {
        let found = expanded(&["$ORIGIN/../lib".into(), "/x".into()], Path::new("/none/bin/a"));
        assert_eq!(found, [Path::new("/none/bin/../lib"), Path::new("/x")]);
    }

    #[test]
    fn the_shells_libraries_are_found() {
        let mut libraries = Libraries::of_this_machine();
        let shell = Path::new("/bin/sh");
        let found = libraries.elf(shell).unwrap().clone();
        for name in &found.needed {
            let user = (shell, &found);
            assert!(libraries.find(name, user, user).is_some(), "{}", name.display());
        }
        let user = (shell, &found);
        assert_eq!(libraries.find(Path::new("libnone.so.0"), user, user), None);
    }
}
