//! Values that differ from run to run, so that no answer can be copied.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use indexmap::IndexMap;
use serde::Deserialize;

/// What a variable's value is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Kind {
    /// Six letters that can be said.
    Word,
    /// A number, both ends included.
    Number(u32, u32),
    /// A TCP port on which nobody listens.
    Port,
    /// One of these.
    OneOf(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Choices(Vec<String>),
}

impl TryFrom<Written> for Kind {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let text = match written {
            Written::Choices(choices) if choices.len() > 1 => return Ok(Self::OneOf(choices)),
            Written::Choices(_) => return Err("one choice is none".into()),
            Written::Name(text) => text,
        };
        let range = || {
            let (from, to) = text.split_once("..")?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from < to).then_some(Self::Number(from, to))
        };
        match text.as_str() {
            "word" => Ok(Self::Word),
            "port" => Ok(Self::Port),
            _ => range().ok_or(format!("{text:?} is none of: word, port, 10..99, [red, green]")),
        }
    }
}

impl Kind {
    fn value(&self) -> String {
        match self {
            Self::Word => word(),
            Self::Number(from, to) => (from + below(to - from + 1)).to_string(),
            Self::Port => free_port().to_string(),
            Self::OneOf(choices) => choices[below(choices.len() as u32) as usize].clone(),
        }
    }
}

/// A new value for each.
pub(super) fn values(kinds: &IndexMap<String, Kind>) -> IndexMap<String, String> {
    kinds.iter().map(|(name, kind)| (name.clone(), kind.value())).collect()
}

/// Puts the values in the places of `[NAME]`.
pub(super) fn fill_in(line: &str, values: &IndexMap<String, String>) -> String {
    values.iter().fold(line.into(), |line, (name, value)| line.replace(&format!("[{name}]"), value))
}

/// A name that a shell's variable can have, and that is not one of the words in a text.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The standard library seeds its hash maps from the kernel's random numbers.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn below(end: u32) -> u32 {
    (random() % u64::from(end)) as u32
}

fn word() -> String {
    let letter = |of: &[u8]| char::from(of[below(of.len() as u32) as usize]);
    (0..3).flat_map(|_| [letter(b"bdfgklmnprstvz"), letter(b"aeiou")]).collect()
}

/// One that was free a moment ago; `0`, which none is, where there is no loopback.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).map_or(0, |address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_their_kind_and_differ() {
        let words: Vec<_> = (0..20).map(|_| Kind::Word.value()).collect();
        assert!(words.iter().all(|word| word.len() == 6), "{words:?}");
        assert!(words.iter().any(|word| *word != words[0]));
        for _ in 0..100 {
            let number: u32 = Kind::Number(3, 5).value().parse().unwrap();
            assert!((3..=5).contains(&number));
        }
        assert!(Kind::Port.value().parse::<u16>().unwrap() > 1023);
    }

    #[test]
    fn they_are_filled_in() {
        let values = IndexMap::from([("WORD".into(), "nolami".into())]);
        assert_eq!(fill_in("[..] [WORD] $WORD [WORDS]", &values), "[..] nolami $WORD [WORDS]");
    }
}
