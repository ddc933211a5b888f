//! The regions of code that pages show. mdBook shows nothing, and says nothing, for one that is not
//! there.

use std::fs;

use anyhow::Result;

use super::page::Page;
use super::structure::beside;
use super::{Sources, files};

/// Longer code is not read.
const MOST_LINES: usize = 45;

/// A region that a page includes.
pub struct Region {
    /// Its file, from the top of the sources.
    pub file: String,
    /// Its first line in the file, from 1.
    pub line: usize,
    /// Its lines.
    pub text: String,
}

/// All regions of Rust that pages include; or why one cannot be.
pub fn regions(sources: &Sources) -> Vec<Result<Region, String>> {
    let of = |page: &Page| {
        let includes = page.includes.iter();
        includes.map(|(line, target)| region(page, *line, target, sources)).collect::<Vec<_>>()
    };
    sources.book.iter().flat_map(of).collect()
}

fn region(page: &Page, line: usize, target: &str, sources: &Sources) -> Result<Region, String> {
    let at = page.at(line);
    let (file, name) = target.split_once(':').unwrap_or((target, ""));
    let file = beside(&page.name, file);
    let text = fs::read_to_string(sources.repository.join(&file))
        .map_err(|error| format!("{at}: {}: {error}", file.display()))?;
    let file = file.display().to_string();
    if name.is_empty() {
        return Ok(Region { file, line: 1, text });
    }
    let (line, text) = cut(&text, name).map_err(|why| format!("{at}: {file}: {why}"))?;
    match text.lines().count() {
        0 => Err(format!("{at}: {file}: the region {name} is empty")),
        n if n > MOST_LINES => Err(format!("{at}: {file}: {n} lines in the region {name}")),
        _ => Ok(Region { file, line, text }),
    }
}

/// The region with this name, and its first line. Marks of other regions are left out.
fn cut(text: &str, name: &str) -> Result<(usize, String), String> {
    let one = |wanted: Mark| {
        let mut places = (1..).zip(text.lines()).filter(|(_, line)| mark(line) == Some(wanted));
        match (places.next(), places.next()) {
            (Some((line, _)), None) => Ok(line),
            (None, _) => Err(format!("no line is the mark {wanted:?}")),
            (Some(_), Some(_)) => Err(format!("two lines are the mark {wanted:?}")),
        }
    };
    let (start, end) = (one(Mark::Start(name))?, one(Mark::End(name))?);
    if end < start {
        return Err(format!("the region {name} ends before it begins"));
    }
    let lines = text.lines().skip(start).take(end - start - 1);
    let kept = lines.filter(|line| mark(line).is_none()).map(|line| format!("{line}\n")).collect();
    Ok((start + 1, kept))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mark<'a> {
    Start(&'a str),
    End(&'a str),
}

/// The mark that a line is: a comment of Rust, or of shell and nft.
fn mark(line: &str) -> Option<Mark<'_>> {
    let comment = line.trim().trim_start_matches(['/', '#']).trim();
    let start = comment.strip_prefix("ANCHOR: ").map(Mark::Start);
    start.or(comment.strip_prefix("ANCHOR_END: ").map(Mark::End))
}

/// Regions that are not there, twice there, or too long; marks that no page uses.
pub fn includes(sources: &Sources) -> Result<Vec<String>> {
    let mut complaints: Vec<String> =
        regions(sources).into_iter().filter_map(Result::err).collect();
    let used: Vec<String> = sources
        .book
        .iter()
        .flat_map(|page| &page.includes)
        .map(|(_, target)| target.trim_start_matches("../").to_owned())
        .collect();
    for part in ["shared/src", "shared/examples"].map(Into::into).into_iter().chain(
        crate::parts()
            .iter()
            .flat_map(|part| ["src", "examples"].map(|dir| format!("{}/{dir}", part.binary))),
    ) {
        let dir = sources.repository.join(part);
        for path in if dir.is_dir() { files(&dir, "rs")? } else { Vec::new() } {
            let text = fs::read_to_string(&path)?;
            let file = path.strip_prefix(&sources.repository).unwrap_or(&path).display();
            for (number, line) in (1..).zip(text.lines()) {
                let Some(Mark::Start(name)) = mark(line) else { continue };
                if !used.contains(&format!("{file}:{name}")) {
                    complaints.push(format!("{file}:{number}: no page shows the region {name}"));
                }
            }
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_cut_out() {
        let text = "a\n  // ANCHOR: x\nb\n// ANCHOR: y\nc\n// ANCHOR_END: x\nd\n// ANCHOR_END: y\n";
        assert_eq!(cut(text, "x"), Ok((3, "b\nc\n".into())));
        assert!(cut(text, "z").unwrap_err().contains("no line is the mark Start(\"z\")"));
        assert!(cut(&text.repeat(2), "x").unwrap_err().contains("two lines"));
    }
}
