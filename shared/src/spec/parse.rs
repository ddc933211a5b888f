//! From text to [`Spec`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::interpolate::{self, Lookup};
use super::node::Map;
use super::ports::MOST as MOST_PORTS;
use super::problem::{Found, Shown};
use super::shapes::Outside;
use super::{Service, Spec, events, keys, links, network, service};
use crate::{Error, Result};

/// The name a spec has in a directory.
const FILE_NAME: &str = "service-specs.yml";
/// The most that is read, in bytes: enough for hundreds of services.
const LARGEST: usize = 64 << 10;

/// See [`Spec::load`].
pub(super) fn load(path: &Path) -> Result<Spec> {
    let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let cannot = |why: String| Error::new(format!("cannot read {}", file.display())).because(why);
    let mut bytes = Vec::new();
    File::open(&file)
        .and_then(|open| open.take(LARGEST as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            cannot(error.to_string()).hint(format!("name a {FILE_NAME}, or its directory"))
        })?;
    check_size(bytes.len(), &file)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        cannot(format!("byte {at} is not UTF-8 text"))
    })?;
    parse(&text, &file)
}

/// See [`Spec::parse`].
pub(super) fn parse(text: &str, file: &Path) -> Result<Spec> {
    parse_with(text, file, &|name| std::env::var(name).ok())
}

/// Reads a spec in an environment of the caller's choice.
pub(super) fn parse_with(text: &str, file: &Path, variable: Lookup) -> Result<Spec> {
    check_size(text.len(), file)?;
    let absolute = std::path::absolute(file).map_err(|error| {
        Error::new(format!("cannot tell where {} is", file.display())).because(error)
    })?;
    read(text, absolute, variable).map_err(|problem| problem.draw(text, file))
}

fn check_size(size: usize, file: &Path) -> Result<()> {
    if size <= LARGEST {
        return Ok(());
    }
    let wanted = format!("cannot read {}", file.display());
    Err(Error::new(wanted)
        .because(format!("it is larger than {} KiB", LARGEST >> 10))
        .hint("put parts of it into files of their own"))
}

fn read(text: &str, file: PathBuf, variable: Lookup) -> Found<Spec> {
    let mut root = events::read(text)?;
    interpolate::tree(&mut root, variable)?;
    let top = root.map().map_err(|problem| problem.hint("begin with `services:`"))?;
    keys::TOP.check(top)?;
    let services = match top.get("services") {
        Some(entry) => entry.value.map()?,
        None => {
            let problem = root.problem("`services` is missing", "in this file");
            return Err(problem.hint("begin with `services:`"));
        }
    };
    if services.is_empty() {
        return Err(top["services"].key.problem("there is no service", "nothing below"));
    }
    let read = |key, read_map: fn(&_) -> _| top.get(key).map(|entry| read_map(&entry.value));
    let volumes = top.get("volumes").map(|entry| network::volumes(&entry.value)).transpose()?;
    let spec = Spec {
        project: project(top, &file)?,
        services: all(services, &file, variable)?,
        networks: read("networks", network::networks).transpose()?.unwrap_or_default(),
        volumes: volumes.unwrap_or_default(),
        file,
    };
    links::check(&spec, services)?;
    Ok(spec)
}

fn all(map: &Map, file: &Path, variable: Lookup) -> Found<IndexMap<String, Service>> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let outside = Outside { directory, variable };
    let mut services = IndexMap::new();
    let mut ports = 0;
    for (name, entry) in map {
        let service = service::read(name, entry.key, &entry.value, &outside)?;
        ports += service.ports.len();
        if ports > MOST_PORTS {
            let title = format!("the services publish more than {MOST_PORTS} ports");
            return Err(entry.key.problem(title, "too many, from here"));
        }
        services.insert(name.clone(), service);
    }
    Ok(services)
}

/// `name:`, else the name of the directory in the letters Compose allows.
fn project(top: &Map, file: &Path) -> Found<String> {
    if let Some(entry) = top.get("name") {
        let name = entry.value.text()?;
        if normal(name) == name {
            return Ok(name.to_owned());
        }
        let title = format!("{} is no name for a project", Shown(name));
        let label = "lower case letters, digits, `-`, `_`";
        return Err(entry.value.problem(title, label));
    }
    let directory = file.parent().and_then(Path::file_name).unwrap_or_default();
    let name = normal(&directory.to_string_lossy());
    if name.is_empty() {
        let problem = top["services"].key.problem("the directory gives no project name", "");
        return Err(problem.hint("write `name: …` before this line"));
    }
    Ok(name)
}

fn normal(name: &str) -> String {
    let lower = name.to_lowercase();
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    let kept: String = lower.chars().filter(allowed).take(63).collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}
