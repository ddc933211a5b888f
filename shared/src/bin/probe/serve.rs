//! `probe serve`: a web server for the files of a directory.
//!
//! As process 1 of a container it is not ended by SIGTERM: the kernel gives process 1 only those
//! signals it has a handler for (`pid_namespaces(7)`), and without `unsafe` code we cannot
//! install one. Run it with `init: true`: then it is not process 1, and SIGTERM ends it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::{Outcome, files, http, page};

/// How many connections are served at once; the next ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Nothing here needs more, and memory may be limited.
const STACK: usize = 128 * 1024;
/// For the whole head of a request, however slowly it comes.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// For one write of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);

struct Server {
    root: PathBuf,
    active: AtomicUsize,
}

/// Serves until it is ended. Port 0 takes a free one; the first line printed names it.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let port: u16 = args.option("--port")?.unwrap_or(80);
    let address: IpAddr = args.option("--bind")?.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let root: PathBuf = args.option("--root")?.unwrap_or("/srv/www".into());
    args.end()?;
    let listener = TcpListener::bind((address, port))
        .map_err(|error| format!("cannot listen on {address} port {port}: {error}"))?;
    let local = listener.local_addr().map_err(|error| error.to_string())?;
    say(&format!("serving {} on http://{local}/", root.display()));
    accept(&listener, &Arc::new(Server { root, active: AtomicUsize::new(0) }))
}

fn accept(listener: &TcpListener, server: &Arc<Server>) -> ! {
    loop {
        if server.active.load(Ordering::Relaxed) >= CONNECTIONS {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        match listener.accept() {
            Ok((stream, peer)) => start(server, stream, peer),
            // Out of descriptors or memory, or a client that left: better in a moment.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Gives the connection a thread.
fn start(server: &Arc<Server>, stream: TcpStream, peer: SocketAddr) {
    server.active.fetch_add(1, Ordering::Relaxed);
    let connection = Connection { server: Arc::clone(server), stream, peer, buffer: Vec::new() };
    let spawned = thread::Builder::new().stack_size(STACK).spawn(move || connection.run());
    // At the limit of processes the connection was dropped with the closure: the client sees it
    // closed, and `Connection::drop` has counted it out.
    if let Err(error) = spawned {
        say(&format!("{peer} turned away: {error}"));
    }
}

struct Connection {
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    /// Read, but not yet part of a request.
    buffer: Vec<u8>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn run(mut self) {
        // A client that is gone or too slow is not our problem: the connection just ends.
        let _ = self.serve();
    }

    fn serve(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(WRITE_TIME))?;
        loop {
            let keep_alive = match self.read_head()? {
                Head::Complete(head) => match http::parse(&head) {
                    Some(request) => self.answer(&request)?,
                    None => self.refuse(400)?,
                },
                Head::TooLong => self.refuse(431)?,
                Head::TooSlow => self.refuse(408)?,
                Head::None => false,
            };
            if !keep_alive {
                return Ok(());
            }
        }
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let deadline = Instant::now() + REQUEST_TIME;
        let mut chunk = [0; 4096];
        loop {
            if let Some(length) = http::head_length(&self.buffer) {
                let rest = self.buffer.split_off(length);
                return Ok(Head::Complete(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.buffer.len() > http::HEAD_LIMIT {
                return Ok(Head::TooLong);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(self.late());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Head::None),
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(self.late()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Time is up: between two requests that is the usual end of a connection.
    fn late(&self) -> Head {
        if self.buffer.is_empty() { Head::None } else { Head::TooSlow }
    }

    /// Answers and says whether another request may follow.
    fn answer(&mut self, request: &http::Request) -> io::Result<bool> {
        // We do not read bodies, so what follows one would not be a request.
        let crowded = self.server.active.load(Ordering::Relaxed) > CONNECTIONS / 2;
        let keep_alive = request.keep_alive && !request.has_body && !crowded;
        let with_body = match request.method.as_str() {
            "GET" => true,
            "HEAD" => false,
            _ => return self.text(request, 405, "only GET and HEAD here\n", true, keep_alive),
        };
        match files::open(&self.server.root, &request.path) {
            Ok(found) => self.file(request, found, with_body, keep_alive),
            Err(_) if request.path == "/" => {
                self.text(request, 200, &page::text(), with_body, keep_alive)
            }
            Err(_) => self.text(request, 404, "no such file\n", with_body, keep_alive),
        }
    }

    fn file(
        &mut self,
        request: &http::Request,
        found: files::Found,
        with_body: bool,
        keep_alive: bool,
    ) -> io::Result<bool> {
        self.log(request, 200, found.length);
        let head = http::head(200, found.kind, found.length, keep_alive);
        self.stream.write_all(head.as_bytes())?;
        if !with_body {
            return Ok(keep_alive);
        }
        // The kernel copies it (sendfile); a file that grows meanwhile stays at its length.
        let sent = io::copy(&mut found.file.take(found.length), &mut self.stream)?;
        // One that shrank leaves the client waiting for bytes: only closing tells it.
        Ok(keep_alive && sent == found.length)
    }

    fn text(
        &mut self,
        request: &http::Request,
        status: u16,
        text: &str,
        with_body: bool,
        keep_alive: bool,
    ) -> io::Result<bool> {
        self.log(request, status, text.len() as u64);
        let kind = "text/plain; charset=utf-8";
        let mut answer = http::head(status, kind, text.len() as u64, keep_alive);
        if with_body {
            answer.push_str(text);
        }
        self.stream.write_all(answer.as_bytes())?;
        Ok(keep_alive)
    }

    /// Answers something that is no request, and ends the connection.
    fn refuse(&mut self, status: u16) -> io::Result<bool> {
        let text = format!("{}\n", http::reason(status));
        let head = http::head(status, "text/plain", text.len() as u64, false);
        self.stream.write_all((head + &text).as_bytes())?;
        Ok(false)
    }

    fn log(&self, request: &http::Request, status: u16, length: u64) {
        // Quoted with escapes: a client must not write lines of its own into our log.
        say(&format!("{} {} {:?} {status} {length}", self.peer, request.method, request.path));
    }
}

enum Head {
    Complete(Vec<u8>),
    TooLong,
    TooSlow,
    /// The client is done.
    None,
}

/// A line on standard output, even when nobody reads it any more.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
