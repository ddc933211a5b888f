//! A container is a recipe, and the recipe is data.
//!
//! A [`Recipe`] is a list of [`Step`]s. A step knows what it does, why, which section of the
//! book teaches it, which shell command is its equivalent, and how it is undone. So a recipe can
//! be printed without being run, narrated while it runs, blamed when it fails, and undone.
//!
//! Each part takes the recipe of the part before and changes it by name:
//! [`Recipe::insert_before`], [`Recipe::insert_after`], [`Recipe::replace`].

mod script;

use std::borrow::Cow;
use std::cell::RefCell;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::sched::CloneFlags;
use nix::unistd::Pid;
use serde::Serialize;

use crate::container::{Exit, Link};
use crate::error::Failed;
use crate::journal::Undo;

/// What a step answers.
pub type Outcome = Result<(), Failed>;

/// Where and when a step runs. The order of the variants is the order in time,
/// except that `Attach` and `Child` run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On the host, before the process exists.
    Prepare,
    /// The `clone3` itself: its flags are in [`Recipe::clone`].
    Clone,
    /// On the host, once the pid is known.
    Attach,
    /// In the new process, before `execve`.
    Child,
    /// On the host, after the process has ended and before anything is undone.
    After,
}

impl Place {
    /// In a person's words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Prepare => "On the host, before the process exists",
            Self::Clone => "The process",
            Self::Attach => "On the host, once its pid is known",
            Self::Child => "In the process, before it becomes the program",
            Self::After => "On the host, once it has ended",
        }
    }
}

/// What a step can use while it runs.
pub struct Context<'a> {
    /// The container's first process as the host sees it (`Attach` and `After` steps).
    pub pid: Option<Pid>,
    /// A pidfd of that process (`Attach` steps).
    pub pidfd: Option<BorrowedFd<'a>>,
    /// The child's link to the host (`Child` steps).
    pub link: Option<&'a Link>,
    /// How the process ended (`After` steps): a step may add what it found out.
    pub exit: Option<&'a mut Exit>,
}

impl Context<'_> {
    /// Waits, in the child, until the host has done the `Attach` step called `step`.
    ///
    /// # Errors
    /// `ECANCELED` when the host gave up.
    pub fn await_host(&self, step: &str) -> Outcome {
        match self.link {
            Some(link) => link.await_host(step),
            None => Ok(()),
        }
    }

    /// Hands an open file to the host (the terminal's controlling side).
    ///
    /// # Errors
    /// What `sendmsg(2)` answered.
    pub fn send_to_host(&self, fd: RawFd) -> Outcome {
        match self.link {
            Some(link) => link.send_fd(fd),
            None => Ok(()),
        }
    }
}

/// What a step does when it runs.
///
/// Everything a child's action needs was prepared before the clone; it decides nothing.
pub type Action = Box<dyn Fn(&mut Context) -> Outcome>;

/// One thing the runtime does.
#[derive(Serialize)]
pub struct Step {
    /// Short and unique in a recipe: `pivot_root`.
    pub name: Cow<'static, str>,
    /// The part that adds it, 1–5.
    pub part: u8,
    /// Where and when it runs.
    pub place: Place,
    /// What it does, in words: "make the new tree `/`".
    pub what: String,
    /// Why, in one sentence.
    pub why: Cow<'static, str>,
    /// The section of the book that teaches it: "2.4".
    pub section: &'static str,
    /// The same with standard tools. `...` stands for what comes after, which the command then
    /// runs; where no tool can do it, a comment says so ([`no_tool`]). See [`Recipe::script`].
    pub shell: String,
    /// How the shell takes it back, if not as `undo` says. It will be done once the first line of
    /// `shell` has succeeded; variables in it are what they are then.
    #[serde(skip)]
    pub shell_undo: Vec<String>,
    /// Files that the shell commands read from `$DIR`.
    #[serde(skip)]
    pub shell_files: Vec<ShellFile>,
    /// What to try when it fails; empty when the errno says it all.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hint: Cow<'static, str>,
    /// How it is undone when the container stops; written to the journal *before* it runs.
    pub undo: Vec<Undo>,
    /// What is left until the container is removed (its files), undone then.
    pub undo_on_remove: Vec<Undo>,
    /// What it does. A step without one is only told (the clone).
    #[serde(skip)]
    pub action: Option<Action>,
}

impl Step {
    /// A step of `part` that runs at `place`. Fill it in with the methods below.
    pub fn new(part: u8, place: Place, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            part,
            place,
            what: String::new(),
            why: Cow::Borrowed(""),
            section: "",
            shell: String::new(),
            shell_undo: Vec::new(),
            shell_files: Vec::new(),
            hint: Cow::Borrowed(""),
            undo: Vec::new(),
            undo_on_remove: Vec::new(),
            action: None,
        }
    }

    /// What it does, in words.
    #[must_use]
    pub fn what(mut self, what: impl Into<String>) -> Self {
        self.what = what.into();
        self
    }

    /// Why, in one sentence.
    #[must_use]
    pub fn why(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.why = why.into();
        self
    }

    /// The section of the book that teaches it.
    #[must_use]
    pub fn section(mut self, section: &'static str) -> Self {
        self.section = section;
        self
    }

    /// The shell command that does the same.
    #[must_use]
    pub fn shell(mut self, shell: impl Into<String>) -> Self {
        self.shell = shell.into();
        self
    }

    /// How the shell takes it back, if not as [`Step::undo`] says.
    #[must_use]
    pub fn shell_undo(mut self, undo: impl Into<String>) -> Self {
        self.shell_undo.push(undo.into());
        self
    }

    /// A file that the shell command reads from `$DIR`.
    #[must_use]
    pub fn shell_file(mut self, name: &'static str, text: impl Fn() -> String + 'static) -> Self {
        self.shell_files.push((name, Box::new(text)));
        self
    }

    /// What to try when it fails.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// How it is undone when the container stops.
    #[must_use]
    pub fn undo(mut self, undo: Undo) -> Self {
        self.undo.push(undo);
        self
    }

    /// How what it leaves is undone when the container is removed.
    #[must_use]
    pub fn undo_on_remove(mut self, undo: Undo) -> Self {
        self.undo_on_remove.push(undo);
        self
    }

    /// What it does.
    #[must_use]
    pub fn does(self, action: impl Fn() -> Outcome + 'static) -> Self {
        self.does_with(move |_| action())
    }

    /// What it does with what it is given.
    #[must_use]
    pub fn does_with(mut self, action: impl Fn(&mut Context) -> Outcome + 'static) -> Self {
        self.action = Some(Box::new(action));
        self
    }
}

