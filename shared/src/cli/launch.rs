//! From a service to a container that runs, in the foreground or on its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use colored::Colorize;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};

use super::output;
use crate::container::{self, Exit, Narrator, Streams};
use crate::error::{Call, EXIT_OURS, Error, Result};
use crate::home::Home;
use crate::journal::Journal;
use crate::ownership::Owned;
use crate::part::{Part, Request, User};
use crate::recipe::{Recipe, Step};
use crate::rootfs;
use crate::spec::{Restart, Service, Spec};
use crate::state::{self, Record, Status};
use crate::sys;

/// The longest pause between two restarts.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How a container is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// We wait for its end; then it is gone.
    Foreground,
    /// The same, and each step is told.
    Explained,
    /// A supervisor of its own looks after it; it is kept until `rm`.
    Detached,
}

/// A service about to be started.
pub struct Launch<'a> {
    /// The part that starts it.
    pub part: &'a Part,
    /// Where this user's containers are.
    pub home: &'a Home,
    /// The service.
    pub service: &'a Service,
    /// Its file.
    pub spec: Option<&'a Spec>,
    /// The container's name.
    pub name: String,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Whether its recipe's notes are printed.
    pub tell: bool,
}

impl Launch<'_> {
    /// Starts it; in the foreground waits for its end. Answers the exit status.
    ///
    /// # Errors
    /// Why it could not be started; nothing is left of it then.
    pub fn run(&self, mode: Mode) -> Result<u8> {
        let rootfs = resolve_rootfs(self.part, self.home, self.service, Make::IfMissing)?;
        rootfs::validate(&rootfs)?;
        let recipe = (self.part.recipe)(&self.request(rootfs.clone(), mode))?;
        let owned = Owned::create(self.home, &self.name)?;
        let mut record = self.record(rootfs, &recipe, mode);
        if self.tell {
            recipe.notes.iter().for_each(|note| output::note(note));
        }
        let result = match mode {
            Mode::Detached => self.detach(&owned, &recipe, &mut record),
            _ => self.foreground(&owned, &recipe, &mut record, mode == Mode::Explained),
        };
        match (mode, result) {
            (Mode::Detached, Ok(code)) => {
                // The lock is the supervisor's now; dropping it here would unlock it for both.
                std::mem::forget(owned);
                Ok(code)
            }
            (_, result) => {
                let removed = owned.remove();
                let code = result?;
                removed.map(|()| code)
            }
        }
    }

    /// What the part's recipe is made for.
    pub fn request(&self, rootfs: PathBuf, mode: Mode) -> Request<'_> {
        Request {
            service: self.service,
            spec: self.spec,
            name: self.name.clone(),
            rootfs,
            home: self.home,
            user: User::current(),
            terminal: self.terminal,
            throw_away: mode != Mode::Detached,
        }
    }

    fn record(&self, rootfs: PathBuf, recipe: &Recipe, mode: Mode) -> Record {
        Record {
            name: self.name.clone(),
            part: self.part.number,
            project: self.spec.map(|spec| spec.project.clone()),
            status: Status::Created,
            remove_on_stop: mode != Mode::Detached,
            rootfs,
            service: self.service.clone(),
            created: SystemTime::now(),
            pid: 0,
            start_time: 0,
            cgroups: recipe.cgroups(),
            addresses: Vec::new(),
            notes: recipe.notes.clone(),
            exit: None,
            finished: None,
            restarts: 0,
            error: None,
        }
    }

    fn foreground(
        &self,
        owned: &Owned,
        recipe: &Recipe,
        record: &mut Record,
        explain: bool,
    ) -> Result<u8> {
        let _ = sys::set_signal(Signal::SIGPIPE, true);
        let streams = Streams { input: input(recipe)?, output: None };
        let mut narrate = |number: usize, step: &Step| tell(number, step);
        let narrator: Option<Narrator> = if explain { Some(&mut narrate) } else { None };
        let signals = container::catch_signals()?;
        let exit = run_once(owned, recipe, record, &streams, &signals, narrator, || {})?;
        if let Some(reason) = why_killed(&exit, self.service) {
            output::error(&format!("{}: {reason}", self.name));
        }
        Ok(exit.code)
    }

    /// Makes the supervisor, and waits until it says that the program runs, or why not.
    fn detach(&self, owned: &Owned, recipe: &Recipe, record: &mut Record) -> Result<u8> {
        let (answer, answering) = pipe2(OFlag::O_CLOEXEC).call("pipe2()")?;
        match sys::fork().call("fork()")? {
            ForkResult::Child => {
                drop(answer);
                let code = self.supervisor(owned, recipe, record, File::from(answering));
                sys::exit_now(code)
            }
            ForkResult::Parent { .. } => {
                drop(answering);
                let mut text = String::new();
                let _ = File::from(answer).read_to_string(&mut text);
                started(&text)
            }
        }
    }

    /// The supervisor, from its first instruction to its last. Nobody waits for it any more.
    fn supervisor(
        &self,
        owned: &Owned,
        recipe: &Recipe,
        record: &mut Record,
        answering: File,
    ) -> u8 {
        // A pipe that our caller left open would wait for its end as long as we live.
        let mut keep = [owned.as_fd().as_raw_fd(), answering.as_raw_fd()];
        let _ = sys::close_all_but(&mut keep);
        let mut answering = Some(answering);
        let _ = sys::set_signal(Signal::SIGPIPE, true);
        let result = setsid().call("setsid()").map_err(Error::from).and_then(|_| {
            let streams = self.detached_streams(owned)?;
            let signals = container::catch_signals()?;
            let answered = || {
                answer(&mut answering, STARTED);
                leave_terminal();
            };
            let exit = run_once(owned, recipe, record, &streams, &signals, None, answered)?;
            self.restart_while_wanted(owned, record, &streams, &signals, exit)?;
            owned.settle()
        });
        match result {
            Ok(()) => 0,
            Err(error) => {
                // The one who waits cleans up; after the start, the next command does.
                if answering.is_none() {
                    say_in_log(owned.dir(), &error);
                }
                answer(&mut answering, &format!("{}\n{error}", error.code()));
                EXIT_OURS
            }
        }
    }

    fn detached_streams(&self, owned: &Owned) -> Result<Streams> {
        let path = owned.dir().join("log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log =
            log.map_err(|e| Error::new(format!("cannot open {}", path.display())).because(e))?;
        let input = File::open("/dev/null").call("open(\"/dev/null\")")?;
        Ok(Streams { input: Some(input), output: Some(log) })
    }

    /// `restart:`. The pause doubles each time, so that a program that cannot start does not
    /// keep the machine busy. A start that fails is a life that ended: what stood in its way (a
    /// port that is taken) may be gone the next time.
    fn restart_while_wanted(
        &self,
        owned: &Owned,
        record: &mut Record,
        streams: &Streams,
        signals: &SignalFd,
        mut exit: Exit,
    ) -> Result<()> {
        let mut pause = Duration::from_millis(100);
        while wants_restart(self.service.restart, &exit, record.restarts) {
            if pause_unless_stopped(owned.dir(), pause) {
                break;
            }
            record.restarts += 1;
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
            exit = match self.run_again(owned, record, streams, signals) {
                Ok(exit) => exit,
                Err(error) => not_restarted(owned, record, &error),
            };
        }
        if record.status == Status::Restarting {
            record.status = Status::Stopped;
            owned.save(record)?;
        }
        // What could not be undone after a start that failed.
        owned.release()
    }

    fn run_again(
        &self,
        owned: &Owned,
        record: &mut Record,
        streams: &Streams,
        signals: &SignalFd,
    ) -> Result<Exit> {
        // With the limits that `update` may have changed meanwhile.
        let service = record.service.clone();
        let again = Launch { service: &service, name: self.name.clone(), tell: false, ..*self };
        let recipe = (self.part.recipe)(&again.request(record.rootfs.clone(), Mode::Detached))?;
        run_once(owned, &recipe, record, streams, signals, None, || {})
    }
}

