//! The page a server without files shows: who it is and what it sees.

use std::fmt::Write as _;

use crate::{facts, network};

/// Plain text, made anew for each request.
pub fn text() -> String {
    let or_dash = |value: Option<String>| value.unwrap_or("-".into());
    let number = |value: Option<u64>| or_dash(value.map(|value| value.to_string()));
    let limit = match facts::memory_limit() {
        Some(bytes) => format!("{} MiB", bytes >> 20),
        None => "none to be seen".into(),
    };
    let mut page = String::from("Hello from inside.\n\n");
    for (name, value) in [
        ("host name", or_dash(facts::hostname())),
        ("pid", std::process::id().to_string()),
        ("user id", number(facts::effective_id("Uid"))),
        ("addresses", network::addresses().join(" ")),
        ("processes", number(facts::processes().map(|count| count as u64))),
        ("memory limit", limit),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{name:13} {value}");
    }
    page
}
