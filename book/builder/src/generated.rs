//! What stands in the book because it stands in the programs.

pub mod checkpoints;
pub mod commands;
pub mod steps;
