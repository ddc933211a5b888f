//! Names: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container.
//!
//! They are files of ours, mounted over the image's. A name server would be another process for
//! each network; instead each container that joins a network is written into the `/etc/hosts` of
//! all that are on it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use part2_namespaces::{at_root, shell_place};
use shared::part::Request;
use shared::recipe::{Outcome, Place, Recipe, Step};
use shared::shell::{printing, quoted};
use shared::spec::{NetworkMode, Service};
use shared::{Call, Error, Result};

use crate::PART;
use crate::network::{Lease, Network};
use crate::volumes::{insert_mount, mount_volume, shell_of_file};

/// A container can write its `/etc/hosts`: more than this of it is not read back.
const HOSTS_MAX: u64 = 1024 * 1024;

/// The three files on the host, and what they are in the container.
pub const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// What the three files say, before the container is on any network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    hosts: String,
    hostname: String,
    resolv_conf: String,
}

impl Files {
    /// For a service called `hostname`. Reads the host's own files, changes nothing.
    pub fn plan(service: &Service, hostname: &str) -> Self {
        let mut hosts = match service.network_mode {
            NetworkMode::Host => read("/etc/hosts"),
            _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".into(),
        };
        if service.network_mode == NetworkMode::None {
            hosts.push_str(&format!("127.0.1.1\t{hostname}\n"));
        }
        for (name, address) in &service.extra_hosts {
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        Self { hosts, hostname: format!("{hostname}\n"), resolv_conf: resolv_conf(service) }
    }

    /// The shell commands that do the same.
    fn shell(&self) -> String {
        let texts = [&self.hosts, &self.hostname, &self.resolv_conf];
        let write = |((name, _), text): (&(&str, _), &&String)| {
            format!("{} >\"$DIR/{name}\"", printing(text))
        };
        FILES.iter().zip(&texts).map(write).collect::<Vec<_>>().join("\n")
    }

    /// Writes them into `dir`.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&self, dir: &Path) -> Outcome {
        let texts = [&self.hosts, &self.hostname, &self.resolv_conf];
        for ((name, _), text) in FILES.iter().zip(texts) {
            let path = dir.join(name);
            fs::write(&path, text).call(format!("write({})", path.display()))?;
        }
        Ok(())
    }
}

/// Adds the steps: write the three files, mount them.
pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    let hostname = request.service.hostname.as_ref().unwrap_or(&request.name);
    let files = Files::plan(request.service, hostname);
    let dir = request.dir();
    let mounted = dir.clone();
    let write = Step::new(PART, Place::Prepare, "names")
        .what("write its /etc/hosts, /etc/hostname and /etc/resolv.conf")
        .why("a name is looked up there; the image's files know nothing of this container")
        .section("5.8")
        .shell(files.shell())
        .does(move || files.write(&dir));
    let before = if recipe.has("network") { "network" } else { "clone" };
    recipe.insert_before(before, write);
    let mount_file = |name: &str, target: &str| {
        let place = shell_place(&request.rootfs, Path::new(target));
        let make = shell_of_file(&place);
        format!("{make}; mount --bind -o ro \"$DIR/{name}\" {}", quoted(place))
    };
    let mount = Step::new(PART, Place::Child, "name files")
        .what("mount them over the image's")
        .why("the host writes new neighbours into them; the container, which has no limit there, may not")
        .section("5.8")
        .shell(FILES.map(|(name, target)| mount_file(name, target)).join("\n"))
        .does(move || {
            let root = at_root()?;
            FILES.iter().try_for_each(|(name, target)| {
                mount_volume(root.as_fd(), &mounted.join(name), Path::new(target), true)
            })
        });
    insert_mount(recipe, mount);
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `resolv.conf(5)`: the file's servers, else the host's, as far as a container can reach them.
fn resolv_conf(service: &Service) -> String {
    if !service.dns.is_empty() {
        return service.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    }
    let host = read("/etc/resolv.conf");
    if service.network_mode == NetworkMode::Host {
        return host;
    }
    let reachable = without_loopback(&host);
    if reachable.contains("nameserver") {
        return reachable;
    }
    // systemd-resolved listens on 127.0.0.53 and keeps the real servers here.
    let real = without_loopback(&read("/run/systemd/resolve/resolv.conf"));
    if real.contains("nameserver") { real } else { reachable }
}

