//! `probe`: a small program that is put into every root file system made from the host's tools.
//!
//! It shows what a process sees from where it stands (`look`), serves files (`serve`), talks to
//! others (`connect`, `udp-echo`) and uses up what a limit should bound (`hog`, `forks`).
//! It uses the standard library only and is linked statically, so that it runs in any root file
//! system, also in one that holds nothing else.

mod args;
mod connect;
mod escape;
mod facts;
mod files;
mod forks;
mod hog;
mod http;
mod look;
mod network;
mod page;
mod resolve;
mod serve;
mod sleep;
mod udp_echo;

use std::process::ExitCode;

const USAGE: &str = "\
probe: looks around from inside a container

  probe look [--json]                   what a process sees from here
  probe serve [--port 80] [--root DIR] [--bind ADDRESS]
                                        a web server for the files of DIR
  probe connect HOST:PORT [--send TEXT] prints what the other side answers
  probe udp-echo PORT [--bind ADDRESS]  sends every datagram back
  probe hog memory SIZE [--hold SECONDS]  uses memory: 64M, 1G
  probe hog cpu SECONDS                 uses one CPU
  probe forks N [--hold SECONDS]        starts N sleeping processes
  probe sleep SECONDS                   does nothing
  probe escape chroot [PROGRAM …]       leaves a changed root directory, if it can
";

/// What a subcommand answers: nothing, or one line that says why it failed.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    match run(&command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("probe: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, words: Vec<String>) -> Outcome {
    match command {
        "look" => look::run(words),
        "serve" => serve::run(words),
        "connect" => connect::run(words),
        "udp-echo" => udp_echo::run(words),
        "hog" => hog::run(words),
        "forks" => forks::run(words),
        "sleep" => sleep::run(words),
        "escape" => escape::run(words),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        "" => Err(format!("which command?\n{USAGE}")),
        other => Err(format!("unknown command {other:?}\n{USAGE}")),
    }
}
