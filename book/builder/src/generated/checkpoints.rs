//! The lists of checkpoints, and the minutes they take.

use shared::lab::checkpoint::Checkpoint;

use crate::preprocessor::Place;
use crate::{card, markup};

fn of(places: &[Place], part: u8) -> Vec<(&Place, &Checkpoint)> {
    let all = places.iter().flat_map(|place| place.checkpoints.iter().map(move |c| (place, c)));
    let mut found: Vec<_> = all.filter(|(_, checkpoint)| checkpoint.part() == part).collect();
    found.sort_by_key(|(_, checkpoint)| checkpoint.id);
    found
}

fn sum(found: &[(&Place, &Checkpoint)]) -> u32 {
    found.iter().map(|(_, checkpoint)| u32::from(checkpoint.minutes)).sum()
}

/// How long the checkpoints of a part take, or all of them.
pub fn minutes(places: &[Place], part: Option<u8>) -> String {
    let parts = part.map_or(1..=5, |part| part..=part);
    markup::duration(parts.map(|part| sum(&of(places, part))).sum())
}

/// A table for a part, or one for each.
pub fn tables(places: &[Place], part: Option<u8>, up: &str) -> String {
    match part {
        Some(part) => table(&of(places, part), up),
        None => crate::parts()
            .iter()
            .map(|part| (part, of(places, part.number)))
            .filter(|(_, found)| !found.is_empty())
            .map(|(part, found)| {
                let (number, time) = (part.number, markup::duration(sum(&found)));
                format!(
                    "## Part {number}: {} checkpoints, {time} {{#part-{number}}}\n\n{}\n",
                    found.len(),
                    table(&found, up)
                )
            })
            .collect(),
    }
}

fn table(found: &[(&Place, &Checkpoint)], up: &str) -> String {
    let mut table = String::from("| Checkpoint | Minutes | Needs |\n| --- | ---: | --- |\n");
    for (place, checkpoint) in found {
        let needs: Vec<String> = checkpoint.needs.iter().map(card::in_words).collect();
        table += &format!(
            "| [{} {}]({up}{}#{}) | {} | {} |\n",
            checkpoint.id,
            checkpoint.title.replace('|', "\\|"),
            place.path.display(),
            card::anchor(checkpoint.id),
            checkpoint.minutes,
            needs.join("; ").replace('|', "\\|"),
        );
    }
    table
}
