//! `doctor`: what this machine lacks for this part, and what to do about it.

use clap::{Args, FromArgMatches};
use colored::Colorize;

use super::output;
use crate::error::{Error, Result};
use crate::lab::doctor::{Checkup, Finding, PARTS, examine, examine_each};
use crate::lab::needs::{self, Need};
use crate::part::{Command, Part};

/// Where what is said about a need begins.
const INDENT: usize = 9;

#[derive(Debug, Args)]
struct Doctor {
    /// As JSON: kernel, uid, ready, needs
    #[arg(long)]
    json: bool,

    /// Only these needs; without any: all of this part
    #[arg(value_name = "NEED")]
    needs: Vec<String>,
}

pub(super) fn command() -> Command {
    Command {
        name: "doctor",
        define: || {
            Doctor::augment_args(
                clap::Command::new("doctor")
                    .about("Try what this part needs, and say what to do about what is missing")
                    .after_help(help()),
            )
        },
        run: |part, matches| {
            let doctor =
                Doctor::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            run(part, &doctor)
        },
    }
}

fn help() -> String {
    let names: Vec<_> = needs::all().map(|need| need.name).collect();
    format!(
        "Each is tried for real, in a process and in namespaces of its own; nothing is left.\n\n\
         Exit status: 0 when each need of this part is met, or something takes its place; 1 when \
         not.\nWith NEED: 0 when each of them is met itself.\n\nNeeds: {}",
        names.join(", ")
    )
}

fn run(part: &Part, doctor: &Doctor) -> Result<u8> {
    let named = doctor.needs.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
    let checkup =
        if named.is_empty() { examine(part.number) } else { examine_each(&named, part.number) };
    if doctor.json {
        let text = serde_json::to_string_pretty(&checkup)
            .map_err(|e| Error::new("cannot write JSON").because(e))?;
        println!("{text}");
    } else {
        println!("{}", table(&checkup));
        println!("\n{}", verdict(part, &checkup, named.is_empty()));
    }
    Ok(u8::from(!checkup.ready))
}

fn find(name: &str) -> Result<&'static Need> {
    needs::find(name).ok_or_else(|| {
        let near = needs::all()
            .map(|need| (strsim::damerau_levenshtein(need.name, name), need.name))
            .min()
            .filter(|(distance, _)| *distance <= name.len() / 3);
        let error = Error::new(format!("{name:?} is no need that is known"));
        match near {
            Some((_, near)) => error.hint(format!("doctor {near}")),
            None => error.hint("`doctor --help` lists them"),
        }
    })
}

fn table(checkup: &Checkup) -> String {
    let who = if checkup.uid == 0 { "root".into() } else { format!("user {}", checkup.uid) };
    let mut lines = vec![format!("Linux {}, as {who}", checkup.kernel)];
    let mut part = 0;
    for finding in &checkup.needs {
        if finding.part != part {
            part = finding.part;
            let title = PARTS.get(usize::from(part) - 1).copied().unwrap_or_default();
            lines.push(format!("\n{}", format!("Part {part}, {title}").bold()));
        }
        lines.push(first_line(finding));
        if !finding.met {
            let is_shown = |name: &&str| checkup.needs.iter().any(|f| f.name == *name);
            lines.extend(about(finding, finding.cause.filter(is_shown)));
        }
    }
    lines.join("\n")
}

fn first_line(finding: &Finding) -> String {
    let answer = match (finding.met, finding.instead) {
        (true, _) => "✓ yes".green(),
        (false, Some(_)) => "~ no ".yellow(),
        (false, None) => "✗ no ".red().bold(),
    };
    format!("  {answer}  {:14}  {}", finding.name, finding.what)
}

/// What is said about a need that is not met: why, what to try, what happens without.
fn about(finding: &Finding, cause: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |label: &str, text: &str| {
        let first = format!("{:INDENT$}{label} ", "");
        lines.extend(output::wrapped(&first, &" ".repeat(INDENT + 5), text));
    };
    if let Some(cause) = cause {
        say("why:", &format!("it needs {cause}, see there"));
    } else {
        say("why:", finding.why.as_deref().unwrap_or_default());
        say("try:", finding.advice.as_deref().unwrap_or_default());
    }
    if let Some(instead) = finding.instead {
        say("instead:", instead);
    }
    lines
}

fn verdict(part: &Part, checkup: &Checkup, of_part: bool) -> String {
    let is_missing = |finding: &&Finding| !finding.met && (!of_part || finding.instead.is_none());
    let missing: Vec<_> = checkup.needs.iter().filter(is_missing).map(|f| f.name).collect();
    let text = match (missing.is_empty(), of_part) {
        (true, true) => return format!("{} can run here.", part.binary).green().to_string(),
        (true, false) => return "All of them are met.".green().to_string(),
        (false, true) => format!("Not all of {} works here. Missing:", part.binary),
        (false, false) => "Not met:".into(),
    };
    let text = format!("{text} {}.", missing.join(", "));
    output::wrapped("", "", &text).join("\n")
}
