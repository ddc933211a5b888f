//! Names to addresses: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! The C library's resolver loads modules at run time, which a static program in a foreign root
//! file system cannot. What containers need of it is little: see RFC 1035, section 4.1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

const TIMEOUT: Duration = Duration::from_secs(2);
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// The addresses of `host`: itself if it is one, else what the hosts file or a server says.
pub fn lookup(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = in_hosts(&read("/etc/hosts"), host);
    if !found.is_empty() {
        return Ok(found);
    }
    let servers = servers(&read("/etc/resolv.conf"));
    if servers.is_empty() {
        return Err(format!("{host}: not in /etc/hosts, and /etc/resolv.conf names no server"));
    }
    let mut last = String::new();
    for server in servers {
        match ask(server, host) {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => last = format!("{host}: {server} knows no such name"),
            Err(error) => last = format!("{host}: asking {server}: {error}"),
        }
    }
    Err(last)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) {
            found.push(address);
        }
    }
    found
}

fn servers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.trim().parse().ok()).collect()
}

fn ask(server: IpAddr, host: &str) -> std::io::Result<Vec<IpAddr>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    // A connected socket takes answers from that server only.
    socket.connect(SocketAddr::new(server, 53))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let id = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| (time.subsec_nanos() & 0xffff) as u16);
    let question = question(id, host)
        .ok_or_else(|| std::io::Error::other("not a name that can be asked for"))?;
    let mut answer = [0; 4096];
    let mut attempts = 2;
    loop {
        socket.send(&question)?;
        match socket.recv(&mut answer) {
            Ok(length) if answer.starts_with(&id.to_be_bytes()) => {
                return Ok(addresses(&answer[..length]).unwrap_or_default());
            }
            Ok(_) => {}
            Err(error) if attempts == 1 => return Err(error),
            Err(_) => {}
        }
        attempts -= 1;
        if attempts == 0 {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
    }
}

/// One question, recursion desired. None when the name has a label that is empty or too long.
fn question(id: u16, host: &str) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    for number in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    for label in host.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        message.push(u8::try_from(label.len()).ok()?);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(TYPE_A.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Some(message)
}

/// The A records of an answer; None when it is not well formed.
fn addresses(message: &[u8]) -> Option<Vec<IpAddr>> {
    let questions = number(message, 4)?;
    let answers = number(message, 6)?;
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = after_name(message, at)?;
        let kind = number(message, at)?;
        let length = usize::from(number(message, at + 8)?);
        let data = message.get(at + 10..at + 10 + length)?;
        if kind == TYPE_A
            && let Ok(bytes) = <[u8; 4]>::try_from(data)
        {
            found.push(IpAddr::from(bytes));
        }
        at += 10 + length;
    }
    Some(found)
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Where a name ends: at an empty label, or after a pointer to the rest of it.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(*length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file() {
        let text = "127.0.0.1 localhost # home\n10.0.0.2\tweb web.test\nnonsense web\n::1 web\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(in_hosts(text, "WEB"), expected);
        assert!(in_hosts(text, "home").is_empty());
    }

    #[test]
    fn resolv_conf() {
        assert_eq!(servers("# x\nnameserver 10.0.0.1\nsearch a\n").len(), 1);
        assert!(servers("").is_empty());
    }

    #[test]
    fn an_answer_with_an_alias() {
        let mut message = question(7, "web.test").unwrap();
        message[7] = 2; // two answers: an alias, then its address
        let alias = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12];
        let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3];
        message.extend(alias);
        message.extend(address);
        assert_eq!(addresses(&message), Some(vec![[10, 1, 2, 3].into()]));
        // Cut anywhere: no panic, and no address out of thin air.
        for length in 0..message.len() {
            assert_eq!(addresses(&message[..length]), None);
        }
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        assert!(question(1, "a..b").is_none());
        assert!(question(1, &"x".repeat(64)).is_none());
    }
}
