//! `cargo run -p book -- build | serve | check`: the book, without anything installed beforehand.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, serve and check the book
#[derive(Parser)]
#[command(name = "book", max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Build it into book/book
    Build {
        /// Build it into DIR
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Build it, show it on this machine, and build it again when a page changes
    Serve {
        /// The port on 127.0.0.1
        #[arg(long, default_value_t = 3000)]
        port: u16,
        /// Open it in the browser
        #[arg(long)]
        open: bool,
    },
    /// Build it, and check all that can be checked without a browser
    Check {
        /// A check that cannot be made here is an error
        #[arg(long)]
        no_skip: bool,
    },
}

fn main() -> ExitCode {
    let repository = book::repository();
    let result = match Arguments::parse().what {
        What::Build { into } => book::site::build_and_tell(&repository, into),
        What::Serve { port, open } => book::serve::serve(&repository, port, open),
        What::Check { no_skip } => book::check::check_and_tell(&repository, no_skip),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
