//! What a learner has done so far, on disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Id;
use super::report::Verdict;
use crate::error::{Error, Result};
use crate::home::Home;

/// The last run of each checkpoint.
#[derive(Debug)]
pub struct Progress {
    file: PathBuf,
    runs: BTreeMap<Id, Run>,
}

/// The last run of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// How it ended.
    pub result: Verdict,
    /// Whether the prediction was right; None when none was made.
    pub predicted: Option<bool>,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl Progress {
    /// Reads it. What cannot be read begins anew.
    pub fn load(home: &Home) -> Self {
        let file = home.progress();
        let text = fs::read_to_string(&file).unwrap_or_default();
        Self { file, runs: serde_json::from_str(&text).unwrap_or_default() }
    }

    /// The last run.
    pub fn of(&self, id: Id) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// Whether its last run passed.
    pub fn has_passed(&self, id: Id) -> bool {
        self.of(id).is_some_and(|run| run.result == Verdict::Passed)
    }

    /// Notes a run. It is on disk when this returns, whatever happens next.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn record(&mut self, id: Id, result: Verdict, predicted: Option<bool>) -> Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        self.runs.insert(id, Run { result, predicted, at });
        self.save()
    }

    /// Forgets what `is_meant` says.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn forget(&mut self, is_meant: impl Fn(Id) -> bool) -> Result<()> {
        self.runs.retain(|id, _| !is_meant(*id));
        self.save()
    }

    /// A new file takes the old one's place whole: there is always one that can be read.
    fn save(&self) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let dir = self.file.parent().unwrap_or(&self.file);
            fs::create_dir_all(dir)?;
            let new = self.file.with_extension(format!("new-{}", std::process::id()));
            let mut file = File::create(&new)?;
            file.write_all(serde_json::to_string_pretty(&self.runs)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.file)
        };
        write().map_err(|e| {
            Error::new(format!("cannot keep the progress in {}", self.file.display())).because(e)
        })
    }
}