/// Without `-i`, a program that reads finds the end at once. A terminal is made inside.
fn input(recipe: &Recipe) -> Result<Option<File>> {
    if recipe.keeps_input {
        return Ok(None);
    }
    Ok(Some(File::open("/dev/null").call("open(\"/dev/null\")")?))
}

/// What the supervisor answers when the program runs.
const STARTED: &str = "started";

/// Answers once; the end of the pipe tells that the answer is whole.
fn answer(pipe: &mut Option<File>, text: &str) {
    if let Some(mut pipe) = pipe.take() {
        let _ = pipe.write_all(text.as_bytes());
    }
}

/// Where the user looks for what became of a container, once nobody waits for an answer.
fn say_in_log(dir: &Path, error: &Error) {
    if let Ok(mut log) = OpenOptions::new().append(true).open(dir.join("log")) {
        let _ = writeln!(log, "error: {error}");
    }
}

/// A restart has failed: undoes what it did, and writes it down. (A disk so full that this fails,
/// too, may have room the next time.)
fn not_restarted(owned: &Owned, record: &mut Record, error: &Error) -> Exit {
    say_in_log(owned.dir(), error);
    if let Err(error) = owned.release() {
        say_in_log(owned.dir(), &error);
    }
    let exit = Exit { code: error.code(), ..Exit::default() };
    record.error = Some(error.to_string());
    ended(record, &exit);
    let _ = owned.save(record);
    exit
}

