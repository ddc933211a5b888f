//! The built pages: every link and every anchor, inside and into the sources; no name twice.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer,
};

use super::files;
use super::structure::beside;

/// What a page names and what it points to.
#[derive(Default)]
pub struct Html {
    /// The values of `id`.
    pub ids: Vec<String>,
    /// The values of `href` and `src`, each with its line.
    links: Vec<(u64, String)>,
    /// The ids that labels name.
    labels: Vec<(u64, String)>,
    /// The text, outside of scripts and styles.
    pub text: Vec<(u64, String)>,
}

/// Links that lead nowhere; ids that are twice in a page; labels that are not there.
///
/// `site` may lie anywhere; its links into the sources lead from where it belongs, `book/book`.
pub fn complaints(site: &Path, repository: &Path) -> Result<Vec<String>> {
    let home = Path::new("book/book");
    let mut pages = BTreeMap::new();
    for path in files(site, "html")? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        pages.insert(home.join(path.strip_prefix(site)?), Html::parse(&text));
    }
    let ids: BTreeMap<&PathBuf, HashSet<&str>> = pages
        .iter()
        .map(|(path, html)| (path, html.ids.iter().map(String::as_str).collect()))
        .collect();
    let mut complaints = Vec::new();
    for (path, html) in &pages {
        let name = path.strip_prefix(home)?.display();
        let mut seen = HashSet::new();
        complaints.extend(
            html.ids
                .iter()
                .filter(|id| !seen.insert(*id))
                .map(|id| format!("{name}: two are called {id}")),
        );
        let labels = html.labels.iter().filter(|(_, id)| !ids[path].contains(id.as_str()));
        complaints
            .extend(labels.map(|(line, id)| format!("{name}:{line}: nothing is called {id}")));
        for (line, link) in &html.links {
            let exists = |target: &Path| match target.strip_prefix(home) {
                Ok(inside) => site.join(inside).exists(),
                Err(_) => repository.join(target).exists(),
            };
            if let Some(why) = broken(path, link, &ids, exists) {
                complaints.push(format!("{name}:{line}: {link}: {why}"));
            }
        }
    }
    Ok(complaints)
}

fn broken(
    page: &Path,
    link: &str,
    ids: &BTreeMap<&PathBuf, HashSet<&str>>,
    exists: impl Fn(&Path) -> bool,
) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") || link.starts_with("data:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_owned() } else { beside(page, file) };
    if !exists(&target) {
        return Some("there is no such file");
    }
    if anchor.is_empty() || target.extension().is_none_or(|ending| ending != "html") {
        return None;
    }
    let known = ids.get(&target).is_some_and(|ids| ids.contains(anchor));
    (!known).then_some("there is no such anchor")
}

impl Html {
    /// Reads HTML, or SVG.
    pub fn parse(text: &str) -> Self {
        let reader = Tokenizer::new(Reader::default(), Default::default());
        let input = BufferQueue::default();
        input.push_back(StrTendril::from(text));
        // We answer no scripts, so it reads all at once.
        let _ = reader.feed(&input);
        reader.end();
        reader.sink.0.into_inner()
    }
}

#[derive(Default)]
struct Reader(RefCell<Html>);

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        let html = &mut *self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return html.take(&tag, line),
            Token::CharacterTokens(text) => html.text.push((line, text.to_string())),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Html {
    fn take(&mut self, tag: &Tag, line: u64) -> TokenSinkResult<()> {
        for attribute in &tag.attrs {
            let value = attribute.value.to_string();
            match &*attribute.name.local {
                "id" => self.ids.push(value),
                "href" | "src" => self.links.push((line, value)),
                "aria-labelledby" => {
                    self.labels.extend(value.split_whitespace().map(|id| (line, id.to_owned())));
                }
                _ => {}
            }
        }
        match &*tag.name {
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" => TokenSinkResult::RawData(RawKind::Rawtext),
            _ => TokenSinkResult::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_found() {
        let site = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(site.path().join(name), text).unwrap();
        write("b.html", "<h1 id=x>x</h1><script>'<a href=nothing.html>'</script>");
        write("source.rs", "");
        write("a.html", "<a href=b.html#x></a><a href='https://x/y'></a><a href=source.rs#L1></a>");
        assert_eq!(complaints(site.path(), site.path()).unwrap(), [""; 0]);
        write(
            "a.html",
            "<a href=b.html#y></a><a href=c.html></a><a href='#z'></a>\n<p id=p><p id=p aria-labelledby=q>",
        );
        assert_eq!(
            complaints(site.path(), site.path()).unwrap(),
            [
                "a.html: two are called p",
                "a.html:2: nothing is called q",
                "a.html:1: b.html#y: there is no such anchor",
                "a.html:1: c.html: there is no such file",
                "a.html:1: #z: there is no such anchor",
            ]
        );
    }
}
