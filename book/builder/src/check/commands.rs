//! The commands that are printed to be typed: would they be understood?

use std::path::Path;

use clap::error::ErrorKind;
use shared::part::Part;
use shared::spec::Spec;

use super::Sources;
use super::page::Page;

/// Commands of ours that would be refused.
pub fn complaints(sources: &Sources) -> Vec<String> {
    let of = |page: &Page| {
        let commands = typed(page)
            .into_iter()
            .flat_map(|(line, text)| ours(&text).into_iter().map(move |words| (line, words)));
        let refused = |(line, words): (usize, Vec<String>)| {
            let why = refusal(&words, &sources.repository)?;
            Some(format!("{}: {}: {}", page.at(line), words.join(" "), why.trim_end()))
        };
        commands.filter_map(refused).collect::<Vec<_>>()
    };
    sources.all().flat_map(of).collect()
}

/// The README begins with the command that shows what this is, and names the one that tests it.
pub fn readme(sources: &Sources) -> Vec<String> {
    let commands: Vec<String> = typed(&sources.readme)
        .into_iter()
        .flat_map(|(_, text)| ours(&text))
        .map(|w| w.join(" "))
        .collect();
    let cargo = commands.iter().find(|command| command.starts_with("cargo "));
    let first = cargo.filter(|command| command.starts_with("cargo run -- up -d "));
    let file = first.and_then(|command| command.rsplit(' ').next());
    let mut complaints = Vec::new();
    match file.map(|file| Spec::load(&sources.repository.join(file))) {
        Some(Ok(_)) => {}
        Some(Err(error)) => complaints.push(format!("README.md: {error}")),
        None => complaints.push("README.md: does not begin with cargo run -- up -d FILE".into()),
    }
    if !commands.iter().any(|command| command == "cargo test --workspace") {
        complaints.push("README.md: does not say cargo test --workspace".into());
    }
    complaints
}

/// What is typed in the sessions of the README (`console`) and in blocks to copy (`sh`), each with
/// its line. The sessions of checkpoints are run.
fn typed(page: &Page) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for fence in &page.fences {
        let lines = (fence.line + 1..).zip(fence.text.lines());
        match fence.kind.as_str() {
            "sh" => found.push((fence.line, without_comments(&fence.text))),
            "console" => {
                let mut open = false;
                for (number, line) in lines {
                    if let Some(command) = line.strip_prefix("$ ") {
                        found.push((number, command.to_owned()));
                        open = true;
                    } else if let (true, Some(more), Some(last)) =
                        (open, line.strip_prefix("> "), found.last_mut())
                    {
                        last.1 = format!("{}\n{more}", last.1);
                    } else {
                        open = false;
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn without_comments(script: &str) -> String {
    let code = |line: &str| match line.starts_with('#') {
        true => String::new(),
        false => line.split(" # ").next().unwrap_or_default().to_owned(),
    };
    script.lines().map(|line| code(line) + "\n").collect()
}

/// The commands in a piece of shell that call `cargo` or one of the parts, each as its words.
fn ours(script: &str) -> Vec<Vec<String>> {
    let parts = crate::parts();
    let is_ours = |words: &Vec<String>| {
        words.first().is_some_and(|w| w == "cargo" || parts.iter().any(|part| part.binary == *w))
    };
    simple_commands(script).into_iter().filter(is_ours).collect()
}

/// A line of shell as its simple commands, without redirections: as much of sh(1) as is used.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote) = (None::<String>, None::<char>);
    let mut chars = line.chars().peekable();
    let mut redirected = false;
    let end = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>, skip: bool| {
        if let (Some(word), Some(words), false) = (word.take(), commands.last_mut(), skip) {
            words.push(word);
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '<' | '>') => {
                // The number before it is the descriptor's.
                word = word.filter(|word| !word.chars().all(|c| c.is_ascii_digit()));
                end(&mut word, &mut commands, redirected);
                redirected = true;
                while chars.next_if(|c| " <>&".contains(*c)).is_some() {}
            }
            (None, ';' | '|' | '&' | '\n' | '(' | ')') => {
                end(&mut word, &mut commands, redirected);
                redirected = false;
                commands.push(Vec::new());
            }
            (None, ' ') => {
                let was_word = word.is_some();
                end(&mut word, &mut commands, redirected);
                redirected &= !was_word;
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut commands, redirected);
    commands.retain(|words| !words.is_empty());
    commands
}

/// Why a command would not be understood.
fn refusal(words: &[String], repository: &Path) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cargo", "run", rest @ ..] => {
            let Some(at) = rest.iter().position(|word| *word == "--") else {
                return Some("cargo run without --".into());
            };
            let (options, arguments) = (&rest[..at], &rest[at + 1..]);
            match package(options).unwrap_or("part5-network") {
                "book" if matches!(arguments[..], ["build" | "serve" | "check", ..]) => None,
                name => refusal_by_part(name, arguments, repository),
            }
        }
        ["cargo", "build" | "test" | "bench", rest @ ..] => {
            let name = package(rest)?;
            let known = name == "book" || repository.join(name).join("Cargo.toml").exists();
            (!known).then(|| format!("there is no package {name}"))
        }
        ["cargo", ..] => Some("a command of cargo that this check does not know".into()),
        [binary, rest @ ..] => refusal_by_part(binary, rest, repository),
        [] => None,
    }
}

/// The package that `-p` names.
fn package<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == "-p")?;
    words.get(at + 1).copied()
}

