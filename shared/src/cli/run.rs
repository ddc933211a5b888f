//! `run`: start one service.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches};

use super::launch::{Launch, Mode};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::part::{Command, Part};
use crate::spec::{Service, Spec};

// Which service is meant. (A doc comment would become the help of the command.)
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The file that describes it (service-specs.yml here, if there is one)
    pub(super) spec: Option<PathBuf>,

    /// The service in that file (needed when it has several)
    pub(super) service: Option<String>,

    /// Use this directory as root file system
    #[arg(long, value_name = "DIR")]
    pub(super) rootfs: Option<PathBuf>,

    /// The container's name
    #[arg(long)]
    pub(super) name: Option<String>,

    /// The program to run instead of the file's, with its arguments
    #[arg(last = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    which: Which,

    /// Leave it running in the background
    #[arg(short, long)]
    detach: bool,

    /// Keep its standard input open
    #[arg(short, long)]
    interactive: bool,

    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,

    /// Let it write nothing to its root file system
    #[arg(long)]
    read_only: bool,

    /// Put a small init before it that reaps and forwards signals
    #[arg(long)]
    init: bool,

    /// Tell each step as it is done
    #[arg(long, conflicts_with = "detach")]
    explain: bool,
}

pub(super) fn command() -> Command {
    Command {
        name: "run",
        define: || {
            Run::augment_args(
                clap::Command::new("run")
                    .about("Start a service")
                    .after_help("Example: run service-specs.yml web -- sh -c 'echo hello'"),
            )
        },
        run: |part, matches| {
            let run = Run::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
            start(part, &run)
        },
    }
}

fn start(part: &Part, run: &Run) -> Result<u8> {
    let home = Home::of_this_user();
    let (spec, mut service) = run.which.find()?;
    let terminal = run.tty || service.tty;
    service.stdin_open |= run.interactive;
    service.read_only |= run.read_only;
    service.init |= run.init;
    if run.detach && part.exec.is_none() {
        return Err(Error::new(format!("{} cannot leave a container alone", part.binary))
            .hint("part 2 and later can"));
    }
    let mode = match (run.detach, run.explain) {
        (true, _) => Mode::Detached,
        (false, true) => Mode::Explained,
        (false, false) => Mode::Foreground,
    };
    let launch = run.which.launch(part, &home, &service, spec.as_ref(), terminal);
    launch.run(mode)
}

impl Which {
    /// The file, if any, and the service in it.
    ///
    /// # Errors
    /// The file is wrong, or has no such service, or several.
    pub(super) fn find(&self) -> Result<(Option<Spec>, Service)> {
        let here = Path::new("service-specs.yml");
        let file = self.spec.as_deref().or_else(|| {
            (self.rootfs.is_none() && self.command.is_empty() && here.exists()).then_some(here)
        });
        let spec = file.map(Spec::load).transpose()?;
        let mut service = match &spec {
            Some(spec) => pick(spec, self.service.as_deref())?,
            None => Service { image: "host".into(), ..Service::default() },
        };
        if let Some(rootfs) = &self.rootfs {
            let absolute = std::path::absolute(rootfs)
                .map_err(|e| Error::new(format!("cannot find {}", rootfs.display())).because(e))?;
            service.rootfs = Some(absolute);
        }
        if !self.command.is_empty() {
            service.entrypoint.clear();
            service.command = self.command.clone();
        }
        Ok((spec, service))
    }

    /// The start that is asked for.
    pub(super) fn launch<'a>(
        &self,
        part: &'a Part,
        home: &'a Home,
        service: &'a Service,
        spec: Option<&'a Spec>,
        terminal: bool,
    ) -> Launch<'a> {
        let name = self.name(service, spec);
        Launch { part, home, service, spec, name, terminal, tell: true }
    }

    /// The container's name.
    fn name(&self, service: &Service, spec: Option<&Spec>) -> String {
        let own = self.name.as_ref().or(service.container_name.as_ref());
        match (own, spec) {
            (Some(name), _) => name.clone(),
            (None, Some(spec)) => spec.container_name(service),
            (None, None) => format!("run-{}", std::process::id()),
        }
    }
}

fn pick(spec: &Spec, name: Option<&str>) -> Result<Service> {
    let names: Vec<_> = spec.services.keys().cloned().collect();
    match name {
        Some(name) => spec.services.get(name).cloned().ok_or_else(|| {
            Error::new(format!("{} has no service called {name:?}", spec.file.display()))
                .hint(format!("one of: {}", names.join(", ")))
        }),
        None if names.len() == 1 => Ok(spec.services[0].clone()),
        None => ask_which(&names).map(|chosen| spec.services[chosen].clone()).ok_or_else(|| {
            Error::new(format!("{} has several services", spec.file.display()))
                .hint(format!("name one of: {}", names.join(", ")))
        }),
    }
}

/// Asks on a terminal which of several services is meant; elsewhere there is nobody to ask.
fn ask_which(names: &[String]) -> Option<usize> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return None;
    }
    dialoguer::Select::new()
        .with_prompt("Which service?")
        .items(names)
        .default(0)
        .interact_opt()
        .ok()
        .flatten()
}
