//! Changing the system: plan, check all, write down, write, read back; undo in reverse and past errors.
//!
//! Nothing is written to the host but through [`apply`] and [`revert`], and never before it is in the [`journal`].

pub mod apply;
mod change;
pub mod journal;
pub mod owner;
pub mod persist;
pub mod plan;
pub mod recent;
pub mod revert;
pub mod verify;
