//! Whether what was seen is what was expected.

/// Stands for any text in a line.
const ANY_TEXT: &str = "[..]";
/// Stands for any lines.
const ANY_LINES: &str = "...";

/// Compares line by line; spaces at the end of a line and empty lines at the end do not count.
pub(super) fn matches(expected: &[String], seen: &str) -> bool {
    let seen: Vec<&str> = seen.trim_end().lines().map(str::trim_end).collect();
    // can[i]: the expected lines so far match the first i lines seen.
    let mut can = vec![false; seen.len() + 1];
    can[0] = true;
    for line in expected {
        let mut next = vec![false; seen.len() + 1];
        if line == ANY_LINES {
            let first = can.iter().position(|can| *can).unwrap_or(can.len());
            next[first..].fill(true);
        } else {
            for at in 0..seen.len() {
                next[at + 1] = can[at] && line_matches(line, seen[at]);
            }
        }
        can = next;
    }
    can[seen.len()]
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((first, others)) = pattern.split_once(ANY_TEXT) else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let (middle, last) = others.rsplit_once(ANY_TEXT).unwrap_or(("", others));
    for piece in middle.split(ANY_TEXT) {
        // The earliest place leaves most to what follows.
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn test(expected: &str, seen: &str) -> bool {
        matches(&expected.lines().map(String::from).collect::<Vec<_>>(), seen)
    }

    #[test]
    fn elisions() {
        assert!(test("a\n...\nb", "a\nb\n"));
        assert!(test("a\n...\nb", "a\n1\nb\n2\nb\n"));
        assert!(!test("a\n...\nb", "a\n1\n"));
        assert!(test("...", "") && test("", "") && test("...", "x\ny"));
        assert!(!test("", "x") && !test("x", ""));
        assert!(test("PID [..] init", "PID 12 init  "));
        assert!(test("[..]a[..]b", "xaxbxb") && !test("[..]a[..]b", "xbxa"));
        assert!(!test("ab[..]b", "ab"), "the two ends may not share a letter");
        assert!(test("\n\na", "\n\na\n\n"));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_with_parts_left_out(
            lines in prop::collection::vec("([a-c \\[\\]]{0,7}[a-c])?", 0..8),
            left_out in prop::collection::vec(0..3u8, 8),
        ) {
            let pattern: Vec<String> = lines.iter().zip(&left_out).map(|(line, how)| match how {
                0 => line.clone(),
                1 => format!("{}[..]", &line[..line.len() / 2]),
                _ => "...".into(),
            }).collect();
            let seen = lines.join("\n");
            // Empty lines at the end do not count, so they can match nothing either.
            prop_assume!(seen.trim_end().lines().count() == lines.len());
            prop_assert!(matches(&pattern, &seen), "{:?} {:?}", pattern, seen);
        }

        #[test]
        fn without_elisions_it_is_equality(a in "[ab]{1,3}(\n[ab]{1,3}){0,2}", b in "[ab]{1,3}(\n[ab]{1,3}){0,2}") {
            prop_assert_eq!(test(&a, &b), a == b);
        }
    }
}
