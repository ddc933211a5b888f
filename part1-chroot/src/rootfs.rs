//! `rootfs`: the command that makes and shows root file systems.

use clap::{FromArgMatches, Subcommand};
use shared::error::{Error, Result};
use shared::part::Command;

use crate::create::{self, Create};
use crate::show::{self, Show};

#[derive(Debug, Subcommand)]
enum Rootfs {
    /// Make one: from this machine's tools, with debootstrap, or from an archive
    Create(Create),
    /// Show what is in one, and what is missing
    Show(Show),
}

pub(crate) fn command() -> Command {
    Command {
        name: "rootfs",
        define: || {
            Rootfs::augment_subcommands(
                clap::Command::new("rootfs")
                    .about("Make and show root file systems")
                    .subcommand_required(true)
                    .arg_required_else_help(true),
            )
        },
        run: |_, matches| run(matches),
    }
}

fn run(matches: &clap::ArgMatches) -> Result<u8> {
    match Rootfs::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))? {
        Rootfs::Create(create) => create::run(&create)?,
        Rootfs::Show(show) => show::run(&show)?,
    }
    Ok(0)
}
