//! From YAML text to a tree of [`Node`]s.
//!
//! `serde_yaml` keeps the last of two equal keys and forgets where a value stood. A parser of
//! events tells both, and lets us stop before a hostile file costs time: the depth is limited, and
//! so is what anchors may unfold to.

use std::collections::HashMap;

use indexmap::map::Entry as Slot;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::node::{Entry, Map, Node, Value};
use super::problem::{Found, Problem, Shown, Span};

/// How deep lists and mappings may stand in each other. Compose needs eight.
const DEEPEST: usize = 64;
/// What a file may unfold to by `*alias`, in bytes of text and 32 more for each node.
const LARGEST: usize = 1 << 20;

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Found<Node> {
    let mut reader = Reader::new(text);
    reader.next()?; // the start of the stream
    if let (Event::StreamEnd, at) = reader.next()? {
        return Err(at.problem("the file is empty", "nothing here").hint("begin with `services:`"));
    }
    let (event, at) = reader.next()?;
    let root = reader.node(event, at, 0)?;
    reader.next()?; // the end of the document
    match reader.next()? {
        (Event::StreamEnd, _) => Ok(root),
        (_, at) => Err(at.problem("a second document begins here", "only one is read")),
    }
}

struct Reader<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    /// Where each character begins: the parser counts characters, an excerpt needs bytes.
    bytes: Vec<usize>,
    anchors: HashMap<usize, Node>,
    unfolded: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        let ends = std::iter::once(text.len());
        Self {
            text,
            parser: Parser::new_from_str(text),
            bytes: text.char_indices().map(|(byte, _)| byte).chain(ends).collect(),
            anchors: HashMap::new(),
            unfolded: 0,
        }
    }

    fn next(&mut self) -> Found<(Event<'t>, Span)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
                Ok((event, Span { start, end, line: span.start.line() }))
            }
            Some(Err(error)) => Err(self.not_yaml(&error)),
            None => {
                let end = self.text.len();
                Ok((Event::StreamEnd, Span { start: end, end, line: self.text.lines().count() }))
            }
        }
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }

    fn not_yaml(&self, error: &ScanError) -> Box<Problem> {
        let start = self.byte(error.marker().index());
        let at = Span { start, end: start, line: error.marker().line() };
        if error.info().contains("recursion limit") {
            return too_deep(at);
        }
        at.problem("this is not YAML", error.info())
            .hint("look at the indentation (spaces, no tabs), colons and quotes here")
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Found<Node> {
        if depth > DEEPEST {
            return Err(too_deep(span));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = is_text_tag(tag.as_deref(), span)?;
                let quoted = tagged || style != ScalarStyle::Plain;
                if text.contains('\0') {
                    return Err(span.problem("a NUL character cannot be used", "here"));
                }
                (anchor, Value::Scalar { text: text.into_owned(), quoted })
            }
            Event::SequenceStart(anchor, tag) => {
                is_text_tag(tag.as_deref(), span)?;
                (anchor, Value::List(self.list(depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                is_text_tag(tag.as_deref(), span)?;
                (anchor, Value::Map(self.map(depth)?))
            }
            _ => return Err(span.problem("this is not YAML", "a value was expected")),
        };
        let node = Node { value, span };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Found<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Found<Map> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, quoted } = key.value else {
                return Err(key.problem("a key must be a text", "not a list or mapping"));
            };
            if text == "<<" && !quoted {
                merged.push(value);
            } else {
                insert(&mut map, text, Entry { key: key.span, value })?;
            }
        }
        for value in merged {
            merge(&mut map, value)?;
        }
        Ok(map)
    }

    /// `*name`: a copy of what `&name` marked, as long as it fits.
    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Found<Node> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(span.problem("an alias of something that is not finished", "here"));
        };
        let (size, levels) = measure(node);
        self.unfolded += size;
        if self.unfolded > LARGEST || depth + levels > DEEPEST {
            return Err(span
                .problem("the aliases of this file unfold to too much", "here")
                .hint("write the values out, or use fewer aliases"));
        }
        Ok(node.clone())
    }
}

fn too_deep(at: Span) -> Box<Problem> {
    at.problem(format!("lists and mappings are nested more than {DEEPEST} deep"), "here")
}

/// Accepts no tag but `!!str`, which it tells.
fn is_text_tag(tag: Option<&Tag>, span: Span) -> Found<bool> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(_) => Err(span
            .problem("this value has a YAML tag", "tags are not supported")
            .hint("remove the word that begins with `!`")),
    }
}

fn insert(map: &mut Map, key: String, entry: Entry) -> Found<()> {
    match map.entry(key) {
        Slot::Vacant(slot) => {
            slot.insert(entry);
            Ok(())
        }
        Slot::Occupied(slot) => {
            let (first, line) = (slot.get().key, slot.get().key.line);
            let title = format!("the key {} stands here twice", Shown(slot.key()));
            Err(entry
                .key
                .problem(title, format!("again; first in line {line}"))
                .also(first, "first here")
                .hint("remove one of them"))
        }
    }
}

/// `<<: *name`: the keys of another mapping that this one does not have itself.
fn merge(map: &mut Map, value: Node) -> Found<()> {
    match value.value {
        Value::Map(other) => {
            for (key, entry) in other {
                map.entry(key).or_insert(entry);
            }
            Ok(())
        }
        Value::List(nodes) => nodes.into_iter().try_for_each(|node| merge(map, node)),
        Value::Scalar { .. } => Err(value.expected("a mapping")),
    }
}

/// The size (see [`LARGEST`]) and the number of levels of a node.
fn measure(node: &Node) -> (usize, usize) {
    let inner: (usize, usize) = match &node.value {
        Value::Scalar { text, .. } => return (32 + text.len(), 0),
        Value::List(nodes) => fold(nodes.iter().map(|node| (0, node))),
        Value::Map(map) => fold(map.iter().map(|(key, entry)| (32 + key.len(), &entry.value))),
    };
    (32 + inner.0, 1 + inner.1)
}

fn fold<'n>(nodes: impl Iterator<Item = (usize, &'n Node)>) -> (usize, usize) {
    nodes.fold((0, 0), |(size, levels), (more, node)| {
        let (inner, deep) = measure(node);
        (size + more + inner, levels.max(deep))
    })
}
