//! `exec`: one more process in a running container.

use std::fs::File;

use clap::{Args, FromArgMatches};
use nix::sys::signal::Signal;

use crate::container::{self, Streams};
use crate::error::{Call, Error, Result};
use crate::home::Home;
use crate::journal::Journal;
use crate::part::{Command, Joining, Part, User};
use crate::state;
use crate::sys;

#[derive(Debug, Args)]
struct Exec {
    /// Keep its standard input open
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// Run it as this user (`uid`, `name`, `uid:gid`, `name:group`)
    #[arg(short, long)]
    user: Option<String>,

    /// Start it in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<std::path::PathBuf>,

    /// Set a variable of its environment
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    env: Vec<(String, String)>,

    /// The container
    name: String,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Its name on the command line.
pub(super) const NAME: &str = "exec";

pub(super) fn command() -> Command {
    Command {
        name: NAME,
        define: || {
            Exec::augment_args(
                clap::Command::new(NAME)
                    .about("Start one more process in a running container")
                    .after_help("Example: exec -it web sh"),
            )
        },
        run: |part, matches| {
            let exec = Exec::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            join(part, exec)
        },
    }
}

fn join(part: &Part, exec: Exec) -> Result<u8> {
    let record = state::find(&Home::of_this_user(), &exec.name)?;
    let Some(recipe_of) = part.exec else {
        return Err(Error::new(format!("{} cannot join a container", part.binary)));
    };
    let mut service = record.service.clone();
    service.user = exec.user.or(service.user);
    service.working_dir = exec.workdir.or(service.working_dir);
    service.environment.extend(exec.env);
    let joining = Joining {
        service: &service,
        record: &record,
        command: exec.command,
        user: User::current(),
        terminal: exec.tty,
    };
    let recipe = recipe_of(&joining)?;

    let _ = sys::set_signal(Signal::SIGPIPE, true);
    let input = match exec.interactive || exec.tty {
        true => None,
        false => Some(File::open("/dev/null").call("open(\"/dev/null\")")?),
    };
    let streams = Streams { input, output: None };
    let signals = container::catch_signals()?;
    // It changes nothing on the host, and it dies with us.
    let running = container::start(&recipe, &mut Journal::nowhere(), &streams, None)?;
    Ok(container::supervise(&recipe, &running, &signals, &streams)?.code)
}
