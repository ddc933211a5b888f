//! What is wrong with a spec and where; drawn with an excerpt of the file.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::Error;

/// How wide a message may be, in columns.
const WIDTH: usize = 80;

/// A piece of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// The line it begins in, from 1.
    pub line: usize,
}

/// Something wrong at one place of the file.
#[derive(Debug)]
pub(super) struct Problem {
    title: String,
    at: Span,
    label: String,
    also: Option<(Span, String)>,
    hint: Option<String>,
}

/// What reading a piece of the spec gives.
pub(super) type Found<T> = Result<T, Box<Problem>>;

impl Span {
    /// Something is wrong here: `title` says what, `label` stands next to the caret.
    pub fn problem(self, title: impl Into<String>, label: impl Into<String>) -> Box<Problem> {
        let (title, label) = (title.into(), label.into());
        Box::new(Problem { title, at: self, label, also: None, hint: None })
    }
}

impl Problem {
    /// Adds what to do instead.
    pub fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// Shows a second place.
    pub fn also(mut self: Box<Self>, at: Span, label: impl Into<String>) -> Box<Self> {
        self.also = Some((at, label.into()));
        self
    }

    /// Draws it: title, file with line and column, the line with a caret, the hint.
    ///
    /// Always without colour: an [`Error`] is text, and may end in a log or in JSON.
    pub fn draw(&self, text: &str, file: &Path) -> Error {
        let source = harmless(text);
        let path = Shown(&file.display().to_string()).plain();
        let at = first_line(text, self.at);
        let fits = column(text, at.end) + self.label.chars().count() <= WIDTH - 10;
        let label = fits.then_some(self.label.as_str());
        let primary = AnnotationKind::Primary.span(at).label(label);
        let mut snippet = Snippet::source(&source).path(&path).annotation(primary);
        if let Some((at, label)) = &self.also {
            let context = AnnotationKind::Context.span(first_line(text, *at)).label(label);
            snippet = snippet.annotation(context);
        }
        let mut report = Level::ERROR.no_name().primary_title(&self.title).element(snippet);
        if !fits {
            report = report.element(Level::NOTE.message(&self.label));
        }
        let error = Error::new(Renderer::plain().term_width(WIDTH).render(&[report]));
        match &self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// How many characters stand before a byte in its line.
fn column(text: &str, byte: usize) -> usize {
    let before = &text[..byte];
    before.chars().rev().take_while(|c| *c != '\n').count()
}

/// The text without characters that a terminal could obey, each byte still in its place.
fn harmless(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' | '\r' | '\t' => c,
        _ if c.is_control() && c.len_utf8() == 1 => '?',
        _ if c.is_control() => '¿', // as long as they are: two bytes
        _ => c,
    };
    text.chars().map(replace).collect()
}

/// The part of a span that stands in its first line: a caret under ten lines shows nothing.
fn first_line(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    let here = &text[start..end];
    let end = start + here.find(['\n', '\r']).unwrap_or(here.len());
    start..start + text[start..end].trim_end().len()
}

/// A text of the user in a message: `` `like this` ``, shortened, its control characters escaped.
pub(super) struct Shown<'a>(pub &'a str);

impl Shown<'_> {
    const LONGEST: usize = 40;

    /// The whole text without the quotes.
    fn plain(&self) -> String {
        self.0.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.0.chars().take(Self::LONGEST).collect();
        let dots = if short.len() < self.0.len() { "…" } else { "" };
        write!(f, "`{}{dots}`", Shown(&short).plain())
    }
}
