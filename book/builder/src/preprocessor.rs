//! What we add to mdBook: checkpoints become cards, and directives what they stand for.
//!
//! | directive | stands for |
//! | --- | --- |
//! | `{{#minutes}}`, `{{#minutes 2}}` | how long all checkpoints, or those of a part, take |
//! | `{{#checkpoints}}`, `{{#checkpoints 2}}` | tables of all of them, or of one part's |
//! | `{{#commands}}` | every command of the five programs, with its options |
//! | `{{#steps}}` | every step of the recipes |

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use mdbook_preprocessor::book::{Book, Chapter};
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use shared::lab::checkpoint::{Checkpoint, pages};

use crate::{card, generated, markup};

/// The preprocessor.
pub struct Cards {
    repository: PathBuf,
}

/// A page of the book.
pub struct Place {
    /// Its file, relative to `book/src`.
    pub path: PathBuf,
    /// The names of its headings that it gives itself: `{#s2-9}`.
    pub anchors: Vec<String>,
    /// Its checkpoints.
    pub checkpoints: Vec<Checkpoint>,
}

impl Cards {
    /// For the book in these sources.
    pub fn new(repository: &Path) -> Self {
        Self { repository: repository.to_owned() }
    }
}

impl Preprocessor for Cards {
    fn name(&self) -> &str {
        "checkpoints"
    }

    fn run(&self, _: &PreprocessorContext, mut book: Book) -> Result<Book> {
        let places = book.chapters().map(place).collect::<Result<Vec<_>>>()?;
        let outcome = RefCell::new(Ok(()));
        book.for_each_chapter_mut(|chapter| {
            let filled = fill_in(chapter, &places, &self.repository);
            match filled {
                Ok(content) => chapter.content = content,
                Err(error) => *outcome.borrow_mut() = Err(error),
            }
        });
        outcome.into_inner().map(|()| book)
    }
}

fn place(chapter: &Chapter) -> Result<Place> {
    let path = path_of(chapter);
    let parse = |block: pages::Block| {
        Checkpoint::parse(block.text).map_err(|(line, why)| {
            anyhow!("book/src/{}:{}: {why}", path.display(), block.line + line)
        })
    };
    let checkpoints = pages::blocks(&chapter.content).into_iter().map(parse);
    let checkpoints = checkpoints.collect::<Result<_>>()?;
    let anchors = chapter.content.lines().filter(|line| line.starts_with('#'));
    let anchors = anchors.filter_map(|line| line.split_once("{#")?.1.strip_suffix('}'));
    let anchors = anchors.map(Into::into).collect();
    Ok(Place { path, anchors, checkpoints })
}

fn path_of(chapter: &Chapter) -> PathBuf {
    chapter.source_path.clone().unwrap_or_default()
}

fn fill_in(chapter: &Chapter, places: &[Place], repository: &Path) -> Result<String> {
    let path = path_of(chapter);
    let content = with_cards(&chapter.content)?;
    let up = "../".repeat(path.components().count() - 1);
    let mut filled = String::new();
    let mut rest = content.as_str();
    while let Some((before, after)) = rest.split_once("{{#") {
        let (words, after) = after.split_once("}}").unwrap_or((after, ""));
        let words: Vec<&str> = words.split(' ').collect();
        filled.push_str(before);
        rest = after;
        if words[0] == "include" {
            continue; // mdBook found nothing there, and has said so.
        }
        let part = match words.get(1).map(|word| word.parse::<u8>()) {
            Some(Ok(part)) if (1..=5).contains(&part) => Some(part),
            None => None,
            Some(_) => bail!("book/src/{}: {words:?} names no part", path.display()),
        };
        filled.push_str(&match words[0] {
            "minutes" => generated::checkpoints::minutes(places, part),
            "checkpoints" => generated::checkpoints::tables(places, part, &up),
            "commands" => generated::commands::all(),
            "steps" => generated::steps::lists(repository, places, &up)?,
            other => bail!("book/src/{}: there is no directive {other}", path.display()),
        });
    }
    Ok(filled + rest)
}

/// The page with a card in the place of each checkpoint.
fn with_cards(page: &str) -> Result<String> {
    let lines: Vec<&str> = page.split_inclusive('\n').collect();
    let mut filled = String::new();
    let mut at = 0;
    for block in pages::blocks(page) {
        filled.extend(lines[at..block.line - 1].iter().copied());
        let checkpoint = Checkpoint::parse(block.text).map_err(|(_, why)| anyhow!(why))?;
        filled.push_str(&markup::one_line(&card::html(&checkpoint)));
        filled.push('\n');
        at = block.line + block.text.lines().count() + 1;
    }
    filled.extend(lines[at..].iter().copied());
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_stands_where_the_checkpoint_stood() {
        let page = "before\n\n```yaml checkpoint\nid: 1.4\ntitle: t\nminutes: 3\nsession: |\n  $ a\n\
                    \n  b\nhint: h\nbecause: b\n```\n\nafter\n";
        let filled = with_cards(page).unwrap();
        let lines: Vec<&str> = filled.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3], lines[4]), ("before", "", "", "after"));
        assert!(lines[2].starts_with("<section ") && lines[2].ends_with("</section>"));
        assert_eq!(lines.len(), 5);
    }
}
