//! Fences, links and the table of contents of the pages as they are written.

use std::path::{Component, Path, PathBuf};

use shared::lab::checkpoint::pages;

use super::Sources;
use super::page::{Fence, Page};

/// What a fence of the book may say after its three backticks.
const KINDS: [&str; 5] = [pages::FENCE, "sh", "text", "yaml", "rust,ignore"];

/// A fence that does not say what it is; a session that nothing runs.
pub fn fences(sources: &Sources) -> Vec<String> {
    // A test of part 5 runs the sessions of the README.
    let readme = wrong_fences(&sources.readme, &["console", "sh", "yaml"]);
    let book = sources.book.iter().flat_map(|page| wrong_fences(page, &KINDS));
    book.chain(readme).collect()
}

fn wrong_fences(page: &Page, kinds: &[&str]) -> Vec<String> {
    let complain = |fence: &Fence| {
        let what = if !kinds.contains(&fence.kind.as_str()) {
            format!("a fence of kind {:?}; write one of {kinds:?}", fence.kind)
        } else if fence.kind == "rust,ignore" && !fence.text.trim_start().starts_with("{{#include ")
        {
            "code is shown by including it: {{#include FILE:REGION}}".into()
        } else if !["console", pages::FENCE].contains(&fence.kind.as_str())
            && fence.text.lines().any(|line| line.starts_with("$ "))
        {
            "a session that nothing runs: make it a checkpoint".into()
        } else {
            return None;
        };
        Some(format!("{}: {what}", page.at(fence.line)))
    };
    page.fences.iter().filter_map(complain).collect()
}

/// Pages that the table of contents does not have.
pub fn lost_pages(sources: &Sources) -> Vec<String> {
    let summary = &sources.summary;
    let listed: Vec<PathBuf> =
        summary.links.iter().map(|(_, target)| beside(&summary.name, target)).collect();
    let lost = sources.book.iter().filter(|page| !listed.contains(&page.name));
    lost.map(|page| format!("{}: not in SUMMARY.md", page.name.display())).collect()
}

/// Links that are not defined; links of the README to what is not there.
///
/// The links of the book are followed in what is [built](super::built).
pub fn links(sources: &Sources) -> Vec<String> {
    let undefined = sources.all().flat_map(|page| {
        page.undefined
            .iter()
            .map(|(line, name)| format!("{}: [{name}] is not defined", page.at(*line)))
    });
    undefined.chain(broken_links(&sources.readme, sources)).collect()
}

fn broken_links(page: &Page, sources: &Sources) -> Vec<String> {
    let broken = |(line, target): &(usize, String)| {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let name = beside(&page.name, file);
        let what = if target.contains("://") {
            return None;
        } else if !sources.repository.join(&name).exists() {
            "there is no such file"
        } else if !anchor.is_empty()
            && !sources
                .all()
                .any(|page| page.name == name && page.anchors.iter().any(|a| a == anchor))
        {
            "there is no such heading"
        } else {
            return None;
        };
        Some(format!("{}: {target}: {what}", page.at(*line)))
    };
    page.links.iter().filter_map(broken).collect()
}

/// The file that a link of a page names, from the top of the sources.
pub fn beside(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::sample;
    use super::*;

    #[test]
    fn fences_that_are_wrong_are_found() {
        for (fence, wrong) in [
            ("```\nx\n```", true),
            ("```console\n$ x\n```", true),
            ("```sh\n$ x\n```", true),
            ("```sh\nx\n```", false),
            ("```text\n$ x\n```", true),
            ("```rust,ignore\nfn x() {}\n```", true),
            ("```rust,ignore\n{{#include x.rs:y}}\n```", false),
            ("```yaml checkpoint\n$ x\n```", false),
            ("    indented", true),
        ] {
            assert_eq!(wrong_fences(&sample(fence), &KINDS).len(), usize::from(wrong), "{fence}");
        }
    }

    #[test]
    fn links_are_relative_to_the_page() {
        let page = sample("");
        assert_eq!(beside(&page.name, "part1/a.md"), Path::new("book/src/part1/a.md"));
        assert_eq!(beside(&page.name, "../../shared/a.rs"), Path::new("shared/a.rs"));
    }
}
