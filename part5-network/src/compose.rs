//! `up` and `down`: all services of a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, FromArgMatches};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;
use shared::cli::{Launch, Make, Mode, output, remove, resolve_rootfs, stop};
use shared::home::Home;
use shared::journal::Undo;
use shared::part::{Command, Part};
use shared::spec::{Port, Service, Spec};
use shared::state::{self, Record, Status};
use shared::{Call, Error, Result, container, sys, undo};

use crate::logs::{GLANCE, Tail};
use crate::{next_steps, publish};

/// The file that is meant when none is named.
pub(crate) const HERE: &str = "service-specs.yml";

#[derive(Debug, Args)]
struct Up {
    /// The file that describes the services (service-specs.yml here)
    #[arg(default_value = HERE)]
    spec: PathBuf,

    /// Only these, and what they depend on
    services: Vec<String>,

    /// Leave them running in the background
    #[arg(short, long)]
    detach: bool,
}

#[derive(Debug, Args)]
struct Down {
    /// The file that describes the services (service-specs.yml here)
    #[arg(default_value = HERE)]
    spec: PathBuf,

    /// Seconds to wait before each is killed
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<u64>,

    /// Remove the file's named volumes, too, with what is in them
    #[arg(short, long)]
    volumes: bool,
}

pub(crate) fn commands() -> Vec<Command> {
    vec![
        Command {
            name: "up",
            define: || Up::augment_args(clap::Command::new("up").about("Start all services")),
            run: |part, matches| {
                let up = Up::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
                Project::load(part, &up.spec)?.up(&up)
            },
        },
        Command {
            name: "down",
            define: || {
                Down::augment_args(clap::Command::new("down").about("Stop and remove them all"))
            },
            run: |part, matches| {
                let down =
                    Down::from_arg_matches(matches).map_err(|e| Error::new(e.to_string()))?;
                Project::load(part, &down.spec)?.down(&down)
            },
        },
    ]
}

/// A file and where its containers are.
struct Project<'a> {
    part: &'a Part,
    home: Home,
    spec: Spec,
}

impl<'a> Project<'a> {
    fn load(part: &'a Part, file: &Path) -> Result<Self> {
        Ok(Self { part, home: Home::of_this_user(), spec: Spec::load(file)? })
    }

    fn launch<'b>(&'b self, service: &'b Service) -> Launch<'b> {
        Launch {
            part: self.part,
            home: &self.home,
            service,
            spec: Some(&self.spec),
            name: self.spec.container_name(service),
            terminal: service.tty,
            tell: false,
        }
    }

    fn up(&self, up: &Up) -> Result<u8> {
        let services = in_order(&self.spec, &up.services)?;
        let mut to_start = Vec::new();
        for service in services.iter().copied() {
            match state::find(&self.home, &self.spec.container_name(service)) {
                Ok(record) if record.status != Status::Stopped => {
                    println!("{} is up already", record.name);
                }
                found => to_start.push((service, found.ok())),
            }
        }
        self.check(&to_start)?;
        // Blocked from here on, so that Ctrl-C between two services is not lost.
        let signals = if up.detach { None } else { Some(container::catch_signals()?) };
        let mut started = Vec::<String>::new();
        for (service, before) in &to_start {
            if let Some(before) = before {
                remove(&self.home, &before.name, false)?;
            }
            let name = self.spec.container_name(service);
            if let Err(code) = start_apart(&self.launch(service))? {
                output::note("stopping what was started for it");
                for name in started.iter().rev() {
                    remove(&self.home, name, true)?;
                }
                return Ok(code);
            }
            println!("{}", next_steps::done(&self.home, &name));
            started.push(name);
        }
        let all: Vec<_> =
            services.iter().map(|service| self.spec.container_name(service)).collect();
        println!("\n{}\n", next_steps::then(&self.home, &up.spec, &all, up.detach));
        match signals {
            None => Ok(0),
            Some(signals) => self.watch(&up.spec, &started, &signals),
        }
    }

