//! What every part needs: the recipe, the container, the spec, the lab.
//!
//! Start with [`recipe`]: a container is a list of steps. [`container`] runs them, [`journal`]
//! remembers how to undo them, [`spec`] says what they are to achieve.

pub mod cli;
pub mod container;
pub mod error;
pub mod hierarchy;
pub mod home;
pub mod identity;
pub mod journal;
pub mod lab;
pub mod netlink;
pub mod ownership;
pub mod part;
pub mod process;
pub mod recipe;
pub mod rootfs;
pub mod sealed;
pub mod shared_resource;
pub mod shell;
pub mod spec;
pub mod state;
pub mod sys;
pub mod undo;

pub use error::{Call, Error, Failed, Result};
