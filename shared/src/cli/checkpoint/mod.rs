//! `checkpoint`: run the book's experiments, one by one or all.

mod screen;
mod text;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, FromArgMatches, Subcommand};
use serde_json::json;

use super::output;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::lab::checkpoint::progress::Progress;
use crate::lab::checkpoint::report::{Report, Verdict};
use crate::lab::checkpoint::run::Runner;
use crate::lab::checkpoint::{Checkpoint, Id, pages};
use crate::part::{Command, Part};
use screen::Screen;

/// Exit status when one was not as expected.
const SOME_FAILED: u8 = 1;
/// Exit status when none was wrong, but one could not run. (2 is a wrong argument.)
const SOME_SKIPPED: u8 = 3;

/// The programs whose places others can take.
const BINARIES: [&str; 5] =
    ["part1-chroot", "part2-namespaces", "part3-cgroups", "part4-overlay", "part5-network"];

#[derive(Debug, Args)]
struct Arguments {
    /// Their numbers: 1.4; without any: the next one that has not passed
    #[arg(value_name = "NUMBER")]
    ids: Vec<Id>,

    /// All of this part; part 5 has those of all parts
    #[arg(long, conflicts_with = "ids")]
    all: bool,

    /// Ask nothing
    #[arg(short, long)]
    yes: bool,

    /// Write the results to FILE as JSON, and as JUnit XML beside it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Run another program in the place of one of ours; may be repeated
    #[arg(long = "as", value_name = "NAME=PROGRAM", value_parser = substitute)]
    substitutes: Vec<(String, PathBuf)>,

    /// How long one command may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,

