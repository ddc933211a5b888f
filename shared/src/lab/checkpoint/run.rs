//! Running a checkpoint: each command in turn, compared with what the book says it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::keeper::Setting;
use super::place::{self, Place};
use super::report::{LEFT, Row, Seen, Verdict};
use super::session::Exchange;
use super::shell::{Answer, End, Shell};
use super::{Checkpoint, expected, keeper, vars};
use crate::error::{Call, Error, Failed, Result};
use crate::part::User;

/// How sessions are run.
#[derive(Debug, Clone)]
pub struct Runner {
    /// What the session finds first on its `PATH`: a name, and the program behind it.
    pub programs: BTreeMap<String, PathBuf>,
    /// How long one command may take.
    pub patience: Duration,
}

/// Sees a run while it happens.
pub trait Watcher {
    /// A command is about to run. False: leave the checkpoint.
    fn command(&mut self, exchange: &Exchange) -> bool;
    /// It printed something.
    fn output(&mut self, bytes: &[u8]);
    /// It ended.
    fn ended(&mut self, seen: &Seen);
}

impl Runner {
    /// Runs one checkpoint in a lab of its own. Nothing of it is left when this returns.
    pub fn run(&self, checkpoint: &Checkpoint, watcher: &mut dyn Watcher) -> Row {
        let mut row = Row::of(checkpoint);
        place::sweep();
        if let Some((need, unmet)) = checkpoint.first_unmet() {
            return row.end(Verdict::Skipped, format!("needs {need}: {}", unmet.why));
        }
        let values = vars::values(&checkpoint.vars);
        row.vars = values.clone().into_iter().collect();
        let started = Instant::now();
        let opened = self
            .open(checkpoint, &values)
            .and_then(|setting| Shell::start(&setting).map_err(|failed| failed.to_string()));
        let mut shell = match opened {
            Ok(shell) => shell,
            Err(why) => return row.end(Verdict::Failed, format!("there is no lab: {why}")),
        };
        let (verdict, mut reason) =
            self.session(checkpoint, &values, &mut shell, &mut row, watcher);
        row.seconds = started.elapsed().as_secs_f64();
        let left = shell.end();
        if left.is_empty() {
            return row.end(verdict, reason);
        }
        reason = [reason, format!("left behind: {}", left.join("; "))].join("\n");
        row.end(Verdict::Failed, reason.trim_start().to_owned())
    }

    /// A shell for a person, in the lab of a checkpoint. Answers what is left of it.
    ///
    /// # Errors
    /// Something that the checkpoint needs is missing, or the lab cannot be made.
    pub fn open_shell(&self, checkpoint: &Checkpoint) -> Result<Vec<String>> {
        place::sweep();
        if let Some((need, unmet)) = checkpoint.first_unmet() {
            return Err(Error::new(format!("{} needs {need}", checkpoint.id))
                .because(unmet.why)
                .hint(unmet.advice));
        }
        let no_lab = |why: String| Error::new("there is no lab").because(why);
        let values = vars::values(&checkpoint.vars);
        for (name, value) in &values {
            println!("{name}={value}");
        }
        let setting = self.open(checkpoint, &values).map_err(no_lab)?;
        keeper::hold(&setting).map_err(|failed| no_lab(failed.to_string()))
    }

    /// Answers how it ended, and why.
    fn session(
        &self,
        checkpoint: &Checkpoint,
        values: &IndexMap<String, String>,
        shell: &mut Shell,
        row: &mut Row,
        watcher: &mut dyn Watcher,
    ) -> (Verdict, String) {
        for exchange in &checkpoint.session.0 {
            let exchange = filled_in(exchange, values);
            if !watcher.command(&exchange) {
                return (Verdict::Skipped, LEFT.into());
            }
            let command = &exchange.command;
            let answer = shell.run(command, self.patience, |bytes| watcher.output(bytes));
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return (Verdict::Failed, format!("the lab's shell: {error}")),
            };
            let end = answer.end;
            let seen = compare(exchange, answer);
            watcher.ended(&seen);
            let mismatch = self.complaint(&seen, end);
            row.commands.push(seen);
            if let Some(reason) = mismatch {
                return (Verdict::Failed, reason);
            }
        }
        (Verdict::Passed, String::new())
    }

    /// What is not as expected, in words.
    fn complaint(&self, seen: &Seen, end: End) -> Option<String> {
        let first = seen.command.lines().next().unwrap_or_default();
        let what = match end {
            End::Status(_) if seen.matches => return None,
            End::Status(status) if status != seen.expected_status => {
                format!("ended with {status}, not with {}", seen.expected_status)
            }
            End::Status(_) => "printed something else".into(),
            End::NotYet => format!("did not end within {} s", self.patience.as_secs()),
            End::WithShell => "ended the lab's shell".into(),
        };
        Some(format!("`{first}` {what}"))
    }

    fn open(
        &self,
        checkpoint: &Checkpoint,
        values: &IndexMap<String, String>,
    ) -> Result<Setting, String> {
        let is_root = User::current().is_root();
        let user_namespace = checkpoint.needs_any_root() && !is_root;
        let place = self.place().map_err(|failed| failed.to_string())?;
        Ok(Setting {
            mounts: is_root || user_namespace,
            user_namespace,
            unshare: checkpoint.unshare.clone(),
            environment: environment(&place, values),
            place,
        })
    }

    fn place(&self) -> Result<Place, Failed> {
        let place = Place::create().call("mkdir(lab)")?;
        for (name, program) in &self.programs {
            place.offer(name, program).call(format!("symlink({name})"))?;
        }
        Ok(place)
    }
}

/// What a session's shell finds in its environment: the same on every machine.
fn environment(place: &Place, values: &IndexMap<String, String>) -> Vec<String> {
    let own = [
        ("PATH", place.path()),
        ("LAB", place.lab().display().to_string()),
        ("TMPDIR", place.tmp().display().to_string()),
        ("INSIDE_DOCKER_HOME", place.home().display().to_string()),
        ("CGROUP", place.cgroup()),
        ("PS1", "lab \\W\\$ ".into()),
        // What a user of this machine misses is the doctor's to say, not each experiment's.
        ("INSIDE_DOCKER_KNOWN", "users".into()),
        ("LC_ALL", "C.UTF-8".into()),
        ("NO_COLOR", "1".into()),
        ("TERM", std::env::var("TERM").unwrap_or_else(|_| "dumb".into())),
        ("HOME", std::env::var("HOME").unwrap_or_else(|_| "/".into())),
        ("USER", std::env::var("USER").unwrap_or_else(|_| "root".into())),
    ];
    let proxies = ["http_proxy", "https_proxy", "no_proxy"];
    let proxies =
        proxies.iter().filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
    let own = own.iter().map(|(name, value)| format!("{name}={value}"));
    own.chain(proxies).chain(values.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

fn filled_in(exchange: &Exchange, values: &IndexMap<String, String>) -> Exchange {
    let fill = |line: &String| vars::fill_in(line, values);
    Exchange { expected: exchange.expected.iter().map(fill).collect(), ..exchange.clone() }
}

fn compare(exchange: Exchange, answer: Answer) -> Seen {
    let status = match answer.end {
        End::Status(status) => Some(status),
        End::NotYet | End::WithShell => None,
    };
    let matches = expected::matches(&exchange.expected, &answer.output);
    Seen {
        matches: matches && status == Some(exchange.status),
        expected: exchange.expected.join("\n"),
        expected_status: exchange.status,
        seen: answer.output,
        status,
        command: exchange.command,
    }
}
