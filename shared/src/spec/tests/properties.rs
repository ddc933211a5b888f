//! What must hold for any text.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::units::{format_size, parse_size};
use super::*;

const LARGEST: usize = 64 << 10;

/// Pieces of YAML, of our keys, and of what has hurt parsers.
const PIECES: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "- ",
    "? ",
    ": ",
    ", ",
    ":",
    ",",
    "\n",
    "\n  ",
    "\n    ",
    " ",
    "\t",
    "\r\n",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "#",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "%TAG ! x\n",
    "---\n",
    "...\n",
    "${A:-",
    "$$",
    "$HOME",
    "\\",
    "\u{feff}",
    "\u{85}",
    "é",
    "\u{2028}",
    "a",
    "b: ",
    "0",
    "-1",
    "1-65535",
    "services:\n",
    "  web:\n",
    "    image: host\n",
    "    ports: [",
    "    volumes: ",
    "networks: ",
    "    mem_limit: ",
    "    depends_on: [web]\n",
    "1.5g",
    "127.0.0.1:",
    "/x:/y",
    "    command: ",
    "    networks: {default: {ipv4_address: 10.0.0.1}}\n",
    "x-y: &b\n",
    "*b",
];

/// Reads a text, which must end within a second, whatever comes out.
fn answers_in_time(text: &str) {
    let start = Instant::now();
    let result = read(text);
    let took = start.elapsed();
    let begin: String = text.chars().take(60).collect();
    assert!(took < Duration::from_secs(1), "{took:?} for {begin:?}…: {:?}", result.err());
    if let Err(error) = result {
        let text = error.to_string();
        let wild = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(wild), "control characters in {text:?}");
    }
}

/// Repeats a text until a file is full.
fn fill(head: &str, piece: &str, tail: &str) -> String {
    let room = LARGEST - head.len() - tail.len();
    format!("{head}{}{tail}", piece.repeat(room / piece.len()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in ".{0,2000}") {
        answers_in_time(&text);
    }

    #[test]
    fn any_pieces_are_answered(
        head in prop::collection::vec(prop::sample::select(PIECES), 0..8),
        again in prop::collection::vec(prop::sample::select(PIECES), 1..6),
        tail in prop::collection::vec(prop::sample::select(PIECES), 0..4),
    ) {
        answers_in_time(&[head.concat(), again.concat(), tail.concat()].concat());
        answers_in_time(&fill(&head.concat(), &again.concat(), &tail.concat()));
    }

    #[test]
    fn any_value_of_any_key_is_answered(
        key in prop::sample::select(super::super::keys::SERVICE.known()),
        value in "[-a-z0-9:/.,=\\[\\]{} \"']{0,30}",
    ) {
        answers_in_time(&file_with(&format!("{key}: {value}")));
    }

    #[test]
    fn sizes_survive_being_written(bytes in any::<u64>(), shift in 0_u32..50) {
        let bytes = bytes >> shift << (shift / 10 * 10);
        prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
    }

    #[test]
    fn ranges_are_taken_apart(first in 1_u16..60_000, target in 1_u16..60_000, more in 0_u16..500) {
        let (last, end) = (first + more, target + more);
        let ports = service(&format!("ports: ['{first}-{last}:{target}-{end}/udp']")).ports;
        prop_assert_eq!(ports.len(), usize::from(more) + 1);
        for (n, port) in (0..).zip(ports) {
            prop_assert_eq!((port.published, port.target), (Some(first + n), target + n));
        }
    }

    #[test]
    fn commands_survive_quoting(words in prop::collection::vec("[^']{0,8}", 0..5)) {
        let words: Vec<String> = words.iter().map(|word| word.replace('\0', "")).collect();
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(super::super::words::split(&line), Ok(words));
    }
}

#[test]
fn each_piece_again_and_again_is_answered() {
    for head in ["", "a: ", "services:\n  web:\n    image: host\n    ports: ["] {
        PIECES.iter().for_each(|piece| answers_in_time(&fill(head, piece, "")));
    }
}

#[test]
fn bombs_are_answered() {
    let layers = |open: &str, close: &str| {
        let layer = |n: usize| {
            format!("x-{n}: &a{n} {open}{}{close}\n", vec![format!("*a{}", n - 1); 9].join(","))
        };
        "x-0: &a0 [lol]\n".to_owned() + &(1..30).map(layer).collect::<String>()
    };
    let laughs = layers("[", "]");
    let message = read(&laughs).unwrap_err().to_string();
    assert!(message.contains("unfold to too much"), "{message}");
    answers_in_time(&laughs);

    let deep: String = (1..4000).map(|n| format!("x-{n}: &a{n} [*a{}]\n", n - 1)).collect();
    answers_in_time(&format!("x-0: &a0 [x]\n{}", &deep[..60_000]));

    let long = format!("x-0: &a {}\nx-1: [{}", "y".repeat(30_000), "*a,".repeat(10_000));
    assert!(read(&long).unwrap_err().to_string().contains("unfold to too much"));
    answers_in_time(&long);

    let message = read(&"[".repeat(LARGEST)).unwrap_err().to_string();
    assert!(message.contains("nested more than 64 deep"), "{message}");
    let indented: String = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let message = read(&indented).unwrap_err().to_string();
    assert!(message.contains("nested more than 64 deep"), "{message}");
}

/// Files that are right, or nearly, and as large as they may be.
#[test]
fn large_files_are_answered() {
    let fits = |item: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for next in (0..).map(item) {
            if text.len() + next.len() > 60_000 {
                return text;
            }
            text += &next;
        }
        text
    };
    let services = fits(&|n| format!("  s{n}: {{image: host, depends_on: [s{}]}}\n", n + 1));
    let circle = services.lines().count() - 1;
    let closed = services.replace(&format!("[s{}]", circle + 1), "[s0]");
    answers_in_time(&format!("services:\n{services}"));
    let message = read(&format!("services:\n{closed}")).unwrap_err().to_string();
    assert!(message.contains("in a circle"), "{message}");
    answers_in_time(&format!("services:\n{closed}"));

    answers_in_time(&file_with(&format!("volumes: [{}]", fits(&|n| format!("/{n},")))));
    answers_in_time(&file_with(&format!("labels: {{{}}}", fits(&|n| format!("a{n}: ,")))));
    answers_in_time(&file_with(&format!("environment: [{}]", fits(&|n| format!("A{n},")))));
    answers_in_time(&file_with(&format!("ports: [{}]", fits(&|n| format!("'{}:1',", n + 1)))));
    let one = |n: usize| format!("'10.0.{}.{}:80:80',", n / 256, n % 256);
    answers_in_time(&file_with(&format!("ports: [{}]", fits(&one))));
    let many = fits(&|n| format!("  s{n}: {{image: h, ports: [1-65535]}}\n"));
    answers_in_time(&format!("services:\n{many}"));
}
