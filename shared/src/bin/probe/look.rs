//! `probe look`: what a process sees from where it stands.

use std::fmt::Write as _;

use crate::args::Args;
use crate::{Outcome, facts, network};

/// One thing seen.
enum Fact {
    Text(Option<String>),
    Number(Option<u64>),
    Flag(bool),
    List(Vec<String>),
}

/// Prints it for a person, or with `--json` for a program.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let json = args.flag("--json");
    args.end()?;
    let seen = seen();
    print!("{}", if json { as_json(&seen) } else { as_text(&seen) });
    Ok(())
}

fn seen() -> Vec<(&'static str, Fact)> {
    let mut seen = identity();
    seen.extend(privileges());
    seen.extend(surroundings());
    seen
}

fn identity() -> Vec<(&'static str, Fact)> {
    vec![
        ("pid", Fact::Number(Some(u64::from(std::process::id())))),
        ("uid", Fact::Number(facts::effective_id("Uid"))),
        ("gid", Fact::Number(facts::effective_id("Gid"))),
        ("groups", Fact::Text(facts::status("Groups"))),
        ("session", Fact::Number(facts::session())),
        ("hostname", Fact::Text(facts::hostname())),
        ("domainname", Fact::Text(facts::domainname())),
        ("cwd", Fact::Text(std::env::current_dir().ok().map(|dir| dir.display().to_string()))),
        ("namespaces", Fact::List(facts::namespaces())),
        ("cgroups", Fact::List(facts::cgroups())),
        ("memory_limit", Fact::Number(facts::memory_limit())),
        ("limits", Fact::List(facts::limits())),
        ("cgroups_joined", Fact::List(facts::cgroups_joined())),
        ("ulimits", Fact::List(facts::ulimits())),
        ("oom_score_adj", Fact::Text(facts::text("/proc/self/oom_score_adj"))),
    ]
}

fn privileges() -> Vec<(&'static str, Fact)> {
    let number = |field| facts::status(field).and_then(|value| value.parse().ok());
    vec![
        ("cap_inheritable", Fact::Text(facts::status("CapInh"))),
        ("cap_permitted", Fact::Text(facts::status("CapPrm"))),
        ("cap_effective", Fact::Text(facts::status("CapEff"))),
        ("cap_bounding", Fact::Text(facts::status("CapBnd"))),
        ("cap_ambient", Fact::Text(facts::status("CapAmb"))),
        ("no_new_privs", Fact::Number(number("NoNewPrivs"))),
        ("seccomp", Fact::Number(number("Seccomp"))),
        ("signals_ignored", Fact::Text(facts::status("SigIgn"))),
        ("signals_blocked", Fact::Text(facts::status("SigBlk"))),
        ("umask", Fact::Text(facts::status("Umask"))),
        ("proc_sys_writable", Fact::Flag(facts::writable(&facts::PROC_SYS))),
        ("sys_writable", Fact::Flag(facts::writable(&facts::SYS))),
    ]
}

fn surroundings() -> Vec<(&'static str, Fact)> {
    vec![
        ("processes", Fact::Number(facts::processes().map(|count| count as u64))),
        ("environment", Fact::List(facts::environment())),
        ("descriptors", Fact::List(facts::descriptors())),
        ("devices", Fact::List(facts::devices())),
        ("interfaces", Fact::List(network::interfaces())),
        ("addresses", Fact::List(network::addresses())),
        ("routes", Fact::List(network::routes())),
        ("mounts", Fact::List(facts::mounts())),
    ]
}

/// Lists of single words fill lines; other values have a line each.
fn wrapped(values: &[String]) -> Vec<String> {
    const WIDTH: usize = 60;
    if values.iter().any(|value| value.contains(' ')) {
        return values.to_vec();
    }
    let mut lines: Vec<String> = Vec::new();
    for value in values {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + value.len() <= WIDTH => {
                line.push(' ');
                line.push_str(value);
            }
            _ => lines.push(value.clone()),
        }
    }
    lines
}

fn as_text(seen: &[(&str, Fact)]) -> String {
    let mut out = String::new();
    for (name, fact) in seen {
        let value = match fact {
            Fact::Text(value) => value.clone().unwrap_or("-".into()),
            Fact::Number(value) => value.map_or("-".into(), |value| value.to_string()),
            Fact::Flag(value) => if *value { "yes" } else { "no" }.into(),
            Fact::List(values) if values.is_empty() => "-".into(),
            Fact::List(values) => wrapped(values).join(&format!("\n{:19}", "")),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:18} {value}");
    }
    out
}

fn as_json(seen: &[(&str, Fact)]) -> String {
    let members = seen.iter().map(|(name, fact)| format!("  {}: {}", quoted(name), fact.json()));
    format!("{{\n{}\n}}\n", members.collect::<Vec<_>>().join(",\n"))
}

impl Fact {
    fn json(&self) -> String {
        match self {
            Self::Text(Some(value)) => quoted(value),
            Self::Number(Some(value)) => value.to_string(),
            Self::Text(None) | Self::Number(None) => "null".into(),
            Self::Flag(value) => value.to_string(),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                format!("[{}]", values.join(", "))
            }
        }
    }
}

/// A JSON string: RFC 8259, section 7.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string cannot fail.
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }

    #[test]
    fn both_forms_name_everything() {
        let seen = seen();
        let (text, json) = (as_text(&seen), as_json(&seen));
        for (name, _) in &seen {
            assert!(text.contains(name) && json.contains(&format!("\"{name}\": ")));
        }
    }
}