/// What a step says in place of a shell command that there is not.
pub fn no_tool(what: &str) -> String {
    format!("# not possible with standard tools: {what}")
}

/// A file for shell commands: its name, and its text, in which variables are filled in.
pub type ShellFile = (&'static str, Box<dyn Fn() -> String>);

/// Variables that shell commands use, found out when they are asked for: names and values, which
/// may have a command in them.
pub type Variables = Box<dyn Fn() -> crate::Result<Vec<(String, String)>>>;

/// The note for a key of the file whose wall a later part raises.
pub fn raised_in(key: &str, part: u8) -> String {
    format!("{key}: raised in part {part}")
}

/// How the first process is made: the arguments of `clone3(2)`.
#[derive(Debug, Clone, Serialize)]
pub struct Clone {
    /// The namespaces it gets. (`CLONE_NEWCGROUP` is not here: it is unshared by the child once
    /// it is in its cgroup, so that the cgroup becomes the root of its view.)
    #[serde(serialize_with = "flags_as_names")]
    pub namespaces: CloneFlags,
    /// The cgroup v2 directory it is born in (`CLONE_INTO_CGROUP`); absolute.
    pub cgroup: Option<PathBuf>,
}

fn flags_as_names<S: serde::Serializer>(flags: &CloneFlags, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(flags.iter_names().map(|(name, _)| name))
}

/// How to start a container: everything that is done, in order.
#[derive(Serialize)]
pub struct Recipe {
    /// The part that made it, 1–5.
    pub part: u8,
    /// The container's name.
    pub container: String,
    /// How its first process is made.
    pub clone: Clone,
    /// What is done, in order. Steps of different places may be mixed; each place keeps its order.
    pub steps: Vec<Step>,
    /// What this machine or user cannot do, each one sentence; shown before the start.
    pub notes: Vec<String>,
    /// Whether the program reads our standard input.
    #[serde(skip)]
    pub keeps_input: bool,
    /// Whether the child makes a terminal and sends its controlling side to the host.
    pub terminal: bool,
    /// What the steps' shell commands call by a name.
    #[serde(skip)]
    pub variables: Vec<Variables>,
    /// The addresses that its steps took: a network's name and `address/prefix` each.
    #[serde(skip)]
    pub addresses: Rc<RefCell<Vec<(String, String)>>>,
}

impl Recipe {
    /// A recipe without steps and without walls.
    pub fn new(part: u8, container: impl Into<String>) -> Self {
        Self {
            part,
            container: container.into(),
            clone: Clone { namespaces: CloneFlags::empty(), cgroup: None },
            steps: Vec::new(),
            notes: Vec::new(),
            keeps_input: false,
            terminal: false,
            variables: Vec::new(),
            addresses: Rc::default(),
        }
    }

    /// Makes it a recipe of a later part, which raises walls that the parts before only noted:
    /// see [`raised_in`].
    pub fn continue_in(&mut self, part: u8) {
        self.part = part;
        let ending = raised_in("", part);
        self.notes.retain(|note| !note.ends_with(&ending));
    }

    /// Adds a step at the end.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Adds `step` before the one called `name`.
    ///
    /// # Panics
    /// When there is no such step: the parts are written against each other's names.
    pub fn insert_before(&mut self, name: &str, step: Step) {
        let at = self.position(name);
        self.steps.insert(at, step);
    }

    /// Adds `step` after the one called `name`.
    ///
    /// # Panics
    /// When there is no such step.
    pub fn insert_after(&mut self, name: &str, step: Step) {
        let at = self.position(name);
        self.steps.insert(at + 1, step);
    }

    /// Puts `step` where the one called `name` was: a later part's better way.
    ///
    /// # Panics
    /// When there is no such step.
    pub fn replace(&mut self, name: &str, step: Step) {
        let at = self.position(name);
        self.steps[at] = step;
    }

    /// Whether there is a step called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.name == name)
    }

    /// The steps of one place, with their number in the whole recipe (from 1).
    pub fn at(&self, place: Place) -> impl Iterator<Item = (usize, &Step)> {
        self.steps
            .iter()
            .enumerate()
            .filter(move |(_, s)| s.place == place)
            .map(|(i, s)| (i + 1, s))
    }

    /// The cgroup directories that its steps make: one on v2, one for each hierarchy on v1.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let undos = self.steps.iter().flat_map(|step| &step.undo);
        undos
            .filter_map(|undo| match undo {
                Undo::RemoveCgroup { path } => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    fn position(&self, name: &str) -> usize {
        match self.steps.iter().position(|step| step.name == name) {
            Some(at) => at,
            None => panic!("the recipe of part {} has no step called {name}", self.part),
        }
    }
}
