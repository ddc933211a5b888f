//! Every message that the programs can print as an error has an entry on one page.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pulldown_cmark::{Event, Parser};

use super::{Sources, files};

/// The page that has them.
const PAGE: &str = "book/src/reference/errors.md";

/// What stands before the text of a message in the sources below a directory.
const MARKS: [(&str, &str); 5] = [
    ("", "Error::new("),
    ("", "notes.push("),
    ("shared/src/spec/", ".problem("),
    ("shared/src/spec/", "let title = "),
    ("shared/src/spec/", "bad("),
];

/// Messages of the sources without an entry.
pub fn complaints(sources: &Sources) -> Result<Vec<String>> {
    let page = sources.book.iter().find(|page| page.name == Path::new(PAGE));
    let entries = entries(&page.with_context(|| format!("there is no {PAGE}"))?.text);
    let mut complaints = Vec::new();
    for package in crate::parts().map(|part| part.binary).into_iter().chain(["shared"]) {
        for path in files(&sources.repository.join(package).join("src"), "rs")? {
            let name = path.strip_prefix(&sources.repository).unwrap_or(&path);
            if name.ends_with("tests.rs") || name.components().any(|c| c.as_os_str() == "tests") {
                continue;
            }
            let name = name.display().to_string();
            let lacking = messages(&name, &fs::read_to_string(&path)?)
                .into_iter()
                .filter(|(_, message)| !entries.iter().any(|entry| fits(message, entry)));
            complaints.extend(lacking.map(|(line, message)| {
                format!("{name}:{line}: {message:?} has no entry in {PAGE}")
            }));
        }
    }
    Ok(complaints)
}

/// All that the page shows as code: messages stand there as they are printed.
fn entries(text: &str) -> Vec<String> {
    let code = |event| match event {
        Event::Code(code) => Some(code.to_string()),
        _ => None,
    };
    Parser::new(text).filter_map(code).collect()
}

/// The messages of a file, each with its line; a message that is put together elsewhere is not
/// seen.
fn messages(name: &str, source: &str) -> Vec<(usize, String)> {
    let source = source.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    let mut found = Vec::new();
    for (_, mark) in MARKS.iter().filter(|(dir, _)| name.starts_with(dir)) {
        for (at, _) in source.match_indices(mark).filter(|(at, _)| !source[..*at].ends_with("io::"))
        {
            let line = source[..at].matches('\n').count() + 1;
            found.extend(literal(&source[at + mark.len()..]).map(|text| (line, text)));
        }
    }
    found
}

/// The text in quotes that a call begins with, by itself or in `format!`.
fn literal(call: &str) -> Option<String> {
    let call = call.trim_start();
    let call = call.strip_prefix("format!(").map_or(call, str::trim_start);
    let mut rest = call.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                '\n' => rest = rest.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            plain => text.push(plain),
        }
    }
}

/// Whether an entry begins as a message does, whatever stands for its `{…}`.
fn fits(message: &str, entry: &str) -> bool {
    let mut pieces = message.split('{').map(|piece| piece.split_once('}').map_or(piece, |p| p.1));
    let Some(mut rest) = entry.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    pieces.all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_an_entry_is_found() {
        let source = "Error::new(format!(\n    \"cannot fly to {} by {}\"\n))\nError::new(\"no \\\n    \
                      \\\"wings\\\"\")\nio::Error::new(\"\")\nError::new(text)\n#[cfg(test)]\nmod tests";
        let found = messages("shared/src/x.rs", source);
        assert_eq!(found, [(1, "cannot fly to {} by {}".into()), (4, "no \"wings\"".into())]);
        let entries = entries("`cannot fly to PLACE by\nTIME`\n\n`` no `wings` ``");
        let known: Vec<_> = found.iter().map(|(_, m)| entries.iter().any(|e| fits(m, e))).collect();
        assert_eq!(known, [true, false]);
        assert!(!fits("fly to {}", &entries[0]) && !fits("cannot fly to {} at {}", &entries[0]));
    }
}
