//! `inspect`: everything known of a container, as JSON.

use clap::{Args, FromArgMatches};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::part::Command;
use crate::state;

#[derive(Debug, Args)]
struct Inspect {
    /// The containers
    #[arg(required = true)]
    names: Vec<String>,
}

pub(super) fn command() -> Command {
    Command {
        name: "inspect",
        define: || {
            Inspect::augment_args(
                clap::Command::new("inspect").about("Show all that is known of it, as JSON"),
            )
        },
        run: |_, matches| {
            let inspect =
                Inspect::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            let home = Home::of_this_user();
            let records = inspect
                .names
                .iter()
                .map(|name| state::find(&home, name))
                .collect::<Result<Vec<_>>>()?;
            let text = serde_json::to_string_pretty(&records)
                .map_err(|e| Error::new("cannot write JSON").because(e))?;
            println!("{text}");
            Ok(0)
        },
    }
}
