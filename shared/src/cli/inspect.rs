//! `inspect`: everything known of a container, as JSON or YAML.

use clap::{Args, FromArgMatches};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::part::Command;
use crate::state;

#[derive(Debug, Args)]
struct Inspect {
    /// As YAML
    #[arg(long)]
    yaml: bool,

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
            let text = if inspect.yaml {
                serde_yaml::to_string(&records)
                    .map_err(|e| Error::new("cannot write YAML").because(e))?
            } else {
                serde_json::to_string_pretty(&records)
                    .map_err(|e| Error::new("cannot write JSON").because(e))?
            };
            println!("{text}");
            Ok(0)
        },
    }
}