fn ended(record: &mut Record, exit: &Exit) {
    let again = wants_restart(record.service.restart, exit, record.restarts);
    record.status = if again { Status::Restarting } else { Status::Stopped };
    record.exit = Some(exit.clone());
    record.finished = Some(SystemTime::now());
}

fn started(answer: &str) -> Result<u8> {
    if answer == STARTED {
        return Ok(0);
    }
    let (code, text) = answer.split_once('\n').unwrap_or(("", "the supervisor ended"));
    Err(Error::new(text).exit_code(code.parse().unwrap_or(EXIT_OURS)))
}

/// From now on nobody looks at our standard streams; our directory keeps no file system busy.
fn leave_terminal() {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
        let _ = dup2_stderr(&null);
    }
    let _ = std::env::set_current_dir("/");
}

/// One life of a container: start, look after it, undo what its start did to the host.
fn run_once(
    owned: &Owned,
    recipe: &Recipe,
    record: &mut Record,
    streams: &Streams,
    signals: &SignalFd,
    narrator: Option<Narrator>,
    started: impl FnOnce(),
) -> Result<Exit> {
    owned.check_room()?;
    let mut journal = Journal::open(owned.dir())?;
    let running = container::start(recipe, &mut journal, streams, narrator)?;
    record.pid = running.pid.as_raw();
    record.start_time = running.start_time;
    record.status = Status::Running;
    record.addresses = recipe.addresses.borrow().clone();
    (record.exit, record.error) = (None, None);
    owned.save(record)?;
    started();
    let exit = container::supervise(recipe, &running, signals, streams)?;
    if record.remove_on_stop {
        // Its removal, which follows, undoes everything.
        return Ok(exit);
    }
    if let Some(now) = state::read(owned.dir()) {
        // `update` may have changed these.
        (record.service, record.cgroups) = (now.service, now.cgroups);
    }
    ended(record, &exit);
    owned.save(record)?;
    owned.release()?;
    Ok(exit)
}

fn wants_restart(policy: Restart, exit: &Exit, restarts: u32) -> bool {
    match policy {
        Restart::No => false,
        Restart::Always | Restart::UnlessStopped => true,
        Restart::OnFailure(most) => exit.code != 0 && most.is_none_or(|most| restarts < most),
    }
}

/// Waits; answers whether a command stopped the container meanwhile (see [`super::stop`]).
fn pause_unless_stopped(dir: &Path, pause: Duration) -> bool {
    let until = SystemTime::now() + pause;
    while SystemTime::now() < until {
        if dir.join("stopping").exists() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    dir.join("stopping").exists()
}

/// Why the kernel killed it, if it did.
pub(super) fn why_killed(exit: &Exit, service: &Service) -> Option<String> {
    exit.out_of_memory.then(|| match service.mem_limit {
        Some(limit) => format!("killed: out of memory (limit {})", output::size(limit)),
        None => "killed: out of memory".to_owned(),
    })
}

fn tell(number: usize, step: &Step) {
    let title = format!("{number:>3}. {}", step.name);
    eprintln!("{}  {} (part {}, section {})", title.bold(), step.what, step.part, step.section);
    eprintln!("     {} {}", "because".dimmed(), step.why);
    for line in step.shell.lines() {
        eprintln!("     {} {}", "$".dimmed(), line.cyan());
    }
}

/// Whether a root file system may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// It may: a container is about to start.
    IfMissing,
    /// It may not: a plan only looks.
    Never,
}

/// Where a service's root file system is.
///
/// Parts 4 and 5 leave an image as it is. Parts 1 to 3 use it in place, so they have trees of
/// their own.
///
/// # Errors
/// There is no such image, or the host's tree cannot be made.
pub fn resolve_rootfs(part: &Part, home: &Home, service: &Service, make: Make) -> Result<PathBuf> {
    if let Some(rootfs) = &service.rootfs {
        return Ok(rootfs.clone());
    }
    let all = if part.number < 4 { home.trees() } else { home.images() };
    // `/` or `..` would lead out of them.
    if !Path::new(&service.image).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Error::new(format!("{:?} is no name of an image", service.image))
            .hint("a directory is named with `x-rootfs: DIR`"));
    }
    let dir = all.join(&service.image);
    if make == Make::IfMissing {
        home.make()?;
    }
    match (service.image.as_str(), make) {
        ("host", Make::IfMissing) => rootfs::host::ensure(&dir),
        ("host", Make::Never) => Ok(rootfs::host::place(&dir)),
        _ if dir.is_dir() => Ok(dir),
        (image, _) => Err(Error::new(format!("there is no image called {image:?}")).hint(
            "`image: host`, or make a root file system and name it with `x-rootfs: DIR`:\n       \
             part1-chroot rootfs create --from debian:stable DIR",
        )),
    }
}
