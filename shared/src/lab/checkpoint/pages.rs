//! Where the checkpoints are: in the pages of the book, which every binary carries.

use std::fs;
use std::path::Path;

use super::Checkpoint;
use crate::error::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What stands after the three backticks of a checkpoint.
pub const FENCE: &str = "yaml checkpoint";

/// A block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// The line of its first backticks, from 1.
    pub line: usize,
    /// What stands between its two lines of backticks.
    pub text: &'a str,
}

/// The blocks of a page that are tagged as checkpoints.
pub fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize, bool)> = None;
    let mut at = 0;
    for (index, line) in page.split_inclusive('\n').enumerate() {
        let next = at + line.len();
        if let Some(kind) = line.strip_prefix("```") {
            open = match open {
                None => Some((index + 1, next, kind.trim() == FENCE)),
                Some((line, start, is_checkpoint)) => {
                    if is_checkpoint {
                        found.push(Block { line, text: &page[start..at] });
                    }
                    None
                }
            };
        }
        at = next;
    }
    found
}

/// The checkpoints of this binary's book, in their order.
///
/// # Errors
/// A block cannot be understood, or two have the same number: file, line and what is wrong.
pub fn embedded() -> Result<Vec<Checkpoint>> {
    collect(PAGES.iter().map(|(name, text)| ((*name).into(), (*text).into())))
}

/// The checkpoints of the Markdown files below a directory.
///
/// # Errors
/// As [`embedded`]; and what the file system answers.
pub fn below(dir: &Path) -> Result<Vec<Checkpoint>> {
    let mut pages = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let error = |e| Error::new(format!("cannot read {}", dir.display())).because(e);
        for entry in fs::read_dir(&dir).map_err(error)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push((path.display().to_string(), fs::read_to_string(&path).map_err(error)?));
            }
        }
    }
    collect(pages.into_iter())
}

fn collect(pages: impl Iterator<Item = (String, String)>) -> Result<Vec<Checkpoint>> {
    let mut found = Vec::<Checkpoint>::new();
    for (name, text) in pages {
        for block in blocks(&text) {
            let checkpoint = Checkpoint::parse(block.text).map_err(|(line, why)| {
                Error::new(format!("{name}:{}: {why}", block.line + line))
            })?;
            found.push(checkpoint);
        }
    }
    found.sort_by_key(|checkpoint| checkpoint.id);
    match found.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(Error::new(format!("two checkpoints have the number {}", pair[0].id))),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_this_kind() {
        let page = "# T\n```text\n```\n\n```yaml checkpoint\na\nb\n```\n```yaml\nc\n```\n";
        assert_eq!(blocks(page), [Block { line: 5, text: "a\nb\n" }]);
    }

    #[test]
    fn the_book_is_understood() {
        embedded().unwrap();
    }
}
