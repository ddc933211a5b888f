//! What a run of checkpoints is told as: JSON for programs, JUnit XML for what reads tests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use quick_xml::Writer;
use quick_xml::events::BytesText;
use serde::{Deserialize, Serialize};

use super::{Checkpoint, Id};
use crate::error::{Error, Result};

/// The reason of a checkpoint that the learner left.
pub(super) const LEFT: &str = "it was left";

/// How a checkpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was as expected.
    Passed,
    /// Something else was seen.
    Failed,
    /// It could not run here, or was left.
    Skipped,
}

/// A run of checkpoints. Its JSON is stable: fields are added, none is changed or removed while
/// `format` is 1.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this form: 1.
    pub format: u8,
    /// The program and its version.
    pub program: String,
    /// The kernel's release.
    pub kernel: String,
    /// The effective user.
    pub uid: u32,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// The programs that took the place of ours: `--as`.
    pub substitutes: BTreeMap<String, PathBuf>,
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// One for each checkpoint that was asked for, in their order.
    pub checkpoints: Vec<Row>,
}

/// One checkpoint of a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The number of its section: `1.4`.
    pub id: Id,
    /// Its title.
    pub title: String,
    /// How it ended.
    pub result: Verdict,
    /// Why it was skipped, or what was not as expected.
    pub reason: Option<String>,
    /// What was asked and answered; none when the checkpoint asks nothing.
    pub prediction: Option<Answer>,
    /// How long the session took.
    pub seconds: f64,
    /// The random values of this run.
    pub vars: BTreeMap<String, String>,
    /// The commands that were run.
    pub commands: Vec<Seen>,
}

/// A prediction as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What was asked.
    pub question: String,
    /// The number of the chosen answer, from 1; none when nobody was asked.
    pub chosen: Option<usize>,
    /// The number of the right one.
    pub answer: usize,
    /// Whether they are the same.
    pub right: Option<bool>,
}

/// A command that was run, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// As it was typed.
    pub command: String,
    /// What it was to print, with elisions.
    pub expected: String,
    /// What it printed: standard output and error.
    pub seen: String,
    /// The exit status it was to have.
    pub expected_status: i32,
    /// Its exit status; none when it did not end by itself.
    pub status: Option<i32>,
    /// Whether both were as expected.
    pub matches: bool,
}

impl Row {
    /// A checkpoint that has not run yet.
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let prediction = checkpoint.predict.as_ref().map(|predict| Answer {
            question: predict.question.clone(),
            chosen: None,
            answer: predict.answer,
            right: None,
        });
        Self {
            id: checkpoint.id,
            title: checkpoint.title.clone(),
            result: Verdict::Skipped,
            reason: None,
            prediction,
            seconds: 0.0,
            vars: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    /// Whether the learner left it.
    pub fn left(&self) -> bool {
        self.reason.as_deref() == Some(LEFT)
    }

    /// Says how it ended; an empty reason is none.
    pub(super) fn end(mut self, result: Verdict, reason: String) -> Self {
        self.result = result;
        self.reason = Some(reason).filter(|reason| !reason.is_empty());
        self
    }
}

impl Report {
    /// One without any checkpoint.
    pub fn new(program: String, started: u64, substitutes: BTreeMap<String, PathBuf>) -> Self {
        let name = nix::sys::utsname::uname();
        Self {
            format: 1,
            program,
            kernel: name.map(|n| n.release().to_string_lossy().into_owned()).unwrap_or_default(),
            uid: nix::unistd::geteuid().as_raw(),
            started,
            substitutes,
            passed: 0,
            failed: 0,
            skipped: 0,
            checkpoints: Vec::new(),
        }
    }

    /// Adds a checkpoint.
    pub fn add(&mut self, row: Row) {
        match row.result {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Skipped => self.skipped += 1,
        }
        self.checkpoints.push(row);
    }

    /// Where the JUnit XML of a report goes.
    ///
    /// # Errors
    /// It would be the report itself.
    pub fn xml_beside(file: &Path) -> Result<PathBuf> {
        let xml = file.with_extension("xml");
        if xml != file {
            return Ok(xml);
        }
        Err(Error::new("the report is JSON; JUnit XML is written beside it")
            .hint("give it another ending than .xml"))
    }

