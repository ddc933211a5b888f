//! A command line as words, split as a shell would: quotes and backslashes, nothing else.

/// Splits `line` into words.
///
/// # Errors
/// What is not closed: a quote, or a backslash at the end.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match character {
            '\'' => single_quoted(&mut characters, word)?,
            '"' => double_quoted(&mut characters, word)?,
            '\\' => word.push(characters.next().ok_or("nothing follows the last backslash")?),
            _ => word.push(character),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(rest: &mut std::str::Chars, word: &mut String) -> Result<(), &'static str> {
    for character in rest {
        match character {
            '\'' => return Ok(()),
            _ => word.push(character),
        }
    }
    Err("a single quote is not closed")
}

fn double_quoted(rest: &mut std::str::Chars, word: &mut String) -> Result<(), &'static str> {
    while let Some(character) = rest.next() {
        match character {
            '"' => return Ok(()),
            '\\' => match rest.next() {
                Some(special @ ('"' | '\\' | '$' | '`')) => word.push(special),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            _ => word.push(character),
        }
    }
    Err("a double quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn splits_like_a_shell() {
        for (line, expected) in [
            ("  ", &[] as &[&str]),
            ("sleep 5", &["sleep", "5"]),
            (r#"sh -c "echo 'hi' \"you\" \n""#, &["sh", "-c", r#"echo 'hi' "you" \n"#]),
            (r"a\ b 'c  d'e ''", &["a b", "c  de", ""]),
        ] {
            assert_eq!(split(line).unwrap(), expected, "{line}");
        }
        assert!(split("'a").is_err() && split("\"a\\").is_err() && split("a\\").is_err());
    }
}
