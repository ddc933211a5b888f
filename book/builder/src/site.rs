//! Building the book: mdBook as a library, with our preprocessor in the same process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use mdbook_driver::MDBook;
use mdbook_driver::config::Config;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::preprocessor::Cards;

/// Where `build` puts it.
pub fn usual_place(repository: &Path) -> PathBuf {
    repository.join("book/book")
}

/// Builds the book into a directory. Answers mdBook's warnings.
///
/// # Errors
/// A page is missing, a checkpoint cannot be understood, the directory cannot be written.
pub fn build(repository: &Path, into: &Path) -> Result<Vec<String>> {
    let root = repository.join("book");
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let mut config = Config::from_disk(root.join("book.toml"))?;
        config.build.build_dir = std::path::absolute(into)?;
        let mut book = MDBook::load_with_config(&root, config)?;
        book.with_preprocessor(Cards::new(repository));
        book.build()
    })
    .context("the book cannot be built")?;
    Ok(std::mem::take(&mut *warnings.0.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// [`build`] for a person. Answers whether there was no warning.
///
/// # Errors
/// As [`build`].
pub fn build_and_tell(repository: &Path, into: Option<PathBuf>) -> Result<bool> {
    let into = into.unwrap_or_else(|| usual_place(repository));
    let start = Instant::now();
    let warnings = build(repository, &into)?;
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    let index = into.join("index.html");
    println!("built {} in {:.1} s", index.display(), start.elapsed().as_secs_f32());
    Ok(warnings.is_empty())
}

/// Collects what mdBook warns of: it goes on after a missing include or a tag that is not closed.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
