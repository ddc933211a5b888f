//! A small HTTP client: every answer is read to its last byte.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// For who must not answer.
const IMPATIENCE: Duration = Duration::from_millis(400);

/// A connection that stays open from one request to the next.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: Ipv4Addr, port: u16) -> Result<Self> {
        Self::connect_within(PATIENCE, address, port)
    }

    fn connect_within(patience: Duration, address: Ipv4Addr, port: u16) -> Result<Self> {
        let address = SocketAddr::new(IpAddr::V4(address), port);
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks for `path`; answers the body. Any status but 200 is an error.
    pub fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        self.ask(path, "keep-alive").and_then(body_of)
    }

    /// The line with the status, and the body.
    fn ask(&mut self, path: &str, connection: &str) -> Result<(String, Vec<u8>)> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let mut body = vec![0; length.ok_or_else(|| Error::other("no length"))?];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// One request on a connection of its own.
pub fn get(address: Ipv4Addr, port: u16, path: &str) -> Result<Vec<u8>> {
    Client::connect(address, port)?.ask(path, "close").and_then(body_of)
}

fn body_of((status, body): (String, Vec<u8>)) -> Result<Vec<u8>> {
    if status.split(' ').nth(1) == Some("200") { Ok(body) } else { Err(Error::other(status)) }
}

/// As [`get`], as text.
pub fn text(address: Ipv4Addr, port: u16, path: &str) -> Result<String> {
    get(address, port, path).map(|body| String::from_utf8_lossy(&body).into_owned())
}

/// Whether a web server answers there, whatever it says. Not asked for long.
pub fn answers(address: Ipv4Addr, port: u16) -> bool {
    Client::connect_within(IMPATIENCE, address, port)
        .and_then(|mut client| client.ask("/", "close"))
        .is_ok()
}
