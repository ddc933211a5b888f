//! The commands of the sessions that are ours: would they be understood?

use std::path::Path;

use shared::part::Part;

fn parts() -> [Part; 5] {
    [
        part1_chroot::part(),
        part2_namespaces::part(),
        part3_cgroups::part(),
        part4_overlay::part(),
        part5_network::part(),
    ]
}

/// The commands in a line of shell that call `cargo` or one of the parts, each as its words.
pub fn ours(line: &str) -> Vec<Vec<String>> {
    let is_ours = |words: &Vec<String>| {
        words.first().is_some_and(|w| w == "cargo" || parts().iter().any(|part| part.binary == *w))
    };
    simple_commands(line).into_iter().filter(is_ours).collect()
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

/// Says why a command would not be understood.
pub fn check(words: &[String], repository: &Path) -> Result<(), String> {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cargo", "run", rest @ ..] => {
            let at = rest.iter().position(|word| *word == "--").ok_or("cargo run without --")?;
            let package = package(&rest[..at], repository)?.unwrap_or("part5-network");
            check_part(package, &rest[at + 1..], repository)
        }
        ["cargo", "install", ..] => Ok(()),
        ["cargo", "build" | "test" | "bench", rest @ ..] => package(rest, repository).map(drop),
        ["cargo", ..] => Err("a command of cargo that this test does not know".into()),
        [binary, rest @ ..] => check_part(binary, rest, repository),
        [] => Ok(()),
    }
}

/// The package that `-p` names; it must be here.
fn package<'a>(words: &[&'a str], repository: &Path) -> Result<Option<&'a str>, String> {
    let Some(at) = words.iter().position(|word| *word == "-p") else { return Ok(None) };
    let name = words.get(at + 1).copied().ok_or("-p without a name")?;
    match repository.join(name).join("Cargo.toml").exists() {
        true => Ok(Some(name)),
        false => Err(format!("there is no package {name}")),
    }
}

fn check_part(binary: &str, words: &[&str], repository: &Path) -> Result<(), String> {
    let part = parts()
        .into_iter()
        .find(|part| part.binary == binary)
        .ok_or(format!("there is no program {binary}"))?;
    let name = words.first().ok_or("no subcommand")?;
    let command = part.commands.iter().find(|command| command.name == *name);
    let command = command.ok_or(format!("{binary} has no command {name}"))?;
    let files = words.iter().take_while(|word| **word != "--").filter(|w| w.starts_with("part"));
    for file in files {
        if !repository.join(file).exists() {
            return Err(format!("there is no file {file}"));
        }
    }
    match (command.define)().try_get_matches_from(words) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

#[test]
fn a_line_is_taken_apart() {
    let taken = simple_commands("a 'b c'; part1-chroot run 7< /etc/x | d \"e\\\"f\" > g \\\n h");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        taken,
        [words(&["a", "b c"]), words(&["part1-chroot", "run"]), words(&["d", "e\"f", "h"])]
    );
}

#[test]
fn wrong_commands_are_found() {
    let repository = crate::repository();
    let wrong = |line: &str| ours(line).iter().any(|words| check(words, &repository).is_err());
    assert!(wrong("part1-chroot fly"));
    assert!(wrong("echo; part1-chroot run --no-such-option"));
    assert!(wrong("cargo run -p part6-nothing -- run"));
    assert!(wrong("cargo run -- plan part5-network/nothing.yml"));
    assert!(!wrong("cargo run -q -- plan --json part5-network/Cargo.toml | head"));
    assert!(!wrong("echo part1-chroot fly"));
}
