//! The recipe as a script: the same container, made with standard tools.
//!
//! Nothing is said twice: the script is the steps' own shell commands in their order, each below
//! its number, what it does and why. What is added here is only what a script needs between them:
//! functions for the process, how the two sides wait for each other, and the undoing.
//!
//! A command that runs what comes after it (`unshare --cgroup ...`) cannot stand in a line of its
//! own and affect the next. Before the root changes, the script goes on in a new shell below it.
//! After that no shell is there to go on, so it is collected in an array, and the program is
//! started through all of them.

use std::fmt::Write;

use nix::sched::CloneFlags;

use super::{Place, Recipe, Step};
use crate::Result;
use crate::container::EXECVE;
use crate::journal::Undo;
use crate::shell::quoted;

/// Comments end at this column.
const WIDTH: usize = 80;
/// Before what stands in a function.
const INDENT: &str = "    ";

const SETTINGS: &str = "
# The functions are run by their names; what is in single quotes is meant so.
# shellcheck disable=SC2016,SC2317
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# What is done to the host is undone in reverse order, however this ends.
undo=()
trap 'for ((i = ${#undo[@]}; i-- > 0; )); do eval \"${undo[i]}\" || :; done' EXIT
stop() { [[ ! $(jobs -pr) ]] || { kill -KILL \"${PID:-$JOB}\"; wait \"$JOB\"; }; }

# A signal is passed on to the process; one that comes too early ends the work.
PID='' signal=''
pass_on() { signal=$1; [[ ! $PID ]] || kill -s \"$1\" \"$PID\"; }
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT
";

const DIRECTORY: &str = "\
# Here the two sides leave files for each other.
DIR=$(mktemp -d -t inside-docker-XXXXXX)
export DIR
undo+=(\"rm -r '$DIR'\")
";

/// The first that the process does.
const TELL_AND_WAIT: &str = "\
# It tells the host which number it has there, and waits for it.
read -r PID _ </proc/self/stat
echo \"$PID\" >\"$DIR/pid\"
until [[ -e $DIR/go ]]; do sleep 0.01; done
";

/// What the host does meanwhile.
const LISTEN: &str = "\
until [[ -s $DIR/pid ]]; do kill -0 \"$JOB\" 2>/dev/null || wait \"$JOB\"; sleep 0.01; done
PID=$(<\"$DIR/pid\")
";

/// A signal that we pass on ends `wait`, too: then it is asked again.
const WAIT: &str = "\
[[ ! $signal ]] || exit 130
until signal=''; wait \"$JOB\"; status=$?; [[ ! $signal ]]; do :; done
PID=''
";

impl Recipe {
    /// A bash script that makes the same container with standard tools, runs the program in it,
    /// undoes what it did on the host, and ends with the program's exit status.
    ///
    /// Nothing is changed; the host is looked at for the values of [`Recipe::variables`].
    ///
    /// # Errors
    /// A variable has no value: no network is free.
    pub fn script(&self) -> Result<String> {
        let mut script = Script::new(self, WIDTH);
        script.head()?;
        script.host(Place::Prepare);
        script.process();
        script.start();
        script.host(Place::Attach);
        script.end();
        Ok(script.text)
    }
}

struct Script<'a> {
    recipe: &'a Recipe,
    text: String,
    indent: &'static str,
    /// Comments end at this column.
    width: usize,
}

impl<'a> Script<'a> {
    fn new(recipe: &'a Recipe, width: usize) -> Self {
        Self { recipe, text: String::new(), indent: "", width }
    }

    fn head(&mut self) -> Result<()> {
        let Recipe { part, container, notes, .. } = self.recipe;
        self.line("#!/bin/bash");
        let who =
            if *part > 1 && self.in_user_namespace() { "as the same user" } else { "as root" };
        self.comment(
            "# ",
            &format!(
                "The container {container} of part {part}, made with standard tools. These are the \
                 steps of `plan`, with their numbers and the sections of the book. Run it {who}."
            ),
        );
        self.line("#");
        self.comment(
            "# ",
            "What no tool can do is said at its step. Once the root has changed, the tools are \
             the tree's own. Links in the tree were followed when this was printed: the recipe \
             itself cannot be led astray by a tree that changes meanwhile, a shell can.",
        );
        if !notes.is_empty() {
            self.line("#");
        }
        for note in notes {
            self.comment_with("# `run` notes: ", "#     ", note);
        }
        self.lines(SETTINGS);
        if self.has_link() {
            self.blank();
            self.lines(DIRECTORY);
        }
        self.variables()
    }

    fn variables(&mut self) -> Result<()> {
        let mut all = Vec::new();
        for variables in &self.recipe.variables {
            all.extend(variables()?);
        }
        if all.is_empty() {
            return Ok(());
        }
        self.blank();
        self.line("# As things are now; for the process, too.");
        self.line("set -o allexport");
        all.iter().for_each(|(name, value)| self.line(&format!("{name}={value}")));
        self.line("set +o allexport");
        Ok(())
    }

    /// The steps that the host does at a place.
    fn host(&mut self, place: Place) {
        if place != Place::After && self.recipe.at(place).next().is_some() {
            self.title(place.title());
        }
        for (number, step) in self.recipe.at(place) {
            self.step(number, step);
            self.on_host(step);
        }
    }

    fn on_host(&mut self, step: &Step) {
        for (name, text) in &step.shell_files {
            self.line(&format!("cat >\"$DIR/{name}\" <<END"));
            self.lines(&text());
            self.line("END");
        }
        let undo = self.undo(step);
        for (number, line) in step.shell.lines().enumerate() {
            self.command(line);
            if number == 0 {
                undo.iter().for_each(|undo| self.line(&format!("undo+=({undo})")));
            }
        }
    }

    /// How a step is undone, as words of the shell.
    fn undo(&self, step: &Step) -> Vec<String> {
        let told = step.shell_undo.iter().map(|undo| format!("\"{undo}\""));
        let known = step.undo_on_remove.iter().filter_map(|undo| match undo {
            Undo::RemoveTree { path } => {
                let who = self.as_root_inside();
                let path = quoted(path.display());
                Some(quoted(format!("{who}rm -rf --one-file-system {path}")))
            }
            _ => None,
        });
        told.chain(known).collect()
    }

    /// Files of the container's other users are not ours, but they are this root's.
    fn as_root_inside(&self) -> &'static str {
        match (self.in_user_namespace(), self.recipe.has("wait for the id map")) {
            (false, _) => "",
            (true, false) => "unshare --map-root-user ",
            (true, true) => "unshare --map-root-user --map-auto ",
        }
    }

    /// The child's steps, as functions that are run later.
    fn process(&mut self) {
        self.title(Place::Child.title());
        let stages = self.stages();
        let names = stage_names(stages.len());
        for (number, stage) in stages.iter().enumerate() {
            self.blank();
            self.line(&format!("{}() {{", names[number]));
            self.indent = INDENT;
            if number == 0 && self.has_link() {
                self.lines(TELL_AND_WAIT);
                self.blank();
            }
            if stage.wrapped {
                self.line("# What the next program is started by; steps add to it.");
                self.line("local with=()");
                self.blank();
            }
            let text = match names.get(number + 1) {
                Some(next) => {
                    format!("{}\nexec \"${{with[@]}}\" bash -euo pipefail -c {next}", stage.text)
                }
                None => stage.text.clone(),
            };
            self.lines(text.trim_start_matches('\n'));
            self.indent = "";
            self.line("}");
        }
        if self.has_link() {
            self.line(&format!("export -f {}", names.join(" ")));
        }
    }

    fn stages(&self) -> Vec<Stage> {
        let mut stages = vec![Stage::default()];
        let mut root_has_changed = false;
        for (number, step) in self.recipe.at(Place::Child) {
            root_has_changed |= ["chroot", "pivot_root"].contains(&&*step.name);
            let around = step.shell.strip_suffix(" ...").filter(|_| step.name != EXECVE);
            let is_command =
                step.shell.lines().any(|line| !line.starts_with('#')) && around.is_none();
            let mut stage = stages.pop().unwrap_or_default();
            if is_command && stage.wrapped && !root_has_changed {
                stages.push(std::mem::take(&mut stage));
            }
            let mut block = Script::new(self.recipe, WIDTH - INDENT.len());
            block.step(number, step);
            match around {
                Some(words) => block.line(&format!("with+=({})", stage.wrap(words))),
                None if step.name == EXECVE && stage.wrapped => {
                    block.line(&step.shell.replacen("exec ", "exec \"${with[@]}\" ", 1));
                }
                None => step.shell.lines().for_each(|line| block.command(line)),
            }
            stage.text.push_str(&block.text);
            stages.push(stage);
        }
        stages
    }

    /// The clone, and how the two sides find each other.
    fn start(&mut self) {
        self.title(Place::Clone.title());
        let first = stage_names(self.stages().len()).swap_remove(0);
        for (number, step) in self.recipe.at(Place::Clone) {
            self.step(number, step);
            self.line("# (Without job control, bash would have it ignore SIGINT and SIGQUIT.)");
            self.line("set -m");
            let runs = if self.has_link() {
                format!("bash -euo pipefail -c {first}")
            } else {
                first.clone()
            };
            let input = if self.recipe.keeps_input { "<&0" } else { "</dev/null" };
            self.line(&step.shell.replace("...", &runs).replace(" &", &format!(" {input} &")));
            self.line("set +m");
        }
        self.line("JOB=$!");
        self.line("undo+=(stop)");
        match self.has_link() {
            true => self.lines(LISTEN),
            false => self.line("PID=$JOB"),
        }
    }

    fn end(&mut self) {
        if self.has_link() {
            self.blank();
            self.line("# The process can go on.");
            self.line("touch \"$DIR/go\"");
        }
        self.title(Place::After.title());
        self.blank();
        self.lines(WAIT);
        self.host(Place::After);
        self.blank();
        self.line("exit \"$status\"");
    }

    /// Whether the process has to be told when it can go on: it is not our own child then.
    fn has_link(&self) -> bool {
        !self.recipe.clone.namespaces.is_empty()
    }

    fn in_user_namespace(&self) -> bool {
        self.recipe.clone.namespaces.contains(CloneFlags::CLONE_NEWUSER)
    }

    fn title(&mut self, title: &str) {
        self.blank();
        self.blank();
        self.line(&format!("### {title}"));
    }

    /// What a step does, and why.
    fn step(&mut self, number: usize, step: &Step) {
        self.blank();
        let what = format!("{number}. {}: {}", step.name, step.what);
        self.comment_with("# ", "#    ", &what);
        self.comment("#    ", &format!("because {} ({})", step.why, step.section));
    }

    fn command(&mut self, line: &str) {
        match line.strip_prefix("# ") {
            Some(text) => self.comment("# ", text),
            None => self.line(line),
        }
    }

    fn comment(&mut self, prefix: &str, text: &str) {
        self.comment_with(prefix, prefix, text);
    }

    fn comment_with(&mut self, first: &str, rest: &str, text: &str) {
        let mut line = first.to_owned();
        let mut is_empty = true;
        for word in text.split_whitespace() {
            let length = line.chars().count() + 1 + word.chars().count();
            if !is_empty && length > self.width {
                self.line(&line);
                line = rest.to_owned();
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        self.line(&line);
    }

    fn lines(&mut self, text: &str) {
        text.lines().for_each(|line| self.line(line));
    }

    fn blank(&mut self) {
        self.line("");
    }

    fn line(&mut self, line: &str) {
        let indent = if line.is_empty() { "" } else { self.indent };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{indent}{line}");
    }
}

/// What one shell of the process does before it becomes the next.
#[derive(Default)]
struct Stage {
    text: String,
    /// Whether the next one, or the program, is started by other programs.
    wrapped: bool,
    /// The last of those.
    last: String,
}

impl Stage {
    /// The words that a command adds to `with`. Options of one `setpriv` are collected: after a
    /// first one, root would have lost already what the second needs.
    fn wrap<'a>(&mut self, words: &'a str) -> &'a str {
        self.wrapped = true;
        let (tool, options) = words.split_once(' ').unwrap_or((words, ""));
        if tool == "setpriv" && self.last == tool {
            return options;
        }
        tool.clone_into(&mut self.last);
        words
    }
}

/// The functions' names: the last one starts the program.
fn stage_names(count: usize) -> Vec<String> {
    let number = |i| if i == 1 { "enter".to_owned() } else { format!("enter_{i}") };
    (1..count).map(number).chain(["inside".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn step(place: Place, name: &'static str, shell: &str) -> Step {
        Step::new(1, place, name).what("do it").why("it must be done").section("1.1").shell(shell)
    }

    /// One that needs no privileges: its "walls" are variables of the environment.
    fn recipe() -> Recipe {
        let mut recipe = Recipe::new(1, "one");
        let values = vec![("NAME".to_owned(), "'the value'".to_owned())];
        recipe.variables.push(Box::new(move || Ok(values.clone())));
        let undone = step(Place::Prepare, "prepare", "echo first\necho second");
        recipe.push(undone.shell_undo("echo undo of $NAME"));
        recipe.push(step(Place::Prepare, "more", "echo third").shell_undo("echo undo of more"));
        recipe.push(step(Place::Clone, "clone", "( ... ) &"));
        recipe.push(step(Place::Attach, "attach", "# not possible"));
        recipe.push(step(Place::Child, "early", "env EARLY=1 ..."));
        recipe.push(step(Place::Child, "chroot", "env ROOT=/ ..."));
        recipe.push(step(Place::Child, "dir", "cd /\necho \"in $PWD, $NAME\""));
        recipe.push(step(Place::Child, "user", "setpriv --inh-caps=-all ..."));
        recipe.push(step(Place::Child, "privileges", "setpriv --no-new-privs ..."));
        let program = "exec env A=1 sh -c 'echo $EARLY $ROOT $A; exit 3' ...";
        recipe.push(step(Place::Child, EXECVE, program));
        recipe.push(step(Place::After, "after", "echo \"ended with $status\""));
        recipe
    }

    fn run(script: &str) -> (String, Option<i32>) {
        let output = Command::new("bash").args(["-c", script]).output().expect("bash");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    }

    #[test]
    fn a_script_does_all_steps_and_undoes_them() {
        let (output, status) = run(&recipe().script().expect("a script"));
        let expected = "first\nsecond\nthird\nin /, the value\n1 / 1\nended with 3\n\
                        undo of more\nundo of the value\n";
        assert_eq!((output.as_str(), status), (expected, Some(3)));
    }

    #[test]
    fn what_was_begun_is_undone_when_a_step_fails() {
        let mut recipe = recipe();
        recipe.replace("more", step(Place::Prepare, "more", "false").shell_undo("echo never"));
        let (output, status) = run(&recipe.script().expect("a script"));
        assert_eq!((&*output, status), ("first\nsecond\nundo of the value\n", Some(1)));
    }

    #[test]
    fn each_step_stands_below_what_it_is_for() {
        let script = recipe().script().expect("a script");
        let block = "\n    # 9. privileges: do it\n    #    because it must be done (1.1)\n    \
                     with+=(--no-new-privs)\n";
        assert!(script.contains(block), "{script}");
        assert!(script.contains("undo+=(\"echo undo of $NAME\")\necho second\n"), "{script}");
    }

    #[test]
    fn before_the_root_changes_the_shell_goes_on_below() {
        let mut recipe = recipe();
        recipe.insert_before("chroot", step(Place::Child, "between", "echo between $EARLY"));
        recipe.clone.namespaces = CloneFlags::CLONE_NEWPID;
        let script = recipe.script().expect("a script");
        let entering = "exec \"${with[@]}\" bash -euo pipefail -c inside\n}\n\ninside() {";
        assert!(script.contains(entering), "{script}");
        assert!(script.contains("export -f enter inside\n"), "{script}");
    }

    #[test]
    fn comments_are_narrow() {
        let mut recipe = recipe();
        recipe.steps[0].what = "word ".repeat(40);
        recipe.notes.push("note ".repeat(40));
        let script = recipe.script().expect("a script");
        let comments = script.lines().filter(|line| line.trim_start().starts_with('#'));
        assert!(comments.clone().count() > 20);
        comments.for_each(|line| assert!(line.len() <= WIDTH, "{line}"));
    }
}
