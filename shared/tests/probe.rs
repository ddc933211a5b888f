//! `probe`, as its users run it.

// A test says what went wrong by where it stopped.
#![allow(clippy::unwrap_used)]

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::Duration;

use harness::{Need, TestResult, need, needs, test};
use shared::rootfs::{elf, host};

fn main() -> ExitCode {
    harness::run(vec![
        test("serves_files_and_nothing_else", needs![], serves_files_and_nothing_else),
        test(
            "one_connection_answers_many_requests",
            needs![],
            one_connection_answers_many_requests,
        ),
        test("connect_prints_the_answer", needs![], connect_prints_the_answer),
        test("echoes_datagrams", needs![], echoes_datagrams),
        test("uses_what_it_is_told_to", needs![], uses_what_it_is_told_to),
        // Root has no limit of processes for a user; the parts limit them by a cgroup.
        test(
            "forks_names_what_stopped_it",
            needs![not_root, program("prlimit")],
            forks_names_what_stopped_it,
        ),
        test("mistakes_are_named", needs![], mistakes_are_named),
        test(
            "the_embedded_one_runs_anywhere",
            vec![static_c_library()],
            the_embedded_one_runs_anywhere,
        ),
    ])
}

/// Without one, `probe` brings its libraries along.
fn static_c_library() -> Need {
    need::custom("static_c_library", || {
        let built = elf::parse(host::PROBE).ok().flatten().ok_or("probe is no ELF file")?;
        built.interpreter.map_or(Ok(()), |_| Err("probe was built without libc.a".into()))
    })
}

fn probe(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_probe")).args(words).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A process that says where it listens in its first line; ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_probe"));
        let mut child = command.args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        // Keep reading its log, or it would stop when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let address = line.trim().rsplit(['/', ' ']).find(|word| word.contains(':')).unwrap();
        Self { child, address: address.to_owned() }
    }

    /// Sends bytes and reads until the server closes.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn status(&self, request: &str) -> u16 {
        self.ask(request).split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

fn serves_files_and_nothing_else() -> TestResult {
    let dir = tempfile::tempdir().unwrap();
    let www = dir.path().join("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("a b.txt"), "hello").unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink("../secret", www.join("link")).unwrap();
    let root = www.to_str().unwrap();
    let server = Server::start(&["serve", "--bind", "127.0.0.1", "--port", "0", "--root", root]);

    let answer = server.ask(&get("/a%20b.txt?x"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"));
    assert!(answer.contains("Content-Length: 5\r\n"));
    let head = server.ask("HEAD /a%20b.txt HTTP/1.0\r\n\r\n");
    assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"));
    for path in ["/none", "/../secret", "/%2e%2e/secret", "/link", "/a%00", "//etc/passwd"] {
        let answer = server.ask(&get(path));
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(!answer.contains("secret"));
    }
    assert_eq!(server.status("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"), 405);
    assert_eq!(server.status("nonsense\r\n\r\n"), 400);
    assert_eq!(server.status(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000))), 431);

    // Without an index, it says who it is; with one, that is the page.
    assert!(server.ask(&get("/")).contains("Hello from inside."));
    std::fs::write(www.join("index.html"), "<p>index").unwrap();
    assert!(server.ask(&get("/")).ends_with("<p>index"));
    Ok(())
}

fn one_connection_answers_many_requests() -> TestResult {
    let server = Server::start(&["serve", "--bind", "127.0.0.1", "--port", "0", "--root", "/none"]);
    let one = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = server.ask(&[one, one, &get("/")].concat());
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    // A body is not taken for the next request.
    let smuggled = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\n\r\n";
    assert_eq!(server.ask(&[smuggled, one].concat()).matches("HTTP/1.1").count(), 1);
    // Many at once.
    let ask = || (0..50).for_each(|_| assert_eq!(server.status(&get("/")), 200));
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(ask))));
    Ok(())
}

fn connect_prints_the_answer() -> TestResult {
    let server = Server::start(&["serve", "--bind", "127.0.0.1", "--port", "0", "--root", "/none"]);
    let output = probe(&["connect", &server.address, "--send", r"GET / HTTP/1.0\r\n\r\n"]);
    assert!(output.status.success() && text(&output).contains("Hello from inside."));
    let output = probe(&["connect", "127.0.0.1:1"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
    assert!(probe(&["connect", "localhost:x"]).stderr.ends_with(b"is no port\n"));
    Ok(())
}

fn echoes_datagrams() -> TestResult {
    let server = Server::start(&["udp-echo", "--bind", "127.0.0.1", "0"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(b"hello", &server.address).unwrap();
    let mut answer = [0; 16];
    let (length, _) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"hello");
    Ok(())
}

fn uses_what_it_is_told_to() -> TestResult {
    let memory = probe(&["hog", "memory", "20M"]);
    assert!(text(&memory).ends_with("20 MiB of 20 MiB\n"));
    let cpu = text(&probe(&["hog", "cpu", "0.1"]));
    assert!(cpu.split(' ').next().unwrap().parse::<u64>().unwrap() > 10_000, "{cpu}");
    assert_eq!(text(&probe(&["forks", "4"])), "started 4 of 4\n");
    Ok(())
}

fn forks_names_what_stopped_it() -> TestResult {
    // A limit of its own, not the machine's.
    let output = Command::new("prlimit")
        .args(["--nproc=0", env!("CARGO_BIN_EXE_probe"), "forks", "4"])
        .output()
        .unwrap();
    assert_eq!(text(&output), "started 0 of 4\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the next one:"));
    assert!(!output.status.success());
    Ok(())
}

fn mistakes_are_named() -> TestResult {
    for (words, expected) in [
        (&["nonsense"][..], "unknown command"),
        (&[][..], "which command"),
        (&["hog", "memory", "lots"][..], "SIZE"),
        (&["sleep"][..], "SECONDS is missing"),
        (&["look", "--yaml"][..], "unexpected argument"),
        (&["serve", "--port", "x"][..], "--port"),
    ] {
        let output = probe(words);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(expected), "{words:?}: {errors}");
    }
    Ok(())
}

fn the_embedded_one_runs_anywhere() -> TestResult {
    let built = elf::parse(host::PROBE).unwrap().unwrap();
    assert!(built.needed.is_empty());
    assert!(host::PROBE.len() < 3 << 20, "{} bytes", host::PROBE.len());
    Ok(())
}