    /// Writes `file` as JSON, and JUnit XML beside it, with the ending `.xml`. Answers its path.
    ///
    /// # Errors
    /// One cannot be written, or both would have the same name.
    pub fn write(&self, file: &Path) -> Result<PathBuf> {
        let failed = |file: &Path, e: &dyn std::fmt::Display| {
            Error::new(format!("cannot write the report {}", file.display())).because(e)
        };
        let xml = Self::xml_beside(file)?;
        let json = serde_json::to_string_pretty(self).map_err(|e| failed(file, &e))?;
        fs::write(file, json + "\n").map_err(|e| failed(file, &e))?;
        let text = self.junit().map_err(|e| failed(&xml, &e))?;
        fs::write(&xml, text).map_err(|e| failed(&xml, &e))?;
        Ok(xml)
    }

    /// As JUnit XML: one `testsuite`, a `testcase` for each checkpoint.
    fn junit(&self) -> std::io::Result<Vec<u8>> {
        let count = |number: usize| number.to_string();
        let seconds = |seconds: f64| format!("{seconds:.3}");
        let total: f64 = self.checkpoints.iter().map(|row| row.seconds).sum();
        let mut writer = Writer::new_with_indent(Cursor::new(Vec::new()), b' ', 2);
        writer
            .create_element("testsuite")
            .with_attribute(("name", &*self.program))
            .with_attribute(("tests", &*count(self.checkpoints.len())))
            .with_attribute(("failures", &*count(self.failed)))
            .with_attribute(("skipped", &*count(self.skipped)))
            .with_attribute(("errors", "0"))
            .with_attribute(("time", &*seconds(total)))
            .write_inner_content(|writer| {
                for row in &self.checkpoints {
                    let case = writer
                        .create_element("testcase")
                        .with_attribute(("classname", &*format!("part{}", row.id.part)))
                        .with_attribute(("name", &*printable(&format!("{} {}", row.id, row.title))))
                        .with_attribute(("time", &*seconds(row.seconds)));
                    let reason = printable(row.reason.as_deref().unwrap_or_default());
                    match row.result {
                        Verdict::Passed => case.write_empty()?,
                        Verdict::Skipped => case.write_inner_content(|writer| {
                            let skipped = writer.create_element("skipped");
                            skipped.with_attribute(("message", &*reason)).write_empty().map(drop)
                        })?,
                        Verdict::Failed => case.write_inner_content(|writer| {
                            let failure = writer.create_element("failure");
                            failure
                                .with_attribute(("message", &*reason))
                                .write_text_content(BytesText::new(&printable(&transcript(row))))
                                .map(drop)
                        })?,
                    };
                }
                Ok(())
            })?;
        let mut text = writer.into_inner().into_inner();
        text.push(b'\n');
        Ok(text)
    }
}

/// The last command that was run, as a console shows it, and what was expected.
fn transcript(row: &Row) -> String {
    row.commands.last().map_or_else(String::new, |last| {
        let status = last.status.map_or("none".into(), |status| status.to_string());
        format!(
            "$ {}\n{}\n? {status}\n\nexpected:\n{}\n? {}\n",
            last.command, last.seen, last.expected, last.expected_status
        )
    })
}

/// XML has no control characters but these.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '�' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_holds_whatever_was_printed() {
        let mut report = Report::new("p".into(), 0, BTreeMap::new());
        let seen = Seen {
            command: "c <&>".into(),
            expected: String::new(),
            seen: "\u{1b}[1m]]> & \"<b>\"".into(),
            expected_status: 0,
            status: Some(1),
            matches: false,
        };
        for (result, reason) in [
            (Verdict::Passed, None),
            (Verdict::Skipped, Some("\"no\" <root>".to_owned())),
            (Verdict::Failed, Some("other".to_owned())),
        ] {
            report.add(Row {
                id: Id { part: 1, number: 4 },
                title: "a < b".into(),
                result,
                reason,
                prediction: None,
                seconds: 0.25,
                vars: BTreeMap::new(),
                commands: vec![seen.clone()],
            });
        }
        let xml = String::from_utf8(report.junit().unwrap()).unwrap();
        let mut reader = quick_xml::Reader::from_str(&xml);
        let mut elements = 0;
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(_) | quick_xml::events::Event::Empty(_) => {
                    elements += 1;
                }
                _ => {}
            }
        }
        assert_eq!(elements, 1 + 3 + 2, "{xml}");
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("&quot;no&quot; &lt;root&gt;"), "{xml}");
    }
}