/// A name server on the host's loopback is not one in the container.
fn without_loopback(text: &str) -> String {
    let stays = |line: &&str| match line.trim().strip_prefix("nameserver") {
        Some(server) => server.trim().parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback()),
        None => !line.trim_start().starts_with('#'),
    };
    text.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

// ANCHOR: introduce
/// Writes who is on the network into the `/etc/hosts` of `container` and of all the others.
/// The network is locked by the caller.
///
/// # Errors
/// The container's own file cannot be written.
pub fn introduce(
    network: &Network,
    container: &str,
    lease: &Lease,
    others: &[(String, Lease)],
) -> Result<()> {
    let others: Vec<_> =
        others.iter().filter(|(name, _)| name != container).map(|(_, lease)| lease).collect();
    let mut everybody = others.clone();
    everybody.push(lease);
    everybody.sort_by_key(|lease| lease.address);
    let lines: String = everybody
        .iter()
        .filter(|lease| !lease.names.is_empty())
        .map(|lease| format!("{}\t{}\n", lease.address, lease.names.join(" ")))
        .collect();
    for other in others {
        // One that is being removed needs no names any more.
        let _ = set_section(&other.hosts, &network.name, &lines);
    }
    set_section(&lease.hosts, &network.name, &lines)
        .map_err(|e| Error::new(format!("cannot write {}", lease.hosts.display())).because(e))
}
// ANCHOR_END: introduce

/// Replaces the lines of one network. In place: a new file would not be the one that is mounted.
fn set_section(path: &PathBuf, network: &str, lines: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut text = String::new();
    let _ = Read::by_ref(&mut file).take(HOSTS_MAX).read_to_string(&mut text)?;
    let new = with_section(&text, network, lines);
    file.rewind()?;
    overwrite(&mut file, &new)
}

/// Written first and cut then: whoever reads meanwhile never finds the file empty.
fn overwrite(file: &mut File, text: &str) -> std::io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn with_section(text: &str, network: &str, lines: &str) -> String {
    let (begin, end) = (format!("# network {network}\n"), format!("# end of {network}\n"));
    let section = format!("{begin}{lines}{end}");
    let old = text.find(&begin).zip(text.find(&end)).filter(|(from, to)| from < to);
    match old {
        Some((from, to)) => {
            format!("{}{section}{}", &text[..from], &text[to + end.len()..])
        }
        None => format!("{text}{section}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let mut text = "127.0.0.1\tlocalhost\n".to_owned();
        text = with_section(&text, "front", "10.0.0.2\tweb\n");
        text = with_section(&text, "back", "10.0.1.2\tdb\n");
        text.push_str("1.2.3.4\tadded-by-hand\n");
        let text = with_section(&text, "front", "10.0.0.2\tweb\n10.0.0.3\tapi\n");
        assert_eq!(
            text,
            "127.0.0.1\tlocalhost\n\
             # network front\n10.0.0.2\tweb\n10.0.0.3\tapi\n# end of front\n\
             # network back\n10.0.1.2\tdb\n# end of back\n\
             1.2.3.4\tadded-by-hand\n"
        );
    }

    #[test]
    fn a_loopback_name_server_is_left_out() {
        let text = "# made by x\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch lan\n";
        assert_eq!(without_loopback(text), "nameserver 192.0.2.1\nsearch lan\n");
    }

    #[test]
    fn the_files_own_servers_win() {
        let service = Service { dns: vec!["192.0.2.53".parse().unwrap()], ..Service::default() };
        assert_eq!(Files::plan(&service, "web").resolv_conf, "nameserver 192.0.2.53\n");
    }
}
