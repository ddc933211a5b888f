//! Whether the kernel killed a process of a cgroup because its memory was used up.

use std::path::Path;

use shared::error::{Call, Failed};

use crate::hierarchy::Version;

/// The file that has the counter `oom_kill`.
pub fn file(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    }
}

/// How many processes the kernel has killed.
///
/// # Errors
/// The file cannot be read.
pub fn kills(file: &Path) -> Result<u64, Failed> {
    let text = std::fs::read_to_string(file).call(format!("read({})", file.display()))?;
    Ok(value_of(&text, "oom_kill").unwrap_or(0))
}

/// The number after `key` in a file of lines like `oom_kill 1`.
pub fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(value_of(v1, "oom_kill"), Some(3));
        assert_eq!(value_of(v2, "oom_kill"), Some(1));
        assert_eq!(value_of("oom_kill_disable 0\n", "oom_kill"), None);
    }
}
