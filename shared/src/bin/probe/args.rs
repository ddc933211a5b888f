//! The few shapes of arguments the subcommands share.

use std::str::FromStr;
use std::time::Duration;

/// What follows a subcommand: words in order, and `--name value` options among them.
pub struct Args(Vec<String>);

impl Args {
    /// Takes the words after the subcommand.
    pub fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    /// Removes `--name` and says whether it was there.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() != before
    }

    /// Removes `--name VALUE` (or `--name=VALUE`) and answers the value.
    pub fn option<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let prefix = format!("{name}=");
        let Some(at) = self.0.iter().position(|word| word == name || word.starts_with(&prefix))
        else {
            return Ok(None);
        };
        let word = self.0.remove(at);
        let value = match word.strip_prefix(&prefix) {
            Some(value) => value.to_owned(),
            None if at < self.0.len() => self.0.remove(at),
            None => return Err(format!("{name} needs a value")),
        };
        value.parse().map(Some).map_err(|_| format!("{name}: cannot use {value:?}"))
    }

    /// Removes the next word; `what` names it for the message when there is none.
    pub fn word<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        if self.0.is_empty() {
            return Err(format!("{what} is missing"));
        }
        let word = self.0.remove(0);
        word.parse().map_err(|_| format!("{what}: cannot use {word:?}"))
    }

    /// Says so when something is left that nobody asked for.
    pub fn end(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(format!("unexpected argument {word:?}")),
        }
    }
}

/// A time in seconds: `3` or `0.5`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let seconds: f64 = text.parse().map_err(|_| ())?;
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| ())
    }
}

/// A number of bytes: `4096`, `64K`, `100M`, `1G` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(()),
        };
        let number: u64 = digits.parse().map_err(|_| ())?;
        number.checked_mul(1 << shift).map(Self).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        Args::new(words.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn options_may_stand_anywhere_and_leave_the_words() {
        let mut args = args(&["a", "--port", "81", "--json", "--root=/x", "b"]);
        assert_eq!(args.option::<u16>("--port"), Ok(Some(81)));
        assert_eq!(args.option::<String>("--root"), Ok(Some("/x".into())));
        assert!(args.flag("--json"));
        assert_eq!(args.word::<String>("first"), Ok("a".into()));
        assert_eq!(args.word::<String>("second"), Ok("b".into()));
        assert!(args.word::<String>("third").is_err());
        assert!(args.end().is_ok());
    }

    #[test]
    fn wrong_values_are_named() {
        assert!(args(&["--port"]).option::<u16>("--port").is_err());
        assert!(args(&["--port", "99999"]).option::<u16>("--port").is_err());
        assert!(args(&["what"]).end().is_err());
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!("64M".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("10kib".parse(), Ok(Bytes(10 << 10)));
        assert!("99999999999999G".parse::<Bytes>().is_err());
        assert!("-1".parse::<Bytes>().is_err());
        assert!("".parse::<Bytes>().is_err());
        assert_eq!("0.5".parse(), Ok(Seconds(Duration::from_millis(500))));
        assert!("-1".parse::<Seconds>().is_err());
        assert!("inf".parse::<Seconds>().is_err());
    }
}