    /// The checkpoints of the Markdown files below DIR, not those of our book
    #[arg(long, value_name = "DIR", global = true)]
    book: Option<PathBuf>,

    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All of them, and which have passed
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What helps with one; without a number: with the next one
    Hint {
        /// Its number
        id: Option<Id>,
    },
    /// A shell in the lab of one, to type its commands yourself
    Shell {
        /// Its number
        id: Id,
    },
    /// Forget that they have passed
    Reset {
        /// Their numbers; without any: all of this part
        ids: Vec<Id>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub(super) fn command() -> Command {
    Command {
        name: "checkpoint",
        define: || {
            Arguments::augment_args(
                clap::Command::new("checkpoint")
                    .args_conflicts_with_subcommands(true)
                    .subcommand_precedence_over_arg(true)
                    .about("Run an experiment of the book: predict, see, compare")
                    .after_help(
                        "Exit status: 0 all passed, 1 some failed, 3 some could not run here and \
                         none failed.",
                    ),
            )
        },
        run: |part, matches| {
            let arguments =
                Arguments::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            run(part, arguments)
        },
    }
}

fn substitute(text: &str) -> Result<(String, PathBuf), String> {
    let (name, program) = text.split_once('=').ok_or("write NAME=PROGRAM")?;
    if !BINARIES.contains(&name) {
        return Err(format!("{name} is none of: {}", BINARIES.join(", ")));
    }
    let program = Path::new(program).canonicalize().map_err(|e| format!("{program}: {e}"))?;
    Ok((name.into(), program))
}

fn run(part: &Part, arguments: Arguments) -> Result<u8> {
    let book = Book::open(part, arguments.book.as_deref())?;
    match &arguments.what {
        None => run_some(&book, &arguments),
        Some(What::List { json }) => book.list(*json),
        Some(What::Hint { id }) => book.hint(*id),
        Some(What::Shell { id }) => shell(&book, *id),
        Some(What::Reset { ids, yes }) => book.reset(ids, *yes),
    }
}

fn run_some(book: &Book, arguments: &Arguments) -> Result<u8> {
    let chosen = if arguments.all {
        book.checkpoints.iter().collect()
    } else if arguments.ids.is_empty() {
        let Some(next) = book.next() else {
            println!("{}\nAll have passed. `checkpoint reset` begins anew.", book.bar());
            return Ok(0);
        };
        vec![next]
    } else {
        arguments.ids.iter().map(|id| book.find(*id)).collect::<Result<_>>()?
    };
    arguments.report.as_deref().map(Report::xml_beside).transpose()?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut screen = Screen { ask: terminal && !arguments.yes, whole: chosen.len() == 1 };
    screen.whole |= screen.ask;
    let report = run_each(book, &chosen, &screen, arguments)?;
    if let Some(file) = &arguments.report {
        let xml = report.write(file)?;
        output::note(&format!("wrote {} and {}", file.display(), xml.display()));
    }
    screen.summary(&report, book.part, &book.bar(), book.next());
    Ok(match (report.failed, report.skipped) {
        (0, 0) => 0,
        (0, _) => SOME_SKIPPED,
        _ => SOME_FAILED,
    })
}

fn run_each(
    book: &Book,
    chosen: &[&Checkpoint],
    screen: &Screen,
    arguments: &Arguments,
) -> Result<Report> {
    let substitutes: BTreeMap<_, _> = arguments.substitutes.iter().cloned().collect();
    let runner = Runner {
        programs: programs(&substitutes)?,
        patience: Duration::from_secs(arguments.timeout),
    };
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let program = format!("{} {}", book.part, env!("CARGO_PKG_VERSION"));
    let mut report = Report::new(program, started, substitutes);
    for checkpoint in chosen {
        let row = screen.run(&runner, checkpoint)?;
        let right = row.prediction.as_ref().and_then(|prediction| prediction.right);
        // Another reads it from disk, and a `kill -9` may come: so it is noted at once.
        progress().record(row.id, row.result, right)?;
        let left = row.left();
        report.add(row);
        if left {
            break;
        }
    }
    Ok(report)
}

/// Our five programs, which lie where this one does, and what takes their places.
fn programs(substitutes: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, PathBuf>> {
    let us =
        std::env::current_exe().map_err(|e| Error::new("cannot find this program").because(e))?;
    let dir = us.parent().unwrap_or(Path::new("/"));
    let ours = BINARIES.map(|name| (name.to_owned(), dir.join(name)));
    let mut programs: BTreeMap<_, _> =
        ours.into_iter().filter(|(_, path)| path.is_file()).collect();
    programs.extend(substitutes.clone());
    Ok(programs)
}

fn shell(book: &Book, id: Id) -> Result<u8> {
    let checkpoint = book.find(id)?;
    let runner = Runner { programs: programs(&BTreeMap::new())?, patience: Duration::ZERO };
    println!("This is a shell in the lab of {id}. `exit` ends it, and all that it started.");
    let left = runner.open_shell(checkpoint)?;
    for line in &left {
        output::warn(&format!("left behind: {line}"));
    }
    Ok(if left.is_empty() { 0 } else { SOME_FAILED })
}

/// The checkpoints that a binary runs.
struct Book {
    part: &'static str,
    checkpoints: Vec<Checkpoint>,
}

/// What the learner has done, as it is on disk now.
fn progress() -> Progress {
    Progress::load(&Home::of_this_user())
}

impl Book {
    fn open(part: &Part, dir: Option<&Path>) -> Result<Self> {
        let mut checkpoints = dir.map_or_else(pages::embedded, pages::below)?;
        let last = usize::from(part.number) == BINARIES.len();
        checkpoints.retain(|checkpoint| last || checkpoint.part() == part.number);
        if checkpoints.is_empty() {
            return Err(Error::new(format!("there are no checkpoints for {}", part.binary)));
        }
        Ok(Self { part: part.binary, checkpoints })
    }

    fn find(&self, id: Id) -> Result<&Checkpoint> {
        let found = self.checkpoints.iter().find(|checkpoint| checkpoint.id == id);
        found.ok_or_else(|| {
            let binary = BINARIES[usize::from(id.part) - 1];
            let hint = match binary == self.part {
                true => "checkpoint list".into(),
                false => format!("{binary} checkpoint {id}, or part5-network checkpoint {id}"),
            };
            Error::new(format!("{} has no checkpoint {id}", self.part)).hint(hint)
        })
    }

    /// The first that has not passed. What could not run here waits until the others have.
    fn next(&self) -> Option<&Checkpoint> {
        let progress = progress();
        let to_do = || self.checkpoints.iter().filter(|c| !progress.has_passed(c.id));
        let was_skipped =
            |c: &Checkpoint| progress.of(c.id).is_some_and(|run| run.result == Verdict::Skipped);
        to_do().find(|c| !was_skipped(c)).or_else(|| to_do().next())
    }

    /// How far the learner is, as a bar.
    fn bar(&self) -> String {
        let progress = progress();
        let all = self.checkpoints.len();
        let passed = self.checkpoints.iter().filter(|c| progress.has_passed(c.id)).count();
        let full = passed * 40 / all;
        format!("{}{} {passed} of {all} passed", "█".repeat(full), "░".repeat(40 - full))
    }

    fn list(&self, as_json: bool) -> Result<u8> {
        let progress = progress();
        if as_json {
            let row = |c: &Checkpoint| {
                json!({
                    "id": c.id, "title": c.title, "minutes": c.minutes,
                    "needs": c.needs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "last": progress.of(c.id),
                })
            };
            let rows: Vec<_> = self.checkpoints.iter().map(row).collect();
            println!("{:#}", json!(rows));
            return Ok(0);
        }
        for checkpoint in &self.checkpoints {
            let result = progress.of(checkpoint.id).map(|run| run.result);
            println!("{}", screen::list_line(checkpoint, result));
        }
        println!("\n{}", self.bar());
        Ok(0)
    }

    fn hint(&self, id: Option<Id>) -> Result<u8> {
        let checkpoint = match id {
            Some(id) => self.find(id)?,
            None => self.next().ok_or_else(|| Error::new("all have passed"))?,
        };
        println!("{} {}\n{}", checkpoint.id, checkpoint.title, text::plain(&checkpoint.hint));
        Ok(0)
    }

    fn reset(&self, ids: &[Id], yes: bool) -> Result<u8> {
        for id in ids {
            self.find(*id)?;
        }
        let is_meant = |id: Id| match ids.is_empty() {
            true => self.checkpoints.iter().any(|checkpoint| checkpoint.id == id),
            false => ids.contains(&id),
        };
        let mut progress = progress();
        let known = |c: &&Checkpoint| is_meant(c.id) && progress.of(c.id).is_some();
        let count = self.checkpoints.iter().filter(known).count();
        if count == 0 {
            println!("There is nothing to forget.");
        } else if yes || screen::confirm(&format!("Forget {count} results?"))? {
            progress.forget(is_meant)?;
            println!("Forgot {count} results.");
        }
        Ok(0)
    }
}
