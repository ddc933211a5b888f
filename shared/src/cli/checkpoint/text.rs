//! Markdown as plain text that fits a terminal.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use crate::cli::output;

/// Paragraphs and list items as lines that fit; emphasis and links are left out, code keeps its
/// backticks.
pub(super) fn plain(markdown: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut is_code = false;
    let mut bullet = "";
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => is_code = true,
            Event::End(TagEnd::CodeBlock) => {
                let lines = text.lines().map(|line| format!("    {line}"));
                blocks.push(lines.collect::<Vec<_>>().join("\n"));
                (is_code, text) = (false, String::new());
            }
            Event::Start(Tag::Item) => bullet = "- ",
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::Heading(_))
                if !text.is_empty() =>
            {
                blocks.push(output::wrapped(bullet, &" ".repeat(bullet.len()), &text).join("\n"));
                (bullet, text) = ("", String::new());
            }
            Event::Text(part) => text.push_str(&part),
            Event::Code(part) => text.extend(["`", &part, "`"]),
            Event::SoftBreak | Event::HardBreak if !is_code => text.push(' '),
            _ => {}
        }
    }
    blocks.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reason_can_have() {
        let text = "A *b* `c d`,\nsee [e](f.md).\n\n- one\n- two\n\n```text\nx\n  y\n```\n";
        assert_eq!(plain(text), "A b `c d`, see e.\n- one\n- two\n    x\n      y");
    }

    #[test]
    fn long_lines_are_wrapped() {
        let text = plain(&"word ".repeat(40));
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
