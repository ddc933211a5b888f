//! Every step of the recipes, as the sources of the parts have it.
//!
//! A recipe that is made here has the steps for this machine and this user, with its paths. The
//! sources have them all. A step is written as one chain of calls,
//! `Step::new(…).what(…).why(…).section(…).shell(…)`, so its texts are the first literals in them.
//! A text that is made while the program runs has `…` in the place of what is filled in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::markup::escape;
use crate::preprocessor::Place;

/// A step as its source has it.
#[derive(Debug)]
pub struct Step {
    /// The file, relative to the top of the sources.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    name: String,
    what: String,
    why: String,
    /// The section that teaches it: "2.9".
    pub section: String,
    shell: String,
}

/// The steps of all parts, in the order of their sections.
///
/// # Errors
/// A source cannot be read.
pub fn read(repository: &Path) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for part in crate::parts() {
        for path in crate::check::files(&repository.join(part.binary).join("src"), "rs")? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let file = path.strip_prefix(repository).unwrap_or(&path);
            steps.extend(steps_in(&text).map(|step| Step { file: file.into(), ..step }));
        }
    }
    steps.sort_by_key(|step| in_order(&step.section));
    Ok(steps)
}

/// 2.10 comes after 2.9.
fn in_order(section: &str) -> Vec<u32> {
    section.split('.').filter_map(|number| number.parse().ok()).collect()
}

fn steps_in(text: &str) -> impl Iterator<Item = Step> {
    text.match_indices("Step::new(").filter_map(|(at, new)| {
        let mut step = Step {
            file: PathBuf::new(),
            line: text[..at].lines().count(),
            name: String::new(),
            what: String::new(),
            why: String::new(),
            section: String::new(),
            shell: String::new(),
        };
        let (arguments, mut rest) = enclosed(&text[at + new.len()..])?;
        step.name = name(arguments);
        // The chain may go on after a `let step = …;`: its section ends it for us.
        while let Some((call, after)) = rest.split_once('(') {
            let (arguments, after) = enclosed(after)?;
            match call.trim().trim_start_matches(';').trim().rsplit('.').next() {
                Some("what") => step.what = literal(arguments),
                Some("why") => step.why = literal(arguments),
                Some("section") => step.section = literal(arguments),
                Some("shell") => step.shell = shell(arguments),
                _ => break,
            }
            rest = after;
        }
        (!step.section.is_empty()).then_some(step)
    })
}

/// What stands before the `)` that closes an open one, and what follows it.
fn enclosed(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quoted) = (1, false);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

/// The name is the last argument: a literal, or a constant like `EXECVE`.
fn name(arguments: &str) -> String {
    let text = literal(arguments);
    match text.is_empty() {
        true => arguments.rsplit("::").next().unwrap_or_default().to_lowercase(),
        false => text,
    }
}

/// A command, or a comment where no tool can do it: `no_tool("…")`.
fn shell(arguments: &str) -> String {
    let text = literal(arguments);
    let before = arguments.split('"').next().unwrap_or_default();
    match before.trim_end().ends_with("no_tool(") {
        true => shared::recipe::no_tool(&text),
        false => text,
    }
}

/// The first literal that is no separator, with `…` for what is filled in.
fn literal(arguments: &str) -> String {
    let mut rest = arguments;
    while let Some((_, after)) = rest.split_once('"') {
        let mut text = String::new();
        let mut chars = after.chars();
        loop {
            match chars.next() {
                None | Some('"') => break,
                Some('{') if chars.as_str().starts_with('{') => text.extend(chars.next()),
                Some('{') => {
                    let _ = chars.by_ref().find(|c| *c == '}');
                    text.push('…');
                }
                Some('}') => text.extend(chars.next()),
                Some('\\') => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('\n') => chars = chars.as_str().trim_start().chars(),
                    other => text.extend(other),
                },
                Some(c) => text.push(c),
            }
        }
        if text.len() > 2 {
            return text;
        }
        rest = chars.as_str();
    }
    String::new()
}

/// The steps of each part in a list.
///
/// # Errors
/// As [`read`].
pub fn lists(repository: &Path, places: &[Place], up: &str) -> Result<String> {
    let steps = read(repository)?;
    let mut out = String::new();
    for part in crate::parts() {
        let (number, binary) = (part.number, part.binary);
        out += &format!("## Part {number}: {binary} {{#steps-{number}}}\n\n<dl class=\"options\">");
        for step in steps.iter().filter(|step| step.file.starts_with(binary)) {
            let section = link(&step.section, places, up);
            let (name, what, why) = (escape(&step.name), escape(&step.what), escape(&step.why));
            out += &format!("<dt><code>{name}</code> {section}</dt><dd>{what}: {why}");
            for line in step.shell.split('\n').filter(|line| !line.is_empty()) {
                out += &format!("<br><code>{}</code>", escape(line));
            }
            out += "</dd>";
        }
        out += "</dl>\n\n";
    }
    Ok(out)
}

/// A link to the section, if its page is there.
fn link(section: &str, places: &[Place], up: &str) -> String {
    let anchor = format!("s{}", section.replace('.', "-"));
    match places.iter().find(|place| place.anchors.contains(&anchor)) {
        Some(place) => format!("<a href=\"{up}{}#{anchor}\">{section}</a>", place.path.display()),
        None => section.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_from_its_source() {
        let source = r#"
            let mut step = Step::new(PART, Place::Child, shared::EXECVE)
                .what(match n { 0 => format!("make {x} and {}: \"{{}}\"", a(")")), _ => "b".into() })
                .why("as it \
                      is")
                .section("2.10");
            step = step.shell(parts.join("; "));
            Step::new(PART, Place::Child, "init").section("2.5").shell(no_tool("an init")).does(f)
            Step::new(PART, Place::Child, format!("tmpfs {at}")).section("2.9").does(f)"#;
        let steps: Vec<Step> = steps_in(source).collect();
        assert_eq!(steps.len(), 3);
        let Step { line, name, what, why, section, shell, .. } = &steps[0];
        assert_eq!(
            (*line, name.as_str(), section.as_str(), shell.as_str()),
            (2, "execve", "2.10", "")
        );
        assert_eq!((what.as_str(), why.as_str()), ("make … and …: \"{}\"", "as it is"));
        assert_eq!(steps[1].shell, "# not possible with standard tools: an init");
        assert_eq!(steps[2].name, "tmpfs …");
        assert!(in_order("2.9") < in_order("2.10"));
    }

    #[test]
    fn no_step_is_missed() {
        let steps = read(&crate::repository()).unwrap();
        let sources = crate::parts().map(|part| crate::repository().join(part.binary).join("src"));
        let files = sources.iter().flat_map(|dir| crate::check::files(dir, "rs").unwrap());
        let named: usize = files
            .map(|path| fs::read_to_string(path).unwrap().matches(".section(\"").count())
            .sum();
        assert_eq!(steps.len(), named);
        for Step { file, line, what, why, .. } in &steps {
            assert!(!what.is_empty() && !why.is_empty(), "{}:{line}", file.display());
        }
    }
}
