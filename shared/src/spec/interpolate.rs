//! `${VARIABLE}` in values, as Compose replaces it.
//!
//! | written | becomes |
//! | --- | --- |
//! | `$V`, `${V}` | its value; an error when it is not set (Compose: a warning and nothing) |
//! | `${V-word}`, `${V:-word}` | `word` when it is not set (`:-` also when it is empty) |
//! | `${V?why}`, `${V:?why}` | an error that says `why` in the same cases |
//! | `${V+word}`, `${V:+word}` | `word` when it is set (`:+` and not empty), else nothing |
//! | `$$` | `$` |

use super::node::{Node, Value};
use super::problem::{Found, Shown};

/// How a variable of our environment is looked up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep `${A:-${B:-…}}` may go.
const DEEPEST: usize = 16;
/// How long all values together may become, in bytes.
const LONGEST: usize = 1 << 20;

/// Replaces the variables in every value of a tree; keys stay.
pub(super) fn tree(node: &mut Node, lookup: Lookup) -> Found<()> {
    Interpolation { lookup, length: 0 }.node(node)
}

struct Interpolation<'a> {
    lookup: Lookup<'a>,
    /// What replaced values hold so far.
    length: usize,
}

impl Interpolation<'_> {
    fn node(&mut self, node: &mut Node) -> Found<()> {
        let span = node.span;
        match &mut node.value {
            Value::List(nodes) => nodes.iter_mut().try_for_each(|node| self.node(node)),
            Value::Map(map) => map.values_mut().try_for_each(|entry| self.node(&mut entry.value)),
            Value::Scalar { text, quoted } if text.contains('$') => {
                *text = self.text(text, 0).map_err(|(title, hint)| {
                    let problem = span.problem(title, "in this value");
                    problem.hint(hint)
                })?;
                *quoted = true; // `${PORT}` is a text, as in Compose
                Ok(())
            }
            Value::Scalar { .. } => Ok(()),
        }
    }

    fn text(&mut self, text: &str, depth: usize) -> Result<String, (String, String)> {
        if depth > DEEPEST {
            return Err(bad("variables are nested too deep"));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let end = closing(after).ok_or_else(|| bad("a `${` is not closed"))?;
                out.push_str(&self.braces(&after[..end], depth)?);
                rest = &after[end + 1..];
            } else {
                let (name, after) = split_name(rest);
                out.push_str(&self.braces(name, depth)?);
                rest = after;
            }
            self.check_length(out.len())?;
        }
        out.push_str(rest);
        self.length += out.len();
        self.check_length(0)?;
        Ok(out)
    }

    fn check_length(&self, more: usize) -> Result<(), (String, String)> {
        if self.length + more > LONGEST {
            return Err(bad("the variables of this file become more than 1 MiB"));
        }
        Ok(())
    }

    /// What stands between `${` and `}`.
    fn braces(&mut self, inside: &str, depth: usize) -> Result<String, (String, String)> {
        let (name, rest) = split_name(inside);
        if name.is_empty() {
            return Err(bad("a `$` is not followed by a name"));
        }
        let (colon, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let value = (self.lookup)(name).filter(|value| !colon || !value.is_empty());
        let Some(operator) = rest.chars().next() else {
            return match value {
                _ if colon => Err(bad("`:` in `${…}` is not followed by `-`, `?` or `+`")),
                Some(value) => Ok(value),
                None => Err((
                    format!("the variable {} is not set", Shown(name)),
                    format!("set it, or write `${{{name}:-}}` for nothing"),
                )),
            };
        };
        let word = &rest[operator.len_utf8()..];
        match (operator, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => self.text(word, depth + 1),
            ('+', None) => Ok(String::new()),
            ('?', None) => Err((
                format!("the variable {} is not set: {}", Shown(name), Shown(word)),
                format!("set it before you start us: {name}=…"),
            )),
            _ => Err(bad("a `${…}` that Compose does not know")),
        }
    }
}

fn bad(title: &str) -> (String, String) {
    (title.into(), "write `$$` where you mean a dollar sign".into())
}

/// The name a text begins with, and what follows.
fn split_name(text: &str) -> (&str, &str) {
    let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let starts_well = !text.starts_with(|c: char| c.is_ascii_digit());
    text.split_at(if starts_well { end } else { 0 })
}

/// Where the `}` stands that closes a `${` whose inside is `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (index, character) in text.char_indices() {
        match character {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(index),
            '}' => open -= 1,
            _ => {}
        }
        before = character;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut interpolation = Interpolation { lookup: &lookup, length: 0 };
        interpolation.text(text, 0).map_err(|(title, _)| title)
    }

    #[test]
    fn replaces_as_compose() {
        for (text, expected) in [
            ("$A-${A}", "a-a"),
            ("$$A $${A}", "$A ${A}"),
            ("${B:-x}${EMPTY:-y}${EMPTY-z}", "xy"),
            ("${B-${A}}${B:-${C:-deep}}", "adeep"),
            ("${A:+set}${B+set}${EMPTY:+set}", "set"),
            ("${A:?gone}", "a"),
        ] {
            assert_eq!(replaced(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_set_or_not_closed() {
        for (text, expected) in [
            ("$B", "the variable `B` is not set"),
            ("${B:?no b}", "the variable `B` is not set: `no b`"),
            ("${A", "a `${` is not closed"),
            ("5 $", "a `$` is not followed by a name"),
            ("${A/x/y}", "a `${…}` that Compose does not know"),
        ] {
            assert_eq!(replaced(text), Err(expected.to_owned()), "{text}");
        }
        assert!(replaced(&"${B:-".repeat(1000)).is_err());
        let nested = "${B:-".repeat(30) + &"}".repeat(30);
        assert_eq!(replaced(&nested), Err("variables are nested too deep".to_owned()));
    }
}
