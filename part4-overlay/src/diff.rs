//! `diff`: what a container changed.

use clap::{Args, FromArgMatches};
use shared::cli::output;
use shared::error::{Error, Result};
use shared::home::Home;
use shared::part::Command;
use shared::state;

use crate::{changes, layers};

#[derive(Debug, Args)]
struct Diff {
    /// As JSON, one array
    #[arg(long)]
    json: bool,

    /// The container
    name: String,
}

pub(crate) fn command() -> Command {
    Command {
        name: "diff",
        define: || {
            Diff::augment_args(
                clap::Command::new("diff")
                    .about("List what it changed: A added, C changed, D deleted"),
            )
        },
        run: |_, matches| {
            let diff = Diff::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            print(&diff)
        },
    }
}

fn print(diff: &Diff) -> Result<u8> {
    let home = Home::of_this_user();
    let record = state::find(&home, &diff.name)?;
    if record.part < crate::PART {
        return Err(Error::new(format!("{:?} has no layer of its own", diff.name))
            .because(format!("part {} wrote to its root file system itself", record.part)));
    }
    let upper = layers::upper(&home.container_data(&record.name));
    let found = changes(&record.rootfs, &upper)?;
    if diff.json {
        let text = serde_json::to_string_pretty(&found)
            .map_err(|e| Error::new("cannot write JSON").because(e))?;
        println!("{text}");
    } else {
        for change in &found {
            let path = output::printable(&change.path.display().to_string());
            println!("{} {path}", change.kind.letter());
        }
    }
    Ok(0)
}
