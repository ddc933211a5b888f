//! Spelling: the words of the pages, of the pictures, and of the comments in code that is shown,
//! against a dictionary and `book/words.txt`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use shared::lab::checkpoint::Checkpoint;
use spellbook::Dictionary;

use super::built::Html;
use super::page::Page;
use super::{Outcome, Sources, checkpoints, code, files};

/// Debian's package `hunspell-en-gb` has them here; Fedora's and Arch's as well.
const DICTIONARY: &str = "/usr/share/hunspell/en_GB";

/// Words that only we have, one a line, sorted, in small letters.
const OUR_WORDS: &str = "book/words.txt";

/// Words that are in no list; words of ours that nobody uses.
pub fn complaints(sources: &Sources) -> Result<Outcome> {
    let Some(dictionary) = dictionary()? else {
        let why = format!("there is no {DICTIONARY}.dic (apt-get install hunspell-en-gb)");
        return Ok(Outcome::Skipped(why));
    };
    let list = fs::read_to_string(sources.repository.join(OUR_WORDS))?;
    let ours: BTreeSet<&str> = list.lines().collect();
    let mut complaints = Vec::new();
    if !list.lines().eq(ours.iter().copied()) {
        complaints.push(format!("{OUR_WORDS}: not sorted, or a word twice (sort -u, LC_ALL=C)"));
    }
    let mut used = BTreeSet::new();
    for (at, text) in texts(sources)? {
        for word in words(&text) {
            let small = word.to_lowercase();
            if let Some(known) = ours.get(small.as_str()) {
                used.insert(*known);
            } else if !dictionary.check(word) && !dictionary.check(&small) {
                complaints.push(format!("{at}: {word}: correct it, or add it to {OUR_WORDS}"));
            }
        }
    }
    let unused = ours.difference(&used).map(|word| format!("{OUR_WORDS}: {word}: nobody uses it"));
    complaints.extend(unused);
    complaints.dedup();
    Ok(Outcome::Done(complaints))
}

fn dictionary() -> Result<Option<Dictionary>> {
    let read = |ending: &str| fs::read_to_string(format!("{DICTIONARY}.{ending}"));
    let (Ok(rules), Ok(words)) = (read("aff"), read("dic")) else { return Ok(None) };
    Dictionary::new(&rules, &words).map(Some).map_err(|error| anyhow!("{DICTIONARY}: {error}"))
}

/// All text that is read, each with its place.
fn texts(sources: &Sources) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for page in sources.all() {
        texts.extend(joined(page));
        for (line, checkpoint) in checkpoints::of(page).into_iter().flatten() {
            let fields = Page::parse(Path::new(""), markdown_of(&checkpoint));
            texts.extend(joined(&fields).into_iter().map(|(_, text)| (page.at(line), text)));
        }
    }
    let mut shown = BTreeSet::new();
    for region in code::regions(sources).into_iter().flatten() {
        if !region.file.ends_with(".rs") || !shown.insert((region.file.clone(), region.line)) {
            continue;
        }
        for (number, line) in (region.line..).zip(region.text.lines()) {
            if let Some(comment) = comment(line) {
                let page = Page::parse(Path::new(""), comment.into());
                let at = format!("{}:{number}", region.file);
                texts.extend(joined(&page).into_iter().map(|(_, text)| (at.clone(), text)));
            }
        }
    }
    for path in files(&sources.repository.join("book/src"), "svg")? {
        let name = path.strip_prefix(&sources.repository).unwrap_or(&path).display().to_string();
        let html = Html::parse(&fs::read_to_string(&path)?);
        texts.extend(html.text.into_iter().map(|(line, text)| (format!("{name}:{line}"), text)));
    }
    Ok(texts)
}

/// The prose of a page, line by line: a word may consist of pieces (`it` `'` `s`).
fn joined(page: &Page) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for (line, text) in &page.prose {
        let at = page.at(*line);
        match lines.last_mut() {
            Some((before, joined)) if *before == at => joined.push_str(text),
            _ => lines.push((at, text.clone())),
        }
    }
    lines
}

fn markdown_of(checkpoint: &Checkpoint) -> String {
    let mut fields = vec![&checkpoint.title, &checkpoint.hint, &checkpoint.because];
    if let Some(predict) = &checkpoint.predict {
        fields.push(&predict.question);
        fields.extend(&predict.choices);
    }
    fields.into_iter().map(|field| format!("{field}\n\n")).collect()
}

/// The comment of a line of Rust, if it is one.
fn comment(line: &str) -> Option<&str> {
    let comment = line.trim_start().strip_prefix("//")?;
    Some(comment.trim_start_matches(['/', '!']).trim())
}

/// The words of a text: no names with digits or signs in them (`clone3`, `/proc`, `a_b`), and none
/// in capital letters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let apart = |c: char| c.is_whitespace() || "-–—…()[]{}\"“”,;:!?*<>|=+·→".contains(c);
    text.split(apart).filter_map(|token| {
        let token = token.trim_matches(['.', '\'', '’', '‘', '`']);
        let token = token.strip_suffix("'s").or(token.strip_suffix("’s")).unwrap_or(token);
        let plain = token.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '’');
        let capital = token.chars().nth(1).is_some_and(char::is_uppercase);
        (plain && !capital && token.chars().count() > 1).then_some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        let text = "It’s the host's `x`, (CVE-2016-9962): a/b clone3 x.rs set-user-id. Don't! PIDs";
        let found: Vec<&str> = words(text).collect();
        assert_eq!(found, ["It", "the", "host", "set", "user", "id", "Don't"]);
    }

    #[test]
    fn comments_are_found() {
        assert_eq!(comment("    /// a `b`"), Some("a `b`"));
        assert_eq!(comment("let x = 1; // no"), None);
    }
}
