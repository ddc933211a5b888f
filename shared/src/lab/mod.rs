//! The lab: what a learner's machine needs for the experiments, and whether it has it.
//!
//! [`needs`] is the list of what a part or an experiment can need, each tried for real;
//! [`doctor`] says which part needs what, and what to do about what is not there.

pub mod checkpoint;
pub mod doctor;
pub mod machine;
pub mod needs;
pub mod trial;
