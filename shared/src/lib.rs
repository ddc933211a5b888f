//! What every part needs: the recipe, the container, the spec, the lab.

pub mod error;
pub mod rootfs;
pub mod spec;

pub use error::{Call, Error, Failed, Result};