    /// All that can be known to fail, before anything starts.
    fn check(&self, services: &[(&Service, Option<Record>)]) -> Result<()> {
        let mut ports = Vec::<Port>::new();
        let mut notes = Vec::new();
        for (service, _) in services {
            let rootfs = resolve_rootfs(self.part, &self.home, service, Make::IfMissing)?;
            shared::rootfs::validate(&rootfs)?;
            let launch = self.launch(service);
            let request = launch.request(rootfs, Mode::Detached);
            for note in (self.part.recipe)(&request)?.notes {
                if !notes.contains(&note) {
                    output::note(&note);
                    notes.push(note);
                }
            }
            ports.extend(service.ports.iter().cloned());
        }
        publish::check(&ports, &self.home)
    }

    /// Shows what they write until all have ended, or Ctrl-C, which stops them.
    fn watch(&self, file: &Path, names: &[String], signals: &SignalFd) -> Result<u8> {
        let mut tails = names
            .iter()
            .map(|name| Tail::open(&self.home, name, None))
            .collect::<Result<Vec<_>>>()?;
        loop {
            let go_on = Tail::show_all(&mut tails)?;
            if !go_on || is_interrupted(signals) {
                break;
            }
        }
        for name in names.iter().rev() {
            stop(&self.home, name, None)?;
        }
        Tail::show_all(&mut tails)?;
        output::note(&format!("stopped; {} removes them", next_steps::down(file)));
        Ok(0)
    }

    fn down(&self, down: &Down) -> Result<u8> {
        let mut records = state::list(&self.home);
        records.retain(|record| record.project.as_ref() == Some(&self.spec.project));
        // The last started first: nobody loses what it depends on.
        for record in records.iter().rev() {
            stop(&self.home, &record.name, down.time.map(Duration::from_secs))?;
            remove(&self.home, &record.name, true)?;
            println!("{} is gone", record.name);
        }
        if records.is_empty() {
            output::note(&format!("no container of {} is there", self.spec.project));
        }
        if down.volumes {
            self.remove_volumes()?;
        }
        Ok(0)
    }

    fn remove_volumes(&self) -> Result<()> {
        for name in &self.spec.volumes {
            let dir = self.home.volumes().join(format!("{}_{name}", self.spec.project));
            undo::apply(&Undo::RemoveTree { path: dir })?;
        }
        Ok(())
    }
}

/// The services that are wanted and what they depend on, each after what it depends on. (The
/// reader of the file has refused circles.)
fn in_order<'a>(spec: &'a Spec, wanted: &[String]) -> Result<Vec<&'a Service>> {
    let mut order = Vec::new();
    if wanted.is_empty() {
        spec.services.values().for_each(|service| add(spec, service, &mut order));
    }
    for name in wanted {
        let service = spec.services.get(name).ok_or_else(|| {
            let names: Vec<_> = spec.services.keys().map(String::as_str).collect();
            Error::new(format!("{} has no service called {name:?}", spec.file.display()))
                .hint(format!("one of: {}", names.join(", ")))
        })?;
        add(spec, service, &mut order);
    }
    Ok(order)
}

fn add<'a>(spec: &'a Spec, service: &'a Service, order: &mut Vec<&'a Service>) {
    if order.iter().any(|other| other.name == service.name) {
        return;
    }
    for name in &service.depends_on {
        if let Some(other) = spec.services.get(name) {
            add(spec, other, order);
        }
    }
    order.push(service);
}

/// Starts a service from a process of its own: what a launch leaves open belongs to its
/// supervisor alone, and must not be inherited by the next one's.
fn start_apart(launch: &Launch) -> Result<Result<(), u8>> {
    match sys::fork().call("fork()")? {
        ForkResult::Child => {
            let code = launch.run(Mode::Detached).unwrap_or_else(|error| {
                output::error(&format!("{}: {error}", launch.name));
                error.code()
            });
            sys::exit_now(code)
        }
        ForkResult::Parent { child } => Ok(match waitpid(child, None).call("waitpid()")? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, code) => Err(code as u8),
            _ => Err(shared::error::EXIT_OURS),
        }),
    }
}

fn is_interrupted(signals: &SignalFd) -> bool {
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(GLANCE).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut fds, patience);
    // A window that changed its size is no wish to end.
    let ends = |signal: u32| {
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].contains(&(signal as i32))
    };
    matches!(signals.read_signal(), Ok(Some(info)) if ends(info.ssi_signo))
}
