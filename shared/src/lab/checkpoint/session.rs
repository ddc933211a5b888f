//! A console session as it is written: commands, what they print, how they end.
//!
//! ```text
//! $ command
//! > its second line
//! what it prints, [..] for any text in a line
//! ...
//! ? 1
//! ```
//!
//! A line `...` stands for any lines, also none. `? N` is the exit status, 0 when it is not given.

use serde::{Deserialize, Serialize};

/// Commands in their order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Session(pub Vec<Exchange>);

/// A command and what it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// What is typed, without the prompts; may have several lines.
    pub command: String,
    /// What it prints, in lines, with elisions.
    pub expected: Vec<String>,
    /// Its exit status.
    pub status: i32,
}

impl TryFrom<String> for Session {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut exchanges = Vec::<Exchange>::new();
        let mut ended = false;
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                exchanges.push(Exchange { command: command.into(), ..Exchange::default() });
                ended = false;
                continue;
            }
            let exchange =
                exchanges.last_mut().ok_or("a session begins with `$ ` and a command")?;
            if ended && !line.is_empty() {
                return Err(format!("{line:?} comes after the exit status"));
            }
            let continued = line.strip_prefix("> ").or((line == ">").then_some(""));
            match continued.filter(|_| exchange.expected.is_empty()) {
                Some(more) => exchange.command.extend(["\n", more]),
                None => match line.strip_prefix("? ").map(str::parse) {
                    Some(Ok(status)) => (exchange.status, ended) = (status, true),
                    _ => exchange.expected.push(line.trim_end().into()),
                },
            }
        }
        for exchange in &mut exchanges {
            while exchange.expected.last().is_some_and(String::is_empty) {
                exchange.expected.pop();
            }
        }
        if exchanges.is_empty() {
            return Err("a session begins with `$ ` and a command".into());
        }
        Ok(Self(exchanges))
    }
}

impl Session {
    /// Whether a command has this word.
    pub fn mentions(&self, word: &str) -> bool {
        let is_letter = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        let has = |command: &str| command.split(|c| !is_letter(c)).any(|found| found == word);
        self.0.iter().any(|exchange| has(&exchange.command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(command: &str, expected: &[&str], status: i32) -> Exchange {
        let expected = expected.iter().map(|line| (*line).to_owned()).collect();
        Exchange { command: command.into(), expected, status }
    }

    #[test]
    fn commands_output_and_status() {
        let text = "$ cat <<E\n> a\n>\n> E\na\n\n> no command\n\n$ false\n? 1\n\n$ true\n";
        let session = Session::try_from(text.to_owned()).unwrap();
        assert_eq!(
            session.0,
            [
                exchange("cat <<E\na\n\nE", &["a", "", "> no command"], 0),
                exchange("false", &[], 1),
                exchange("true", &[], 0),
            ]
        );
        assert!(session.mentions("cat") && !session.mentions("fals"));
    }

    #[test]
    fn what_is_no_session() {
        for wrong in ["", "echo", "$ false\n? 1\nmore"] {
            assert!(Session::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
