//! What is true in a Warren cluster and what to do next.
//!
//! Core decides; everything else hears, waits and acts. It is a set of pure functions over plain values, with five
//! doors: [`State::apply`], [`plan::plan`], [`answer::answer`], `judge` (with analysis) and [`converge::converge`].
//!
//! # What core must not know
//! Clocks, randomness, async, sockets, files, logs, the environment, hash-map order. Time, ids and chance are
//! arguments. A function here never waits; what it waits *for* it returns as data ([`report::Report`]).

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod answer;
pub mod assignment;
pub mod audit;
pub mod command;
pub mod converge;
pub mod event;
pub mod health;
pub mod id;
pub mod invariant;
pub mod lease;
pub mod level;
pub mod member;
pub mod membership;
pub mod node;
pub mod notice;
pub mod observed;
pub mod observer;
pub mod plan;
pub mod report;
pub mod rollout;
pub mod round;
pub mod scheduler;
pub mod service;
pub mod simulate;
pub mod spec;
mod state;
pub mod task;
pub mod time;
pub mod traffic;
pub mod units;
pub mod vault;

pub use state::{Changes, Cluster, ClusterId, EPOCH_GAP, State, leap};
