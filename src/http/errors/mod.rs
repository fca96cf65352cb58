//! The one place where errors of the domain become answers: a `From<…> for Problem` for each.
//!
//! One file per domain, so that a domain's statuses are read on one screen. What never happens
//! here: I/O, logging (the frame logs, once), or text of an internal error in an answer; that goes
//! to [`Problem::because`](super::problem::Problem::because).

mod accounts;
mod catalog;
mod connections;
mod infrastructure;
mod inventory;
mod operations;
mod orders;
mod users;
