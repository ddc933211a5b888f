//! A file of Markdown, taken apart.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{BrokenLink, CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

/// A file of Markdown, taken apart.
pub struct Page {
    /// Where it is, from the top of the sources.
    pub name: PathBuf,
    /// All of it.
    pub text: String,
    /// Its blocks of code.
    pub fences: Vec<Fence>,
    /// The targets of its links, each with its line.
    pub links: Vec<(usize, String)>,
    /// Names in `[text][name]` that are not defined.
    pub undefined: Vec<(usize, String)>,
    /// What stands in `{{#include …}}`.
    pub includes: Vec<(usize, String)>,
    /// The names that a link can have after `#`.
    pub anchors: Vec<String>,
    /// Its text without code.
    pub prose: Vec<(usize, String)>,
}

/// A block of code.
pub struct Fence {
    /// The line it begins with, from 1.
    pub line: usize,
    /// What follows the backticks; empty for one that is only indented.
    pub kind: String,
    /// What is in it.
    pub text: String,
}

impl Page {
    /// Reads a file of the repository.
    pub fn read(path: &Path, repository: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(path.strip_prefix(repository).unwrap_or(path), text))
    }

    /// Takes Markdown apart.
    pub fn parse(name: &Path, text: String) -> Self {
        let mut page = Self {
            name: name.to_owned(),
            fences: Vec::new(),
            links: Vec::new(),
            undefined: Vec::new(),
            includes: (1..)
                .zip(text.lines())
                .filter_map(|(n, line)| Some((n, include(line)?)))
                .collect(),
            anchors: Vec::new(),
            prose: Vec::new(),
            text: String::new(),
        };
        let undefined = RefCell::new(Vec::new());
        let broken = |link: BrokenLink| {
            // `[..]` is no link. `[text][name]` wants to be one.
            if matches!(link.link_type, LinkType::Reference | LinkType::Collapsed) {
                undefined
                    .borrow_mut()
                    .push((line(&text, link.span.start), link.reference.to_string()));
            }
            None
        };
        let options =
            Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES | Options::ENABLE_GFM;
        let events = Parser::new_with_broken_link_callback(&text, options, Some(broken));
        page.take(
            events.into_offset_iter().map(|(event, range)| (event, line(&text, range.start))),
        );
        page.undefined = undefined.into_inner();
        page.text = text;
        page
    }

    fn take<'a>(&mut self, events: impl Iterator<Item = (Event<'a>, usize)>) {
        let mut heading: Option<(Option<String>, String)> = None;
        let mut fence: Option<Fence> = None;
        for (event, line) in events {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let kind = match kind {
                        CodeBlockKind::Fenced(kind) => kind.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    fence = Some(Fence { line, kind, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => self.fences.extend(fence.take()),
                Event::Start(Tag::Heading { id, .. }) => {
                    heading = Some((id.map(|id| id.to_string()), String::new()));
                }
                Event::End(TagEnd::Heading(_)) => {
                    let name = heading.take().map(|(id, text)| id.unwrap_or_else(|| slug(&text)));
                    self.anchors.extend(name);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    self.links.push((line, dest_url.to_string()));
                }
                Event::Text(text) => match (&mut fence, &mut heading) {
                    (Some(fence), _) => fence.text.push_str(&text),
                    (None, heading) => {
                        if let Some((_, title)) = heading {
                            title.push_str(&text);
                        }
                        self.prose.push((line, text.to_string()));
                    }
                },
                Event::Code(text) => {
                    if let Some((_, title)) = &mut heading {
                        title.push_str(&text);
                    }
                    self.prose.push((line, " ".into()));
                }
                Event::SoftBreak | Event::HardBreak | Event::End(_) => {
                    self.prose.push((line, " ".into()))
                }
                _ => {}
            }
        }
    }

    /// A place in it, as compilers write it.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name.display())
    }
}

/// The number of the line of a place in a text, from 1.
fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// `{{#include TARGET}}`
fn include(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("{{#include ")?;
    Some(rest.split_once("}}")?.0.to_owned())
}

/// What mdBook makes of a heading's words.
fn slug(title: &str) -> String {
    let kept = title.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A page of `book/src` with this text.
    pub fn sample(text: &str) -> Page {
        Page::parse(Path::new("book/src/sample.md"), text.into())
    }

    #[test]
    fn a_page_is_taken_apart() {
        let page = sample(
            "# 2.9 `/proc` {#s2-9}\n\n## /proc: the *processes*\n\n[a](b.md#c) [d][e] [..]\n\n```sh\nls\n```\n\n\
             {{#include ../x.svg}}\n",
        );
        assert_eq!(page.anchors, ["s2-9", "proc-the-processes"]);
        assert_eq!(page.links, [(5, "b.md#c".to_owned())]);
        assert_eq!(page.undefined, [(5, "e".to_owned())]);
        assert_eq!(page.includes, [(11, "../x.svg".to_owned())]);
        let Fence { line, kind, text } = &page.fences[0];
        assert_eq!((*line, kind.as_str(), text.as_str()), (7, "sh", "ls\n"));
        assert!(!page.prose.iter().any(|(_, text)| text.contains("ls")));
    }
}
