//! Every command of the five programs, from the definitions that parse their arguments.

use clap::{Arg, Command};

use crate::markup::{escape, inline};

/// All of them, each where it first appears; those of later parts that are new or changed.
pub fn all() -> String {
    let mut known: Vec<Known> = Vec::new();
    let mut out = String::new();
    for part in crate::parts() {
        out += &format!("## {}\n\n{}.\n\n", part.binary, part.about);
        let mut old = Vec::new();
        for command in &part.commands {
            let name = command.name;
            let command = (command.define)();
            let help = command.clone().render_long_help().to_string();
            let mut anchor = name.to_owned();
            if let Some(at) = known.iter().position(|known| known.name == name) {
                if known[at].help == help {
                    old.push(format!("[`{name}`](#{})", known[at].anchor));
                    continue;
                }
                known.remove(at);
                anchor = format!("{name}-{}", part.number);
            }
            out += &describe(command, &format!("{} {name}", part.binary), &anchor, 3);
            known.push(Known { name, help, anchor });
        }
        if !old.is_empty() {
            old.sort();
            out += &format!("And, as before: {}.\n\n", old.join(", "));
        }
    }
    out
}

/// A command that was described.
struct Known {
    name: &'static str,
    help: String,
    anchor: String,
}

/// A command and those below it.
fn describe(command: Command, path: &str, anchor: &str, level: usize) -> String {
    let mut command = command.bin_name(path);
    command.build();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let (_, name) = path.split_once(' ').unwrap_or(("", path));
    let hashes = "#".repeat(level);
    let mut out = format!("{hashes} {name} {{#{anchor}}}\n\n{about}.\n\n```text\n{usage}\n```\n\n");
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help";
    let arguments: Vec<String> = command.get_arguments().filter(shown).map(argument).collect();
    if !arguments.is_empty() {
        out += &format!("<dl class=\"options\">{}</dl>\n\n", arguments.concat());
    }
    if let Some(after) = command.get_after_help() {
        out += &format!("{after}\n\n");
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let name = below.get_name();
        let (path, anchor) = (format!("{path} {name}"), format!("{anchor}-{name}"));
        out += &describe(below.clone(), &path, &anchor, level + 1);
    }
    out
}

fn argument(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let values = names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
    let takes_value = arg.get_action().takes_values();
    let more = if arg.is_trailing_var_arg_set() { "…" } else { "" };
    let mut flags = Vec::new();
    flags.extend(arg.get_short().map(|short| format!("-{short}")));
    flags.extend(arg.get_long().map(|long| format!("--{long}")));
    let term = match (flags.is_empty(), takes_value) {
        (true, _) => format!("{values}{more}"),
        (false, true) => format!("{} {values}", flags.join(", ")),
        (false, false) => flags.join(", "),
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = match defaults.collect::<Vec<_>>().join(" ") {
        value if value.is_empty() || !takes_value => String::new(),
        value => format!(" (<code>{}</code> unless told)", escape(&value)),
    };
    format!("<dt><code>{}</code></dt><dd>{}{default}</dd>", escape(&term), inline(&help))
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_commands_are_there_once() {
        let text = super::all();
        for (heading, count) in
            [("### run {#run}\n", 1), ("{#ps}", 1), ("{#up}", 1), ("{#rootfs-create}", 1)]
        {
            assert_eq!(text.matches(heading).count(), count, "{heading}");
        }
        assert!(text.contains("<dt><code>--rootfs DIR</code></dt>") || text.contains("--rootfs"));
        assert!(!text.contains("/home/") && !text.contains("/root/"));
    }
}
