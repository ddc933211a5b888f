//! `plan`: print the recipe without running anything.

use clap::{Args, FromArgMatches};
use colored::Colorize;

use super::launch::{Make, Mode, resolve_rootfs};
use super::output;
use super::run::Which;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::part::{Command, Part};
use crate::recipe::{Place, Recipe};

#[derive(Debug, Args)]
struct Plan {
    #[command(flatten)]
    which: Which,

    /// Only the steps that this part adds
    #[arg(long)]
    added: bool,

    /// As JSON
    #[arg(long)]
    json: bool,

    /// As a bash script that makes the same container with standard tools
    #[arg(long, conflicts_with_all = ["added", "json"])]
    shell: bool,
}

pub(super) fn command() -> Command {
    Command {
        name: "plan",
        define: || {
            Plan::augment_args(
                clap::Command::new("plan")
                    .about("Print what `run` would do, without doing anything")
                    .after_help("Example: plan --shell service-specs.yml web >web.sh; bash web.sh"),
            )
        },
        run: |part, matches| {
            let plan = Plan::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            print(part, &plan)
        },
    }
}

fn print(part: &Part, plan: &Plan) -> Result<u8> {
    let home = Home::of_this_user();
    let (spec, service) = plan.which.find()?;
    let terminal = service.tty;
    let launch = plan.which.launch(part, &home, &service, spec.as_ref(), terminal);
    let rootfs = resolve_rootfs(part, &home, &service, Make::Never)?;
    let mut recipe = (part.recipe)(&launch.request(rootfs.clone(), Mode::Foreground))?;
    if plan.added {
        recipe.steps.retain(|step| step.part == part.number);
    }
    if plan.shell {
        if !rootfs.exists() {
            output::note(&format!("{} is not there yet: `run` makes it", rootfs.display()));
        }
        print!("{}", recipe.script()?);
    } else if plan.json {
        let text = serde_json::to_string_pretty(&recipe)
            .map_err(|e| Error::new("cannot write JSON").because(e))?;
        println!("{text}");
    } else {
        show(&recipe);
    }
    Ok(0)
}

fn show(recipe: &Recipe) {
    for place in [Place::Prepare, Place::Clone, Place::Attach, Place::Child, Place::After] {
        if recipe.at(place).next().is_none() {
            continue;
        }
        println!("{}", place.title().bold().underline());
        for (number, step) in recipe.at(place) {
            println!("{number:>3}. {}  {}", step.name.bold(), step.what);
            println!("     {} {}", format!("{:>4}", step.section).dimmed(), step.why);
            for line in step.shell.lines() {
                println!("        {} {}", "$".dimmed(), line.cyan());
            }
        }
        println!();
    }
    for note in &recipe.notes {
        println!("{} {note}", "note:".cyan());
    }
}