fn refusal_by_part(binary: &str, words: &[&str], repository: &Path) -> Option<String> {
    let parts = crate::parts();
    let Some(part) = parts.iter().find(|part: &&Part| part.binary == binary) else {
        return Some(format!("there is no program {binary}"));
    };
    let name = words.first().copied().unwrap_or_default();
    if name.starts_with('-') {
        return None; // --help, --version
    }
    let Some(command) = part.commands.iter().find(|command| command.name == name) else {
        return Some(format!("{binary} has no command {name}"));
    };
    let is_ours = |word: &&&str| {
        word.split_once('/').is_some_and(|(dir, _)| parts.iter().any(|part| part.binary == dir))
    };
    let mut files = words.iter().take_while(|word| **word != "--").filter(is_ours);
    if let Some(file) = files.find(|file| !repository.join(file).exists()) {
        return Some(format!("there is no file {file}"));
    }
    let error = (command.define)().try_get_matches_from(words).err()?;
    let text = error.to_string();
    // A program of the reader's own (`./mine`) is not here.
    let is_readers = error.kind() == ErrorKind::ValueValidation && text.contains("No such file");
    (error.use_stderr() && !is_readers).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::sample;
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let taken =
            simple_commands("a 'b c'; part1-chroot run 7< /etc/x | d \"e\\\"f\" > g \\\n h");
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            taken,
            [words(&["a", "b c"]), words(&["part1-chroot", "run"]), words(&["d", "e\"f", "h"])]
        );
    }

    #[test]
    fn wrong_commands_are_found() {
        let repository = crate::repository();
        let wrong =
            |line: &str| ours(line).iter().any(|words| refusal(words, &repository).is_some());
        for line in [
            "part1-chroot fly",
            "echo; part1-chroot run --no-such-option",
            "cargo run -p part6-nothing -- run",
            "cargo run -p book -- fly",
            "cargo run -- plan part5-network/nothing.yml",
        ] {
            assert!(wrong(line), "{line}");
        }
        for line in [
            "cargo run -q -- plan --json part5-network/Cargo.toml | head",
            "cargo run -p book -- serve",
            "part1-chroot --help",
            "part5-network checkpoint --as part2-namespaces=./mine --yes",
            "echo part1-chroot fly",
        ] {
            assert!(!wrong(line), "{line}");
        }
    }

    #[test]
    fn sessions_and_blocks_are_read() {
        let page = sample(
            "```console\n$ a \\\n> b\nout\n> no\n$ c\n```\n\n```sh\n# it's\nd # e\n```\n\n```text\n$ no\n```\n",
        );
        let typed = typed(&page);
        assert_eq!(typed[..2], [(2, "a \\\nb".to_owned()), (6, "c".to_owned())]);
        assert_eq!((typed[2].0, typed[2].1.trim(), typed.len()), (9, "d", 3));
    }
}
