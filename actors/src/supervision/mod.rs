//! Supervision: what actix leaves open (see docs/architecture.md, "What actix does not do").
//!
//! Who calls it: the four kinds of actors, the infrastructure tasks, and whoever asks them
//! something. What it gives: an actor whose panic costs one incarnation and nothing else; a bound
//! and a deadline on every question; actors that start on first use and leave when idle; a tree
//! that can be listed.
//!
//! What never happens here: a message sent without a bound, state kept across a restart, a
//! restart without back-off.

mod actor_ref;
mod arbiters;
mod policy;
mod registry;
mod runner;
mod task;
mod tree;
mod watchdog;

pub use actor_ref::{ActorRef, AskError, Command, Envelope, Reply};
pub use arbiters::Arbiters;
pub use policy::{After, History, RestartPolicy};
pub use registry::{Registry, RegistryOptions};
pub use runner::{BusyGuard, Lifeline, StartError, spawn_here};
pub use task::{InfrastructureTask, supervise_task};
pub use tree::{Census, Escalation, Listing, NodeState, Tree, lock};
pub use watchdog::Watchdog;

#[cfg(test)]
mod tests;
