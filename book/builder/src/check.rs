//! What can be checked of the book and of the README without a browser.
//!
//! A check answers complaints, each in the form `file:line: what`.

mod built;
mod checkpoints;
mod code;
mod commands;
mod errors;
mod page;
mod spelling;
mod structure;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::site;
use page::Page;

/// What a check answers.
enum Outcome {
    /// Complaints; none is good.
    Done(Vec<String>),
    /// It could not be made, and why.
    Skipped(String),
}

/// What all checks read.
struct Sources {
    repository: PathBuf,
    /// The book's pages, without the table of contents.
    book: Vec<Page>,
    summary: Page,
    readme: Page,
}

impl Sources {
    fn read(repository: &Path) -> Result<Self> {
        let src = repository.join("book/src");
        let page = |path: &Path| Page::read(path, repository);
        let summary = src.join("SUMMARY.md");
        let pages = files(&src, "md")?.into_iter().filter(|path| *path != summary);
        Ok(Self {
            book: pages.map(|path| page(&path)).collect::<Result<_>>()?,
            summary: page(&summary)?,
            readme: page(&repository.join("README.md"))?,
            repository: repository.to_owned(),
        })
    }

    fn all(&self) -> impl Iterator<Item = &Page> {
        self.book.iter().chain([&self.readme])
    }
}

/// Builds the book, makes every check, and says how each went. Answers whether all is well.
///
/// # Errors
/// The book cannot be built or read.
pub fn check_and_tell(repository: &Path, no_skip: bool) -> Result<bool> {
    let outcomes = outcomes(repository, &site::usual_place(repository))?;
    Ok(tell(&outcomes, no_skip))
}

/// Builds the book into `site` and makes every check.
fn outcomes(repository: &Path, site: &Path) -> Result<[(&'static str, Outcome); 13]> {
    let warnings = site::build(repository, site)?;
    let sources = Sources::read(repository)?;
    Ok([
        ("mdBook has nothing to warn of", Outcome::Done(warnings)),
        (
            "every fence says what it is, and sessions are checkpoints",
            Outcome::Done(structure::fences(&sources)),
        ),
        ("every page is in the table of contents", Outcome::Done(structure::lost_pages(&sources))),
        ("every link of the sources leads somewhere", Outcome::Done(structure::links(&sources))),
        ("every included region is there", Outcome::Done(code::includes(&sources)?)),
        (
            "every checkpoint stands in its section",
            Outcome::Done(checkpoints::in_their_sections(&sources)),
        ),
        ("there are enough checkpoints", Outcome::Done(checkpoints::enough(&sources))),
        (
            "every step's section is in the book",
            Outcome::Done(checkpoints::sections_of_steps(&sources)?),
        ),
        ("every command would be understood", Outcome::Done(commands::complaints(&sources))),
        ("every error has an entry", Outcome::Done(errors::complaints(&sources)?)),
        ("the README says how to start and how to test", Outcome::Done(commands::readme(&sources))),
        (
            "every link of the built book leads somewhere",
            Outcome::Done(built::complaints(site, repository)?),
        ),
        ("every word is spelled as in the dictionary", spelling::complaints(&sources)?),
    ])
}

fn tell(outcomes: &[(&str, Outcome)], no_skip: bool) -> bool {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Done(complaints) if complaints.is_empty() => {
                passed += 1;
                println!("ok      {name}");
            }
            Outcome::Done(complaints) => {
                failed += 1;
                println!("FAILED  {name}\n    {}", complaints.join("\n    "));
            }
            Outcome::Skipped(why) if no_skip => {
                failed += 1;
                println!("FAILED  {name}\n    must not be skipped here: {why}");
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                println!("SKIPPED {name}: {why}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored");
    failed == 0
}

/// The files below `dir` that end with `.ending`, sorted.
///
/// # Errors
/// A directory cannot be read.
pub fn files(dir: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_and_the_readme_are_sound() {
        let site = tempfile::tempdir().unwrap();
        let outcomes = outcomes(&crate::repository(), site.path()).unwrap();
        // Words are for `check`, which tells when there is no dictionary.
        assert!(tell(&outcomes, false));
    }
}
