//! Checkpoints: one experiment each, written once, in the Markdown of its chapter.
//!
//! A checkpoint is a fenced block tagged `yaml checkpoint`: a question to predict, a console
//! session with what it must print, a hint, the reason. The book renders it, [`run`] runs it for a
//! learner, the tests run all of them, and a class is graded by it.

mod expected;
mod inside;
mod keeper;
mod leftovers;
pub mod pages;
mod place;
pub mod progress;
pub mod report;
pub mod run;
pub mod session;
mod shell;
mod vars;

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::needs::{self, Unmet};
use crate::part::User;
use session::Session;
pub use vars::Kind;

/// A checkpoint as the book has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The number of its section.
    pub id: Id,
    /// In a few words.
    pub title: String,
    /// How long its section takes.
    pub minutes: u16,
    /// What it cannot run without.
    #[serde(default)]
    pub needs: Vec<Requirement>,
    /// The namespaces that its shell gets for itself, besides that of mounts.
    #[serde(default)]
    pub unshare: Vec<Namespace>,
    /// Shell variables with a new random value in each run.
    #[serde(default)]
    pub vars: IndexMap<String, Kind>,
    /// What the learner is asked before.
    pub predict: Option<Prediction>,
    /// What is typed, and what is seen.
    pub session: Session,
    /// What helps when something else is seen. Markdown.
    pub hint: String,
    /// Why it is as it was seen. Markdown.
    pub because: String,
}

/// A question with its choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// What is asked. Markdown.
    pub question: String,
    /// Two or more. Markdown.
    pub choices: Vec<String>,
    /// The number of the right one, from 1.
    pub answer: usize,
}

/// The number of a section: part 1–5, and its place in it. Written `1.4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    /// The part, 1–5.
    pub part: u8,
    /// From 1.
    pub number: u16,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.part, self.number)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('.').and_then(|(part, number)| {
            Some(Self { part: part.parse().ok()?, number: number.parse().ok()? })
        });
        numbers
            .filter(|id| (1..=5).contains(&id.part) && id.number > 0 && id.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no checkpoint's number, like 1.4"))
    }
}

/// A namespace that the session's shell gets: `namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Links, addresses, ports; `lo` is up.
    Net,
    /// The host name.
    Uts,
    /// System V objects and message queues.
    Ipc,
    /// Processes; `/proc` shows them.
    Pid,
    /// The root of the cgroup tree.
    Cgroup,
}

/// What a session cannot run without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Root, or root of a user namespace that the lab makes around the session.
    AnyRoot,
    /// A program that not every machine has.
    Program(String),
    /// What `doctor` can try.
    Need(&'static str),
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyRoot => f.write_str("any-root"),
            Self::Program(name) => write!(f, "program:{name}"),
            Self::Need(name) => f.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

impl TryFrom<String> for Requirement {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "any-root" {
            return Ok(Self::AnyRoot);
        }
        if let Some(program) = text.strip_prefix("program:") {
            return Ok(Self::Program(program.into()));
        }
        let need = needs::find(&text).map(|need| Self::Need(need.name));
        need.ok_or_else(|| format!("there is no need {text:?}: see `part5-network doctor --help`"))
    }
}

impl Requirement {
    /// Tries it: some milliseconds.
    ///
    /// # Errors
    /// Why it is not met, and what to do about it.
    pub fn attempt(&self) -> Result<(), Unmet> {
        let try_need = |name: &str| needs::find(name).map_or(Ok(()), needs::Need::attempt);
        match self {
            Self::AnyRoot if User::current().is_root() => Ok(()),
            Self::AnyRoot => try_need("userns").and_then(|()| try_need("mountns")),
            Self::Need(name) => try_need(name),
            Self::Program(name) => needs::find_program(name).map(drop).ok_or_else(|| Unmet {
                why: format!("the program {name} is not installed"),
                advice: format!("install {name}, if your distribution has it"),
                cause: None,
            }),
        }
    }
}

impl Checkpoint {
    /// A checkpoint from its block's text.
    ///
    /// # Errors
    /// What is wrong, with the line in the block, from 1.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let checkpoint: Self = serde_yaml::from_str(text).map_err(|error| {
            (error.location().map_or(1, |location| location.line()), error.to_string())
        })?;
        checkpoint.check().map_err(|why| (1, why))?;
        Ok(checkpoint)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(Prediction { choices, answer, .. }) = &self.predict
            && (choices.len() < 2 || !(1..=choices.len()).contains(answer))
        {
            return Err("predict: two or more choices, and the number of the right one".into());
        }
        let root = Requirement::Need("root");
        if !self.unshare.is_empty() && !self.needs_any_root() && !self.needs.contains(&root) {
            return Err("unshare: needs root or any-root".into());
        }
        if self.vars.keys().any(|name| !vars::is_name(name)) {
            return Err("vars: a name has capital letters, digits and _".into());
        }
        Ok(())
    }

    /// Tries what it needs, up to the first that is not met.
    pub fn first_unmet(&self) -> Option<(&Requirement, Unmet)> {
        self.needs.iter().find_map(|need| Some((need, need.attempt().err()?)))
    }

    /// Whether its session runs in a user namespace when we are not root.
    pub fn needs_any_root(&self) -> bool {
        self.needs.contains(&Requirement::AnyRoot)
    }

    /// The binary it belongs to, by number: `part1-chroot` for 1.4.
    pub fn part(&self) -> u8 {
        self.id.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "
id: 1.10
title: t
minutes: 3
needs: [any-root, program:strace, netns]
unshare: [net]
vars: {WORD: word, N: 1..3, C: [red, green]}
predict: {question: q, choices: [a, b], answer: 2}
session: |
  $ echo $WORD
  [WORD]
hint: h
because: b
";

    #[test]
    fn ten_is_not_one() {
        let checkpoint = Checkpoint::parse(SAMPLE).unwrap();
        assert_eq!(checkpoint.id, Id { part: 1, number: 10 });
        assert_eq!(checkpoint.id.to_string(), "1.10");
        assert!(checkpoint.needs_any_root());
        for wrong in ["0.1", "6.1", "1.0", "1", "1.01", "1.1.1", "a.b", ""] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (from, to, line, why) in [
            ("answer: 2", "answer: 3", 1, "two or more choices"),
            ("netns", "nettens", 5, "there is no need \"nettens\""),
            ("hint: h", "hints: h", 12, "unknown field `hints`"),
            ("any-root, ", "", 1, "needs root or any-root"),
            ("word,", "wort,", 7, "wort"),
            ("WORD: ", "word: ", 1, "capital letters"),
            // Of a text that is understood later, only the block is known.
            ("  $ echo $WORD\n", "", 2, "begins with `$ `"),
        ] {
            let (at, text) = Checkpoint::parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(text.contains(why), "{from} → {to}: {at}: {text}");
            assert!(at.abs_diff(line) <= 2, "{from} → {to}: {at}: {text}");
        }
    }
}
