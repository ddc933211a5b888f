//! Checkpoints and sections: every one where its number says.

use anyhow::Result;
use shared::lab::checkpoint::{Checkpoint, pages};

use super::Sources;
use super::page::Page;
use crate::generated::steps;

/// How many the book has at least: in all, and in part 1.
const ENOUGH: (usize, usize) = (60, 20);

/// The checkpoints of a page with their lines; or why one cannot be understood.
pub fn of(page: &Page) -> Vec<Result<(usize, Checkpoint), String>> {
    let parse = |block: pages::Block| match Checkpoint::parse(block.text) {
        Ok(checkpoint) => Ok((block.line, checkpoint)),
        Err((line, why)) => Err(format!("{}: {why}", page.at(block.line + line))),
    };
    pages::blocks(&page.text).into_iter().map(parse).collect()
}

/// Checkpoints that cannot be understood, that share a number, or whose number is not their
/// section's.
pub fn in_their_sections(sources: &Sources) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut known = Vec::new();
    for page in &sources.book {
        for checkpoint in of(page) {
            let (line, checkpoint) = match checkpoint {
                Ok(found) => found,
                Err(complaint) => {
                    complaints.push(complaint);
                    continue;
                }
            };
            let at = page.at(line);
            if known.contains(&checkpoint.id) {
                complaints.push(format!("{at}: there are two checkpoints {}", checkpoint.id));
            }
            known.push(checkpoint.id);
            complaints.extend(wrong_heading(page, &checkpoint).map(|why| format!("{at}: {why}")));
        }
    }
    complaints
}

/// The page's first heading is `# 1.4 title {#s1-4}`.
fn wrong_heading(page: &Page, checkpoint: &Checkpoint) -> Option<String> {
    let id = checkpoint.id;
    let anchor = format!("s{}-{}", id.part, id.number);
    let heading = page.text.lines().find(|line| line.starts_with("# ")).unwrap_or_default();
    let good =
        heading.starts_with(&format!("# {id} ")) && heading.ends_with(&format!(" {{#{anchor}}}"));
    (!good).then(|| {
        format!("checkpoint {id} below {heading:?}; it should be \"# {id} … {{#{anchor}}}\"")
    })
}

/// Too few.
pub fn enough(sources: &Sources) -> Vec<String> {
    let all: Vec<_> = sources.book.iter().flat_map(of).flatten().collect();
    let of_part_1 = all.iter().filter(|(_, checkpoint)| checkpoint.part() == 1).count();
    let mut complaints = Vec::new();
    if all.len() < ENOUGH.0 {
        complaints.push(format!("book/src: {} checkpoints, not {}", all.len(), ENOUGH.0));
    }
    if of_part_1 < ENOUGH.1 {
        complaints.push(format!("book/src/part1: {of_part_1} checkpoints, not {}", ENOUGH.1));
    }
    complaints
}

/// Sections that steps name and that no page is.
pub fn sections_of_steps(sources: &Sources) -> Result<Vec<String>> {
    let missing = |step: &steps::Step| {
        let anchor = format!("s{}", step.section.replace('.', "-"));
        let part = format!("part{}", step.section.split('.').next().unwrap_or_default());
        let found = sources.book.iter().any(|page| {
            page.anchors.contains(&anchor)
                && page.name.parent().is_some_and(|dir| dir.ends_with(&part))
        });
        (!found).then(|| {
            let (file, line, section) = (step.file.display(), step.line, &step.section);
            format!("{file}:{line}: names section {section}, and no page has {{#{anchor}}}")
        })
    };
    Ok(steps::read(&sources.repository)?.iter().filter_map(missing).collect())
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::sample;
    use super::*;

    #[test]
    fn the_number_is_the_sections() {
        let block = "```yaml checkpoint\nid: 1.10\ntitle: t\nminutes: 1\nsession: |\n  $ a\nhint: h\n\
                     because: b\n```\n";
        for (heading, good) in [
            ("# 1.10 A disk {#s1-10}", true),
            ("# 1.1 A disk {#s1-1}", false),
            ("# 1.10 A disk", false),
            ("A disk", false),
        ] {
            let page = sample(&format!("{heading}\n\n{block}"));
            let (_, checkpoint) = of(&page).remove(0).unwrap();
            assert_eq!(wrong_heading(&page, &checkpoint).is_none(), good, "{heading}");
        }
    }
}
