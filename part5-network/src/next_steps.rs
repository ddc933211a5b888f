//! What a person is told once services are up: what was done, where to look, how to stop.
//!
//! Every command that is printed can be typed as it stands, and what is said of it is true: the
//! numbers are read from the processes that run.

use std::fs;
use std::path::Path;

use shared::cli::output;
use shared::home::Home;
use shared::shell::quoted;
use shared::spec::{Mount, Source};
use shared::state::{self, Record};

use crate::{compose, publish};

/// `web is up  10.89.0.2/24  0.0.0.0:8080->80/tcp`, and below it the limits and volumes.
pub(crate) fn done(home: &Home, name: &str) -> String {
    let Ok(record) = state::find(home, name) else { return format!("{name} has ended already") };
    let mut words = vec![format!("{name} is up")];
    words.extend(record.addresses.iter().map(|(_, address)| address.clone()));
    words.extend(publish::remembered(&home.containers().join(name)));
    let mut text = words.join("  ");
    let limits = limits(&record);
    if !limits.is_empty() {
        text += &format!("\n  at most {}", limits.join(", "));
    }
    for mount in &record.service.volumes {
        text += &format!("\n  {}", volume(mount));
    }
    text
}

/// The limits that hold. What a note says is not enforced is not claimed.
fn limits(record: &Record) -> Vec<String> {
    let service = &record.service;
    let holds = |key: &str| !record.notes.iter().any(|note| note.contains(key));
    let memory = service.mem_limit.filter(|_| holds("mem_limit"));
    let cpus = service.cpus.filter(|_| holds("cpus"));
    let pids = service.pids_limit.filter(|limit| *limit > 0 && holds("pids_limit"));
    let mut words = Vec::new();
    words.extend(memory.map(|bytes| format!("{} of memory", output::size(bytes))));
    words.extend(cpus.map(|cpus| format!("{cpus} of a processor's time")));
    words.extend(pids.map(|count| format!("{count} processes and threads")));
    words
}

fn volume(mount: &Mount) -> String {
    let target = mount.target.display();
    let what = match &mount.source {
        Source::Bind(path) => from_here(path).display().to_string(),
        Source::Volume(name) => format!("the volume {name}"),
        Source::Anonymous => "a volume of its own".to_owned(),
    };
    format!("{target} is {what}{}", if mount.read_only { " (read-only)" } else { "" })
}

/// Shorter where it can be, for who stands in the directory.
fn from_here(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).ok().filter(|rest| *rest != Path::new("")).unwrap_or(path)
}

/// Where to look and how to stop: a line each, a command that can be typed.
pub(crate) fn then(home: &Home, file: &Path, names: &[String], detached: bool) -> String {
    let (program, words) = (how_we_were_called(), file_word(file));
    let mut lines = Vec::new();
    let mut say = |what: &str, line: String| lines.push(format!("{what:<8}{line}"));
    let records: Vec<_> = names.iter().filter_map(|name| state::find(home, name).ok()).collect();
    for url in records.iter().flat_map(|record| urls(home, &record.name)) {
        say("ask", format!("curl {url}"));
    }
    if let Some((name, outside, inside)) = records.iter().find_map(seen_from_both_sides) {
        say("inside", format!("{program} exec {name} ps -eo pid,args"));
        say("", format!("it is process {inside}, and sees only what runs in {name}"));
        say("outside", format!("ps -o pid,args -p {outside}"));
        say("", format!("the same process, and here it is {outside}"));
    }
    if detached {
        say("list", format!("{program} ps"));
        say("read", format!("{program} logs -f {}", all_or(names, &words)).trim_end().to_owned());
        say("explain", format!("{program} plan{words}{}", first_service(&records)));
        say("stop", down(file));
    } else {
        say("stop", "Ctrl-C here".to_owned());
    }
    lines.join("\n")
}

/// One container is named, of several the file.
fn all_or(names: &[String], file: &str) -> String {
    match (names, file) {
        ([name], _) => name.clone(),
        (_, "") => String::new(),
        _ => format!("-s{file}"),
    }
}

/// The command that stops and removes what `up` started.
pub(crate) fn down(file: &Path) -> String {
    format!("{} down{}", how_we_were_called(), file_word(file))
}

/// The service file as it follows a command; nothing when it is the one that is meant anyway.
fn file_word(file: &Path) -> String {
    match file == Path::new(compose::HERE) {
        true => String::new(),
        false => format!(" {}", quoted(file.display())),
    }
}

/// `plan` wants to know which of several services.
fn first_service(records: &[Record]) -> String {
    match records {
        [first, _, ..] => format!(" {}", first.service.name),
        _ => String::new(),
    }
}

/// What a browser of this machine would ask for.
fn urls(home: &Home, name: &str) -> Vec<String> {
    let ports = publish::remembered(&home.containers().join(name)).into_iter();
    let url = |port: String| {
        let (address, target) = port.split_once("->")?;
        let address = address.replace("0.0.0.0", "127.0.0.1");
        target.ends_with("/tcp").then(|| format!("http://{address}/"))
    };
    ports.filter_map(url).collect()
}

/// The container, its program's pid on the host, and the same one's pid inside.
fn seen_from_both_sides(record: &Record) -> Option<(String, i32, String)> {
    record.process()?;
    let pid = match record.service.init {
        true => only_child(record.pid)?,
        false => record.pid,
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let inside = pids.split_whitespace().last()?.to_owned();
    Some((record.name.clone(), pid, inside))
}

fn only_child(pid: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// `cargo run -q --` in the directory where that runs us, else the path as it was typed.
fn how_we_were_called() -> String {
    let typed = std::env::args().next().unwrap_or_else(|| "part5-network".to_owned());
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let top = manifest.as_deref().and_then(|dir| Path::new(dir).parent());
    let at_the_top = top.is_some() && std::env::current_dir().ok().as_deref() == top;
    if at_the_top && typed.contains("target/") {
        return "cargo run -q --".to_owned();
    }
    quoted(&typed)
}
