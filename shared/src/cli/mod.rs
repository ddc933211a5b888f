//! The command line that all five binaries share.

mod checkpoint;
mod doctor;
mod exec;
mod inspect;
mod launch;
mod lifecycle;
mod logs;
pub mod output;
mod plan;
mod ps;
mod run;

use std::process::ExitCode;

use nix::sys::signal::Signal;
use nix::sys::stat;

pub use launch::{Launch, Make, Mode, resolve_rootfs};
pub use lifecycle::{remove, stop};
pub use logs::{find_logged, follow, skip_to_last};

use crate::error::Error;
use crate::home::Home;
use crate::part::{Command, Part};
use crate::sys;

/// What every part can do.
pub fn commands() -> Vec<Command> {
    vec![run::command(), plan::command(), checkpoint::command(), doctor::command()]
}

/// What a part can do whose containers can be left alone and joined: part 2 and later.
pub fn container_commands() -> Vec<Command> {
    let mut commands = vec![ps::command(), exec::command(), logs::command(), inspect::command()];
    commands.extend(lifecycle::commands());
    commands
}

/// Runs the binary of a part: parses the arguments, runs the command, says what went wrong.
pub fn main(part: &Part) -> ExitCode {
    // A reader that closes its end (`| head`) ends us, as it ends any tool.
    let _ = sys::set_signal(Signal::SIGPIPE, false);
    output::decide_colours();
    // What we make is ours to write and others' to read where it is not closed: whoever calls us
    // may have another idea of it.
    stat::umask(stat::Mode::from_bits_truncate(0o022));
    let matches = define(part).get_matches();
    let Some((name, arguments)) = matches.subcommand() else { return ExitCode::from(2) };
    // First of all, because it starts this program from the beginning.
    if name == exec::NAME {
        crate::sealed::run_from_a_copy();
    }
    let home = Home::of_this_user();
    if let Err(error) = home.check() {
        output::error(&error.to_string());
        return ExitCode::from(error.code());
    }
    // Whatever was killed before it could clean up is cleaned up now.
    for error in crate::ownership::sweep(&home) {
        output::warn(&error.to_string());
    }
    let command = part.commands.iter().find(|command| command.name == name);
    let result = match command {
        Some(command) => (command.run)(part, arguments),
        None => Err(Error::new(format!("{} has no command {name}", part.binary))),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::error(&error.to_string());
            ExitCode::from(error.code())
        }
    }
}

/// The whole command line; for one that names a command, only that: the others' help takes longer
/// to prepare than a container.
fn define(part: &Part) -> clap::Command {
    let mut commands: Vec<_> = part.commands.iter().collect();
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if let Some(at) = commands.iter().position(|command| command.name == wanted) {
        commands = vec![commands[at]];
    }
    clap::Command::new(part.binary)
        .about(part.about)
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(80)
        .subcommands(commands.into_iter().map(|command| (command.define)()))
}
