//! `probe connect HOST:PORT`: a TCP client that prints what the other side says.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::Outcome;
use crate::args::Args;
use crate::resolve;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects, sends `--send TEXT` (`\r`, `\n` and `\\` are understood), prints the answer until
/// the other side is done or is silent for five seconds.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let text: Option<String> = args.option("--send")?;
    let target: String = args.word("HOST:PORT")?;
    args.end()?;

    let mut stream = connect(&target)?;
    let failed = |error: std::io::Error| format!("{target}: {error}");
    stream.set_read_timeout(Some(TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(failed)?;
    if let Some(text) = text {
        stream.write_all(unescaped(&text).as_bytes()).map_err(failed)?;
    }
    // Nothing more will come from us: a server that waits for the end can answer.
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    match std::io::copy(&mut stream, &mut std::io::stdout()) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(format!("{target}: silent for {} s", TIMEOUT.as_secs()))
        }
        other => other.map(drop).map_err(failed),
    }
}

fn connect(target: &str) -> Result<TcpStream, String> {
    let (host, port) = target.rsplit_once(':').ok_or("it is HOST:PORT")?;
    let port: u16 = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    let mut last = format!("{host}: no address");
    for address in resolve::lookup(host.trim_start_matches('[').trim_end_matches(']'))? {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(last)
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn escapes() {
        assert_eq!(unescaped(r"GET / HTTP/1.0\r\n\r\n"), "GET / HTTP/1.0\r\n\r\n");
        assert_eq!(unescaped(r"a\\n\"), r"a\n\");
    }
}
