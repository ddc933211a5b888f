//! Small pieces of Markdown and of text as HTML.

use pulldown_cmark::{Options, Parser, html};

/// Text as HTML, also in an attribute.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// Markdown as HTML, as mdBook reads it.
pub fn markdown(text: &str) -> String {
    let options = Options::ENABLE_SMART_PUNCTUATION | Options::ENABLE_TABLES;
    let mut out = String::new();
    html::push_html(&mut out, Parser::new_ext(text, options));
    out.trim_end().to_owned()
}

/// One paragraph of Markdown as HTML without its `<p>`.
pub fn inline(text: &str) -> String {
    let html = markdown(text);
    let inner = html.strip_prefix("<p>").and_then(|html| html.strip_suffix("</p>"));
    match inner {
        Some(inner) if !inner.contains("<p>") => inner.to_owned(),
        _ => html,
    }
}

/// HTML on one line: to Markdown a line without anything on it would be the HTML's end.
pub fn one_line(html: &str) -> String {
    html.replace('\n', "&#10;")
}

/// Names as one reads them: `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// A time as one reads it: `2 hours 30 minutes`.
pub fn duration(minutes: u32) -> String {
    let count = |n: u32, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts = [count(minutes / 60, "hour"), count(minutes % 60, "minute")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "0 minutes".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_escaped_and_paragraphs_kept() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        assert_eq!(inline("does `a < b` hold?"), "does <code>a &lt; b</code> hold?");
        assert_eq!(inline("a\n\nb"), "<p>a</p>\n<p>b</p>");
        assert!(!one_line("<pre>a\n\n\nb</pre>").contains('\n'));
    }

    #[test]
    fn words_for_people() {
        let words = |words: &[&str]| list(&words.iter().map(|w| (*w).into()).collect::<Vec<_>>());
        assert_eq!(words(&["a"]), "a");
        assert_eq!(words(&["a", "b", "c"]), "a, b and c");
        assert_eq!(duration(0), "0 minutes");
        assert_eq!(duration(61), "1 hour 1 minute");
        assert_eq!(duration(120), "2 hours");
    }
}
