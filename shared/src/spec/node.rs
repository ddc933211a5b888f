//! YAML as a tree in which every node knows its place.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;

use super::problem::{Found, Problem, Shown, Span};

/// One value of the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub span: Span,
}

/// What a [`Node`] is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `quoted`: it is a text whatever it looks like.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Map),
}

/// The entries of a mapping in the order of the file, each with the place of its key.
pub(super) type Map = IndexMap<String, Entry>;

/// The right side of `key: value`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: Span,
    pub value: Node,
}

/// What a value looks like to YAML 1.2 (core schema).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    Bool,
    Number,
    Text,
    List,
    Map,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Map => "a mapping",
        })
    }
}

impl Node {
    /// What it looks like.
    pub fn kind(&self) -> Kind {
        match &self.value {
            Value::List(_) => Kind::List,
            Value::Map(_) => Kind::Map,
            Value::Scalar { quoted: true, .. } => Kind::Text,
            Value::Scalar { text, .. } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => Kind::Nothing,
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Bool,
                text if looks_like_number(text) => Kind::Number,
                _ => Kind::Text,
            },
        }
    }

    /// Whether there is no value: `key:` with nothing after it.
    pub fn is_nothing(&self) -> bool {
        self.kind() == Kind::Nothing
    }

    /// Something is wrong with this value.
    pub fn problem(&self, title: impl Into<String>, label: impl Into<String>) -> Box<Problem> {
        self.span.problem(title, label)
    }

    /// It is not what its key needs.
    pub fn expected(&self, what: &str) -> Box<Problem> {
        let kind = self.kind();
        let problem = self.problem(format!("{what} was expected, found {kind}"), what);
        match kind {
            Kind::Nothing => problem.hint("write a value, or remove the key"),
            _ => problem,
        }
    }

    /// A text, not empty. Compose wants quotes around what looks like a number; so do we, or a
    /// file that works here would not work there.
    pub fn text(&self) -> Found<&str> {
        match (&self.value, self.kind()) {
            (Value::Scalar { text, .. }, Kind::Number | Kind::Bool) => {
                Err(self.expected("a text").hint(format!("put it in quotes: \"{text}\"")))
            }
            (Value::Scalar { text, .. }, Kind::Text) if text.is_empty() => {
                Err(self.problem("a text was expected, found an empty one", "nothing in it"))
            }
            (Value::Scalar { text, .. }, Kind::Text) => Ok(text),
            _ => Err(self.expected("a text")),
        }
    }

    /// A text that may be empty.
    pub fn text_or_empty(&self) -> Found<&str> {
        match &self.value {
            Value::Scalar { text, quoted: true } => Ok(text),
            _ => self.text(),
        }
    }

    /// A text, number or boolean, as it was written; `what` names what is needed in an error.
    pub fn scalar(&self, what: &str) -> Found<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_nothing() => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    /// `true` or `false`, also in quotes.
    pub fn flag(&self) -> Found<bool> {
        let what = "`true` or `false`";
        match self.scalar(what)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(self.expected(what)),
        }
    }

    /// A whole number between `least` and `most`, also in quotes.
    pub fn number<T>(&self, least: T, most: T) -> Found<T>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let what = format!("a whole number from {least} to {most}");
        let text = self.scalar(&what)?;
        match text.parse::<T>() {
            Ok(number) if number < least => Err(self.problem(format!("{text} is too small"), what)),
            Ok(number) if number > most => Err(self.problem(format!("{text} is too large"), what)),
            Ok(number) => Ok(number),
            Err(_) if text.parse::<i128>().is_ok() => {
                Err(self.problem(format!("{} is out of range", Shown(text)), what))
            }
            Err(_) => Err(self.problem(format!("{} is not a whole number", Shown(text)), what)),
        }
    }

    /// A list.
    pub fn list(&self) -> Found<&[Node]> {
        match &self.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(self.expected("a list")),
        }
    }

    /// A list, or one text that stands for a list of one.
    pub fn list_or_one(&self) -> Found<&[Node]> {
        match self.kind() {
            Kind::List => self.list(),
            Kind::Text => Ok(std::slice::from_ref(self)),
            _ => Err(self.expected("a list or a text")),
        }
    }

    /// A mapping.
    pub fn map(&self) -> Found<&Map> {
        match &self.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.expected("a mapping")),
        }
    }

    /// Each item of a list, read by `read`.
    pub fn each<T>(&self, read: impl Fn(&Node) -> Found<T>) -> Found<Vec<T>> {
        self.list()?.iter().map(read).collect()
    }
}

/// Whether YAML takes an unquoted text for a number.
fn looks_like_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    if let Some(rest) = digits.strip_prefix("0x") {
        return u64::from_str_radix(rest, 16).is_ok();
    }
    if let Some(rest) = digits.strip_prefix("0o") {
        return u64::from_str_radix(rest, 8).is_ok();
    }
    matches!(digits, ".inf" | ".nan")
        || digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && text.parse::<f64>().is_ok()
}
