//! stand-in
use crate::Result;
use std::path::Path;
pub fn validate(_: &Path) -> Result<()> {
    Ok(())
}
pub mod host {
    use std::path::*;
    pub fn ensure(d: &Path) -> crate::Result<PathBuf> {
        Ok(d.into())
    }
}
