//! Sizes and durations as Compose writes them.

use std::time::Duration;

/// Powers of 1024, as Docker takes them for memory.
const SIZES: [(&str, u32); 5] = [("b", 0), ("k", 1), ("m", 2), ("g", 3), ("t", 4)];

/// A size in bytes: `64m`, `1.5g`, `512kb`, `2GiB`, `4096`. A `k` is 1024.
///
/// None: it is not one, or does not fit 64 bits.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(number_length(text));
    let unit = unit.trim_start().to_ascii_lowercase();
    let letter = match unit.as_str() {
        "" | "b" => "b",
        _ => unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit),
    };
    let (_, power) = SIZES.iter().find(|(name, _)| *name == letter)?;
    u64::try_from(scale(number, 1024_u128.pow(*power))?).ok()
}

/// A size as one would write it: the largest unit that leaves a whole number.
pub fn format_size(bytes: u64) -> String {
    let fits = |power: u32| bytes.is_multiple_of(1024_u64.pow(power));
    match SIZES.iter().rev().find(|(_, power)| *power > 0 && fits(*power)) {
        Some((name, power)) if bytes > 0 => format!("{}{name}", bytes / 1024_u64.pow(*power)),
        _ => bytes.to_string(),
    }
}

/// A duration: `10s`, `1m30s`, `500ms`, `1.5h`. Units: `us`, `ms`, `s`, `m`, `h`.
///
/// None: it is not one, or longer than a day.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const DAY: u128 = 24 * 3600 * 1_000_000;
    let mut rest = text;
    let mut micros = 0_u128;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(number_length(rest));
        let length = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let factor = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return None,
        };
        micros = micros.checked_add(scale(number, factor)?)?;
        rest = after;
    }
    let known = !text.is_empty() && micros <= DAY;
    known.then(|| Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

/// How much of `text` is a number.
fn number_length(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len())
}

/// A decimal number times `factor`, rounded down; exact, unlike a floating-point number.
fn scale(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 12 || whole.len() > 20 {
        return None;
    }
    let places = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole: u128 = whole.parse().ok()?;
    let fraction: u128 = fraction.parse().ok()?;
    whole.checked_mul(factor)?.checked_add(fraction * factor / places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64m", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("512 kb", Some(512 << 10)),
            ("10b", Some(10)),
            ("-1", None),
            ("m", None),
            ("64x", None),
            ("1.m", None),
            ("64mib5", None),
            ("99999999999999g", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        assert_eq!(format_size(64 << 20), "64m");
        assert_eq!(format_size(1536), "1536");
        assert_eq!(format_size(0), "0");
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("500ms", Some(500)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("25h", None),
        ] {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
