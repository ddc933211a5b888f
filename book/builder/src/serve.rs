//! A small web server for one reader on this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use tiny_http::{Header, Request, Response, Server};

use crate::{check, site};

/// How often we look whether a page has changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Builds the book, serves it on loopback, and builds it again when a page changes. Does not end.
///
/// # Errors
/// The port is taken.
pub fn serve(repository: &Path, port: u16, open: bool) -> Result<bool> {
    let server = Server::http(("127.0.0.1", port)).map_err(|e| anyhow!("port {port}: {e}"))?;
    rebuild(repository);
    let url =
        format!("http://127.0.0.1:{}/", server.server_addr().to_ip().map_or(port, |a| a.port()));
    println!("{url}  (Ctrl-C ends it)");
    if open {
        // Whoever has no browser here has read where to go.
        let _ = Command::new("xdg-open").arg(&url).stderr(Stdio::null()).spawn();
    }
    let watched = repository.to_owned();
    thread::spawn(move || watch(&watched));
    for request in server.incoming_requests() {
        answer(repository, request);
    }
    Ok(true)
}

/// Says what is wrong and goes on: the next change may mend it.
fn rebuild(repository: &Path) {
    if let Err(error) = site::build_and_tell(repository, None) {
        eprintln!("error: {error:#}");
    }
}

fn watch(repository: &Path) {
    let mut before = times(repository);
    loop {
        thread::sleep(LOOK_EVERY);
        let now = times(repository);
        if now != before {
            rebuild(repository);
            before = now;
        }
    }
}

/// When each file was changed that the book is made of.
fn times(repository: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut times = BTreeMap::new();
    let sources = ["book/src", "book/theme", "shared/src"].map(PathBuf::from);
    let parts = crate::parts().map(|part| Path::new(part.binary).join("src"));
    for dir in sources.iter().chain(&parts) {
        for ending in ["md", "svg", "css", "js", "rs"] {
            for path in check::files(&repository.join(dir), ending).unwrap_or_default() {
                if let Ok(time) = fs::metadata(&path).and_then(|data| data.modified()) {
                    times.insert(path, time);
                }
            }
        }
    }
    times
}

fn answer(repository: &Path, request: Request) {
    let found = find(repository, request.url());
    // A reader who has gone is no error.
    let _ = match found.and_then(|path| Some((kind(&path), File::open(&path).ok()?))) {
        Some((kind, file)) => {
            let header = Header::from_bytes("Content-Type", kind).ok();
            let response = Response::from_file(file);
            request.respond(match header {
                Some(header) => response.with_header(header),
                None => response,
            })
        }
        None => request.respond(Response::from_string("not here").with_status_code(404)),
    };
}

/// The file for a URL: of the book, or a source that a page links to (`../../shared/src/…`).
fn find(repository: &Path, url: &str) -> Option<PathBuf> {
    let path = Path::new(url.split(['?', '#']).next()?.trim_start_matches('/'));
    let plain = |part: Component| {
        matches!(part, Component::Normal(name)
        if !name.to_string_lossy().starts_with('.'))
    };
    if !path.components().all(plain) {
        return None;
    }
    let first = path.components().next().map(|part| part.as_os_str().to_string_lossy());
    let is_source = first
        .is_some_and(|name| name == "shared" || name.starts_with("part") && name.contains('-'));
    let site = site::usual_place(repository);
    let file = if is_source { repository.join(path) } else { site.join(path) };
    let file = if file.is_dir() { file.join("index.html") } else { file };
    file.is_file().then_some(file)
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_book_and_the_sources_are_shown() {
        let top = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = top.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for name in [
            "book/book/index.html",
            "book/book/part1/a.html",
            "shared/src/a.rs",
            "secret",
            ".git/x",
        ] {
            write(name);
        }
        let shows = |url: &str| find(top.path(), url).is_some();
        assert!(shows("/") && shows("/part1/a.html?x#y") && shows("/shared/src/a.rs"));
        for url in
            ["/secret", "/../../secret", "/shared/../secret", "/.git/x", "//etc/passwd", "/part1"]
        {
            assert!(!shows(url), "{url}");
        }
    }
}
