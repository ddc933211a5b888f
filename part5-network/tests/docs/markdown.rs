//! As much of Markdown as the README and the book use.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of Markdown, taken apart.
pub struct Page {
    /// Where it is.
    pub path: PathBuf,
    /// Its fenced blocks.
    pub fences: Vec<Fence>,
    /// The targets of its links with their lines, those of `[name]: target` included.
    pub links: Vec<(usize, String)>,
    /// Complaints about `[text][name]` without a `[name]: target`.
    pub undefined: Vec<String>,
    /// What stands in `{{#include …}}`, with its line.
    pub includes: Vec<(usize, String)>,
    /// The names that a link can have after `#`.
    pub anchors: Vec<String>,
}

/// A block between two lines of three backticks.
pub struct Fence {
    /// The line it begins with, from 1.
    pub line: usize,
    /// What follows the backticks.
    pub kind: String,
    /// Its lines.
    pub lines: Vec<String>,
}

impl Page {
    pub fn read(path: &Path) -> Self {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    pub fn parse(path: &Path, text: &str) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            fences: Vec::new(),
            links: Vec::new(),
            undefined: Vec::new(),
            includes: Vec::new(),
            anchors: Vec::new(),
        };
        let mut prose: Vec<(usize, String)> = Vec::new();
        let mut open: Option<Fence> = None;
        for (number, line) in (1..).zip(text.lines()) {
            page.includes.extend(include(line).map(|target| (number, target)));
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(kind)) => {
                    open = Some(Fence { line: number, kind: kind.to_owned(), lines: Vec::new() });
                }
                (Some(_), Some("")) => page.fences.extend(open.take()),
                (Some(fence), _) => fence.lines.push(line.to_owned()),
                (None, None) => prose.push((number, without_code(line))),
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", path.display());
        page.anchors = text.lines().filter_map(anchor).collect();
        page.take_links(&prose);
        page
    }

    /// A place in it, as compilers write it.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// What is typed in its sessions, each with its line; lines after `> ` are joined to theirs.
    pub fn commands(&self) -> Vec<(usize, String)> {
        let mut found: Vec<(usize, String)> = Vec::new();
        for fence in self.fences.iter().filter(|fence| fence.kind == "console") {
            let mut open = false;
            for (number, line) in (fence.line + 1..).zip(&fence.lines) {
                if let Some(command) = line.strip_prefix("$ ") {
                    found.push((number, command.to_owned()));
                    open = true;
                } else if let (true, Some(more), Some(last)) =
                    (open, line.strip_prefix("> "), found.last_mut())
                {
                    last.1 = format!("{}\n{more}", last.1);
                } else {
                    open = false;
                }
            }
        }
        found
    }

    fn take_links(&mut self, prose: &[(usize, String)]) {
        let definition = |line: &str| {
            let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
            Some((name.to_owned(), target.trim().to_owned()))
        };
        let names: Vec<String> =
            prose.iter().filter_map(|(_, line)| Some(definition(line)?.0)).collect();
        // A link may be wrapped: what follows its text decides, and that is on one line.
        for (number, line) in prose {
            if let Some((_, target)) = definition(line) {
                self.links.push((*number, target));
            }
            for rest in line.split("](").skip(1) {
                let target = rest.split(')').next().unwrap_or("");
                self.links.push((*number, target.to_owned()));
            }
            for rest in line.split("][").skip(1) {
                let name = rest.split(']').next().unwrap_or("");
                if !names.iter().any(|known| known == name) {
                    self.undefined.push(format!("{}: [{name}] is not defined", self.at(*number)));
                }
            }
        }
    }
}

/// `{{#include TARGET}}`
fn include(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("{{#include ")?;
    Some(rest.split_once("}}")?.0.to_owned())
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// The name of a heading: the one it gives itself, or what mdBook makes of its words.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    if let Some((_, rest)) = title.split_once("{#") {
        return Some(rest.strip_suffix('}')?.to_owned());
    }
    let kept = title.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    Some(kept.collect())
}

#[test]
fn headings_have_names() {
    assert_eq!(anchor("## 2.9 /proc {#s2-9}").as_deref(), Some("s2-9"));
    assert_eq!(anchor("### /proc: the processes").as_deref(), Some("proc-the-processes"));
    assert_eq!(anchor("#hashtag"), None);
}

#[test]
fn sessions_are_read() {
    let page = Page::parse(Path::new("x"), "```console\n$ a \\\n> b\nout\n> no\n$ c\n```\n");
    assert_eq!(page.commands(), [(2, "a \\\nb".to_owned()), (6, "c".to_owned())]);
}
