//! Tests of the spec as a whole; what is one file's own job is tested in that file.

use std::path::Path;

use super::parse::parse_with;
use super::{Service, Spec};
use crate::Result;

mod messages;
mod properties;
mod shapes;

/// Reads a text as if it stood in the directory `/home/ann/My Shop`.
fn read(text: &str) -> Result<Spec> {
    let variable = |name: &str| match name {
        "HOME" => Some("/home/ann".to_owned()),
        "PORT" => Some("8080".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    parse_with(text, Path::new("/home/ann/My Shop/service-specs.yml"), &variable)
}

/// A file with one service that has these lines, and a network and a volume.
fn file_with(lines: &str) -> String {
    let lines = lines.replace('\n', "\n    ");
    let rest = "networks: {front: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\nvolumes: {data: }";
    format!("services:\n  web:\n    image: host\n    {lines}\n{rest}\n")
}

/// The service with these lines.
fn service(lines: &str) -> Service {
    let mut spec = read(&file_with(lines)).unwrap_or_else(|error| panic!("{lines}\n{error}"));
    spec.services.swap_remove("web").unwrap()
}

/// What is said about a service with these lines: the title, and the line within `lines` from 1.
fn complaint(lines: &str) -> (String, usize) {
    match read(&file_with(lines)) {
        Ok(_) => panic!("accepted: {lines}"),
        Err(error) => {
            let message = error.to_string();
            let wide = message.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "wider than a terminal");
            place(&message)
        }
    }
}

fn place(message: &str) -> (String, usize) {
    let mut words = message.lines();
    let title = words.next().unwrap().to_owned();
    let line = words.next().and_then(|place| place.rsplit(':').nth(1));
    (title, line.unwrap().parse::<usize>().unwrap().saturating_sub(3))
}
