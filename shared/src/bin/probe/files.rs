//! From the path of a request to an open file, never one outside the directory that is served.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// Opening a FIFO would wait for a writer; with this it does not. Linux, all architectures that
/// Rust's standard library supports besides MIPS and SPARC.
const O_NONBLOCK: i32 = 0o4000;

/// A regular file that is to be sent.
pub struct Found {
    /// Open for reading.
    pub file: File,
    /// Bytes.
    pub length: u64,
    /// Its media type.
    pub kind: &'static str,
}

/// Opens what `path` (decoded, starts with `/`) names below `root`; a directory means its
/// `index.html`.
///
/// # Errors
/// `NotFound` for everything that is not there, not ours to show or no regular file.
pub fn open(root: &Path, path: &str) -> io::Result<Found> {
    let root = fs::canonicalize(root)?;
    let mut wanted = root.join(relative(path).ok_or(io::ErrorKind::NotFound)?);
    if wanted.is_dir() {
        wanted.push("index.html");
    }
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&wanted)?;
    // A symbolic link may have led outside. We ask where the open file is, not where the path
    // leads: the path may mean something else a moment later.
    if !location(&file, &wanted)?.starts_with(&root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Found { length: found.len(), kind: kind(&wanted), file })
}

/// The path without its leading `/`; None when it climbs with `..` or holds a zero byte.
fn relative(path: &str) -> Option<PathBuf> {
    if path.contains('\0') {
        return None;
    }
    let mut out = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// Where an open file is. Without `/proc` the path has to do.
fn location(file: &File, path: &Path) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).or_else(|_| fs::canonicalize(path))
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or("") {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, removed when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("probe-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(dir.join("www/sub")).unwrap();
            fs::write(dir.join("secret"), "secret").unwrap();
            fs::write(dir.join("www/a.txt"), "a").unwrap();
            fs::write(dir.join("www/sub/index.html"), "<p>").unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_and_indexes() {
        let dir = Scratch::new("files");
        let www = dir.0.join("www");
        assert_eq!(open(&www, "/a.txt").unwrap().length, 1);
        assert_eq!(open(&www, "//./a.txt").unwrap().length, 1);
        assert!(open(&www, "/sub/").unwrap().kind.starts_with("text/html"));
        assert!(open(&www, "/").is_err());
        assert!(open(&www, "/none").is_err());
    }

    #[test]
    fn nothing_from_outside() {
        let dir = Scratch::new("outside");
        let www = dir.0.join("www");
        std::os::unix::fs::symlink("../secret", www.join("link")).unwrap();
        std::os::unix::fs::symlink("/", www.join("all")).unwrap();
        std::os::unix::fs::symlink("a.txt", www.join("inside")).unwrap();
        // A sibling whose name starts as the root's does.
        fs::create_dir(dir.0.join("www-private")).unwrap();
        fs::write(dir.0.join("www-private/x"), "x").unwrap();
        std::os::unix::fs::symlink("../www-private/x", www.join("sibling")).unwrap();
        for path in ["/link", "/all/etc/passwd", "/../secret", "/sub/../../secret", "/sibling"] {
            assert!(open(&www, path).is_err(), "{path}");
        }
        assert!(open(&www, "/a.txt\0").is_err());
        assert!(open(&www, "/inside").is_ok());
    }
}
