//! What the README and the book say that a program can check: every fence says what it is, every
//! link and every included piece of code is there, every command would be understood, and every
//! section that a step names can be found.

// A test says what went wrong by where it stopped.
#![allow(clippy::unwrap_used)]

mod commands;
mod markdown;

use std::fs;
use std::path::{Path, PathBuf};

use markdown::Page;

/// What a fence may say after its three backticks.
const KINDS: [&str; 5] = ["console", "yaml", "rust", "rust,ignore", "text"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files below `dir` that end with `.ending`, sorted.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn book() -> Vec<Page> {
    files(&repository().join("book/src"), "md").iter().map(|path| Page::read(path)).collect()
}

fn pages() -> Vec<Page> {
    book().into_iter().chain([Page::read(&repository().join("README.md"))]).collect()
}

/// Fails with all complaints, each in the form `file:line: what`.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn untagged(page: &Page) -> Vec<String> {
    let wrong = page.fences.iter().filter(|fence| !KINDS.contains(&fence.kind.as_str()));
    wrong
        .map(|fence| {
            let at = page.at(fence.line);
            format!("{at}: a fence of kind {:?}; write one of {KINDS:?}", fence.kind)
        })
        .collect()
}

#[test]
fn every_fence_says_what_it_is() {
    let pages = pages();
    assert!(pages.iter().map(|page| page.fences.len()).sum::<usize>() > 50);
    none(pages.iter().flat_map(untagged).collect());
}

fn anchors_of(path: &Path) -> Vec<String> {
    if path.exists() { Page::read(path).anchors } else { Vec::new() }
}

fn broken_links(page: &Page) -> Vec<String> {
    let mut complaints = page.undefined.clone();
    for (line, target) in &page.links {
        if target.contains("://") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let (there, anchors) = if file.is_empty() {
            (true, page.anchors.clone())
        } else {
            let path = page.path.parent().unwrap().join(file);
            let anchors = if anchor.is_empty() { Vec::new() } else { anchors_of(&path) };
            (path.exists(), anchors)
        };
        if !there {
            complaints.push(format!("{}: {target}: there is no such file", page.at(*line)));
        } else if !anchor.is_empty() && !anchors.iter().any(|known| known == anchor) {
            complaints.push(format!("{}: {target}: there is no such heading", page.at(*line)));
        }
    }
    complaints
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.iter().map(|page| page.links.len()).sum::<usize>() > 100);
    none(pages.iter().flat_map(broken_links).collect());
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = repository().join("book/src/SUMMARY.md");
    let listed: Vec<PathBuf> = Page::read(&summary)
        .links
        .iter()
        .map(|(_, target)| summary.parent().unwrap().join(target))
        .collect();
    let lost = book().into_iter().map(|page| page.path).filter(|path| *path != summary);
    none(lost.filter(|path| !listed.contains(path)).map(|p| p.display().to_string()).collect());
}

fn broken_includes(page: &Page) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, target) in &page.includes {
        let (file, anchor) = target.split_once(':').unwrap_or((target, ""));
        let at = page.at(*line);
        let Ok(text) = fs::read_to_string(page.path.parent().unwrap().join(file)) else {
            complaints.push(format!("{at}: {file}: there is no such file"));
            continue;
        };
        let count = |mark: &str| text.lines().filter(|line| line.trim() == mark).count();
        let marks = [format!("// ANCHOR: {anchor}"), format!("// ANCHOR_END: {anchor}")];
        if !anchor.is_empty() && marks.iter().any(|mark| count(mark) != 1) {
            complaints.push(format!("{at}: {file} has no region {anchor}, or two"));
        }
    }
    complaints
}

#[test]
fn every_included_region_is_there() {
    let book = book();
    assert!(book.iter().map(|page| page.includes.len()).sum::<usize>() >= 8);
    none(book.iter().flat_map(broken_includes).collect());
}

/// The sections that the steps name: `.section("2.9")`.
fn sections() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for dir in fs::read_dir(repository()).unwrap().flatten() {
        let sources = dir.path().join("src");
        if !dir.file_name().to_string_lossy().starts_with("part") || !sources.is_dir() {
            continue;
        }
        for path in files(&sources, "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.split(".section(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(named.map(|section| (path.clone(), section.to_owned())));
        }
    }
    found
}

#[test]
fn every_section_that_a_step_names_is_in_the_book() {
    let page = Page::read(&repository().join("book/src/reference/steps.md"));
    let sections = sections();
    assert!(sections.len() > 40);
    let missing = sections.iter().filter(|(_, section)| {
        let anchor = format!("s{}", section.replace('.', "-"));
        !page.anchors.contains(&anchor)
    });
    none(
        missing
            .map(|(path, section)| {
                format!("{} names section {section}: add it to reference/steps.md", path.display())
            })
            .collect(),
    );
}

#[test]
fn every_command_would_be_understood() {
    let mut complaints = Vec::new();
    let mut checked = 0;
    for page in pages() {
        for (line, command) in page.commands() {
            for words in commands::ours(&command) {
                checked += 1;
                if let Err(why) = commands::check(&words, &repository()) {
                    complaints.push(format!("{}: {}: {why}", page.at(line), words.join(" ")));
                }
            }
        }
    }
    assert!(checked > 30, "only {checked} commands were found");
    none(complaints);
}

#[test]
fn the_readme_says_how_to_start_and_how_to_test() {
    let readme = Page::read(&repository().join("README.md"));
    let commands: Vec<String> = readme.commands().into_iter().map(|(_, c)| c).collect();
    let cargo: Vec<&String> = commands.iter().filter(|c| c.starts_with("cargo ")).collect();
    assert!(cargo[0].starts_with("cargo run -- up -d "), "the first command: {}", cargo[0]);
    assert!(commands.iter().any(|command| command == "cargo test --workspace"));
    let file = cargo[0].rsplit(' ').next().unwrap();
    shared::spec::Spec::load(&repository().join(file)).unwrap();
}

#[test]
fn these_checks_can_fail() {
    let path = repository().join("book/src/sample.md");
    let text = "# A title {#here}\n\n```\nx\n```\n\n[a](#there) [b](nothing.md) [c](#here) [d][e]\n\n\
                {{#include ../../part1-chroot/src/lib.rs:nothing}}\n{{#include nothing.rs}}\n";
    let page = Page::parse(&path, text);
    assert_eq!(untagged(&page).len(), 1);
    assert_eq!(broken_links(&page).len(), 3, "{:?}", broken_links(&page));
    assert_eq!(broken_includes(&page).len(), 2);
}
