//! A cluster in one thread and in virtual time: for tests, and for `warren rollout simulate`.
//!
//! The decisions are core's own, [`State::apply`](crate::State::apply), [`plan`](crate::plan::plan) and
//! [`traffic::view`](crate::traffic::view); around them are models of what acts: machines with containers and resolvers
//! (`machine`), a leader that hears of them and applies what is planned (`leader`), and what goes wrong ([`Fault`]).
//! [`Fleet`] puts several managers around it, with messages and disks that fail. After every entry a checker (`check`)
//! looks for broken promises. Chance comes from a seed, so a run can be repeated.

mod agents;
mod chance;
mod check;
mod cluster;
mod course;
mod fault;
mod fleet;
mod leader;
mod machine;
mod resolvers;
mod script;

pub use chance::Chance;
pub use cluster::Cluster;
pub use course::{Course, Finish, NODES_MAX, Risk, Scene, Simulation, TASKS_MAX, Tasks};
pub use fault::{Behaviour, Disturbance, Fault, span};
pub use fleet::{Fleet, Moment, Trouble};
pub use script::play;
