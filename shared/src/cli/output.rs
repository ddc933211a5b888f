//! What a person sees: colour only on a terminal, messages on standard error.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use colored::Colorize;
use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// Output a person reads fits this.
pub const WIDTH: usize = 80;

/// Decides once whether to colour: a terminal that can, and no `NO_COLOR` (no-color.org).
pub fn decide_colours() {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let able = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    colored::control::set_override(wanted && able && terminal);
}

/// Something went wrong.
pub fn error(text: &str) {
    eprintln!("{} {text}", "error:".red().bold());
}

/// Something may surprise the user.
pub fn warn(text: &str) {
    eprintln!("{} {text}", "warning:".yellow().bold());
}

/// Something is worth knowing, unless the user has said that he knows it.
pub fn note(text: &str) {
    if !is_known(text) {
        eprintln!("{} {text}", "note:".cyan());
    }
}

/// `INSIDE_DOCKER_KNOWN` lists how notes begin, as `users,limits`.
fn is_known(note: &str) -> bool {
    let known = std::env::var("INSIDE_DOCKER_KNOWN").unwrap_or_default();
    known.split(',').any(|begin| !begin.is_empty() && note.starts_with(begin))
}

/// A table without lines, as `docker ps` prints it.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Lines that fit, of words: the first begins with `first`, the others with `rest`.
pub fn wrapped(first: &str, rest: &str, text: &str) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let room = |line: &String| line.chars().count() + 1 + word.chars().count() <= WIDTH;
        match lines.last_mut().filter(|line| is_empty || room(line)) {
            Some(line) if is_empty => line.push_str(word),
            Some(line) => line.extend([" ", word]),
            None => lines.push(format!("{rest}{word}")),
        }
        is_empty = false;
    }
    lines
}

/// A text that comes from inside a container, without what would steer the terminal: control
/// characters are shown as Rust writes them, `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A size in the units of Docker: `64MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = if value < 10.0 && unit > 0 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{}{}", text.trim_end_matches(".0"), UNITS[unit])
}

/// How long ago, in words: `3 minutes ago`.
pub fn ago(time: SystemTime) -> String {
    let elapsed = SystemTime::now().duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    let (count, unit) = match elapsed {
        0..60 => (elapsed, "second"),
        60..3600 => (elapsed / 60, "minute"),
        3600..86400 => (elapsed / 3600, "hour"),
        _ => (elapsed / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_get_a_line_of_their_own() {
        let lines = wrapped("why: ", "     ", &format!("a {} b", "x".repeat(74)));
        assert_eq!(lines[0], "why: a");
        assert!(lines[1].starts_with("     xxx") && lines[2] == "     b", "{lines:?}");
    }

    #[test]
    fn only_control_characters_are_escaped() {
        assert_eq!(printable("a \\ \"ü\" 'b'"), "a \\ \"ü\" 'b'");
        assert_eq!(printable("\x1b[2J\r\n\u{9b}m"), r"\u{1b}[2J\r\n\u{9b}m");
    }

    #[test]
    fn sizes_read_as_docker_writes_them() {
        let text: Vec<_> = [0, 1023, 1024, 1536, 64 << 20, 3 << 40].map(size).into();
        assert_eq!(text, ["0B", "1023B", "1KiB", "1.5KiB", "64MiB", "3TiB"]);
    }
}
