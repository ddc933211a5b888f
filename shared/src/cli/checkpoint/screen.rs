//! What a learner sees of a checkpoint, and is asked.

use std::io::{self, BufRead, IsTerminal, Write};

use colored::{ColoredString, Colorize};
use comfy_table::{ContentArrangement, Table, presets};

use super::text::plain;
use crate::cli::output;
use crate::error::{Error, Result};
use crate::lab::checkpoint::report::{Report, Row, Seen, Verdict};
use crate::lab::checkpoint::run::{Runner, Watcher};
use crate::lab::checkpoint::session::Exchange;
use crate::lab::checkpoint::{Checkpoint, Prediction};

/// How a run is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Ask for predictions, and before each command.
    pub(super) ask: bool,
    /// Show each command and what it prints; else a line for each checkpoint.
    pub(super) whole: bool,
}

impl Screen {
    /// Runs a checkpoint and shows it.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub(super) fn run(self, runner: &Runner, checkpoint: &Checkpoint) -> Result<Row> {
        let mut chosen = None;
        if self.whole {
            let minutes = format!("{} minutes", checkpoint.minutes);
            let title = format!("{} {}", checkpoint.id, checkpoint.title);
            println!("{}  {}", title.bold(), minutes.dimmed());
            if let Some(prediction) = &checkpoint.predict {
                chosen = self.predict(prediction)?;
            }
            println!();
        }
        let mut row = runner.run(checkpoint, &mut Console { screen: self });
        if let (Some(prediction), Some(chosen)) = (&mut row.prediction, chosen) {
            prediction.chosen = Some(chosen);
            prediction.right = Some(chosen == prediction.answer);
        }
        if self.whole {
            conclude(checkpoint, &row);
        } else {
            println!("{}", list_line(checkpoint, Some(row.result)));
            if let Some(reason) = &row.reason {
                say("      ", reason);
            }
        }
        if row.result == Verdict::Failed {
            if let Some(seen) = row.commands.last().filter(|seen| !seen.matches) {
                println!("{}", side_by_side(seen));
            }
            println!("{} {}", "hint:".yellow().bold(), plain(&checkpoint.hint));
        }
        Ok(row)
    }

    /// Asks what will happen; answers the number of the choice, from 1.
    fn predict(self, prediction: &Prediction) -> Result<Option<usize>> {
        println!("\n{}\n{}", "Predict:".cyan().bold(), plain(&prediction.question));
        let choices: Vec<_> = prediction.choices.iter().map(|choice| plain(choice)).collect();
        if !self.ask {
            for (index, choice) in choices.iter().enumerate() {
                println!("  {}. {choice}", index + 1);
            }
            return Ok(None);
        }
        let chosen = dialoguer::Select::new().items(&choices).default(0).interact_opt();
        let chosen = chosen.map_err(|e| Error::new("cannot ask").because(e).hint("--yes"))?;
        Ok(chosen.map(|index| index + 1))
    }

    /// How far the learner is, and what comes next.
    pub(super) fn summary(self, report: &Report, part: &str, bar: &str, next: Option<&Checkpoint>) {
        println!();
        if report.checkpoints.len() > 1 {
            let Report { passed, failed, skipped, .. } = report;
            println!("{passed} passed, {failed} failed, {skipped} skipped");
        }
        println!("{bar}");
        if let Some(next) = next {
            println!("next: {part} checkpoint {}  {}", next.id, next.title.dimmed());
        }
    }
}

/// Shows a run while it happens.
struct Console {
    screen: Screen,
}

impl Watcher for Console {
    fn command(&mut self, exchange: &Exchange) -> bool {
        if !self.screen.whole {
            return true;
        }
        print!("{} {}", "$".green(), exchange.command.replace('\n', "\n> ").bold());
        if !self.screen.ask {
            println!();
            return true;
        }
        print!("  {}", "[Enter runs it, q leaves]".dimmed());
        let _ = io::stdout().flush();
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.is_ok_and(|bytes| bytes > 0) && line.trim() != "q"
    }

    fn output(&mut self, bytes: &[u8]) {
        if self.screen.whole {
            let _ = io::stdout().write_all(bytes).and_then(|()| io::stdout().flush());
        }
    }

    fn ended(&mut self, seen: &Seen) {
        if self.screen.whole && seen.status != Some(0) {
            println!("{}", status(seen.status).dimmed());
        }
    }
}

fn status(status: Option<i32>) -> String {
    status.map_or("(did not end by itself)".into(), |status| format!("(exit status {status})"))
}

/// What was predicted, what happened, and why.
fn conclude(checkpoint: &Checkpoint, row: &Row) {
    let mark = mark(Some(row.result));
    match (row.result, &row.reason) {
        (Verdict::Passed, _) => println!("\n{mark} as expected"),
        (_, reason) => say(&format!("\n{mark} "), reason.as_deref().unwrap_or_default()),
    }
    if row.result != Verdict::Passed {
        return;
    }
    if let (Some(prediction), Some(answer)) = (&checkpoint.predict, &row.prediction) {
        let choice = |number: usize| {
            prediction.choices.get(number.wrapping_sub(1)).map_or(String::new(), |c| plain(c))
        };
        let right = choice(prediction.answer);
        match (answer.chosen, answer.right) {
            (Some(_), Some(true)) => println!("{} {right}", "You said so:".green().bold()),
            (Some(chosen), _) => {
                println!("{} {}", "You said:".yellow().bold(), choice(chosen));
                println!("{} {right}", "It is:   ".yellow().bold());
            }
            (None, _) => println!("{} {right}", "It is:".cyan().bold()),
        }
    }
    println!("\n{}", plain(&checkpoint.because));
}

fn say(first: &str, text: &str) {
    for line in text.lines() {
        println!("{}", output::wrapped(first, "      ", line).join("\n"));
    }
}

/// What was expected beside what was seen.
fn side_by_side(seen: &Seen) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(output::WIDTH as u16)
        .set_header(["expected", "seen"])
        .add_row([&seen.expected, seen.seen.trim_end()])
        .add_row([status(Some(seen.expected_status)), status(seen.status)]);
    table
}

/// A checkpoint in one line.
pub(super) fn list_line(checkpoint: &Checkpoint, result: Option<Verdict>) -> String {
    let number = checkpoint.id.to_string();
    let minutes = format!("{} min", checkpoint.minutes).dimmed();
    format!("{} {number:>5}  {}  {minutes}", mark(result), checkpoint.title)
}

fn mark(result: Option<Verdict>) -> ColoredString {
    match result {
        Some(Verdict::Passed) => "✓".green(),
        Some(Verdict::Failed) => "✗".red().bold(),
        Some(Verdict::Skipped) => "~".yellow(),
        None => "·".dimmed(),
    }
}

/// Asks yes or no.
///
/// # Errors
/// There is nobody to ask.
pub(super) fn confirm(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Error::new("there is nobody to ask").hint("--yes"));
    }
    let asked = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
    asked.map_err(|e| Error::new("cannot ask").because(e).hint("--yes"))
}
