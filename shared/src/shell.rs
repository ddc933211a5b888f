//! Text as a shell needs it: `bash(1)`, QUOTING.

use std::fmt::{Display, Write};

/// A word that the shell takes as it is; in quotes where it would not. It is always one line.
pub fn quoted(word: impl Display) -> String {
    let word = word.to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    match word.contains(|c: char| c.is_ascii_control()) {
        true => format!("$'{}'", escaped(&word)),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// As it stands between `$'` and `'`.
fn escaped(word: &str) -> String {
    let mut text = String::new();
    for c in word.chars() {
        match c {
            '\\' | '\'' => text.extend(['\\', c]),
            '\n' => text.push_str(r"\n"),
            '\t' => text.push_str(r"\t"),
            // Writing to a string cannot fail.
            c if c.is_ascii_control() => drop(write!(text, r"\x{:02x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// Words with a blank between them, each [`quoted`].
pub fn all_quoted<T: Display>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The command that prints `text`, in one line: `printf 'a\tb\n'`.
pub fn printing(text: &str) -> String {
    let mut format = String::new();
    for c in text.chars() {
        match c {
            '\\' => format.push_str(r"\\"),
            '\n' => format.push_str(r"\n"),
            '\t' => format.push_str(r"\t"),
            '%' => format.push_str("%%"),
            '\'' => format.push_str(r"'\''"),
            c => format.push(c),
        }
    }
    format!("printf '{format}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_blank_can_be_typed() {
        assert_eq!(quoted("a/service-specs.yml"), "a/service-specs.yml");
        assert_eq!(quoted("my files/it's.yml"), r"'my files/it'\''s.yml'");
        assert_eq!(quoted("two\nlines"), r"$'two\nlines'");
        assert_eq!(all_quoted(["", "$HOME", "a=b"]), "'' '$HOME' 'a=b'");
    }

    #[test]
    fn the_shell_says_what_it_was_given() {
        for text in ["50% of\tit's \\n\n$HOME `id` \"\n\u{1b}\u{85}é", "it's \\n $HOME `id` \" !"]
        {
            for command in [printing(text), format!("printf %s {}", quoted(text))] {
                assert_eq!(command.lines().count(), 1);
                let output = std::process::Command::new("bash").args(["-c", &command]).output();
                assert_eq!(String::from_utf8_lossy(&output.expect("a shell").stdout), text);
            }
        }
    }
}
