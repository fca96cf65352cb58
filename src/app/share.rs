//! Which share of the work a replica takes: `--roles` and `--contexts`. Pure.
//!
//! What a replica doesn't do, others do: it leaves orders without an owner, runs queued and jobs due
//! in the store, where those who do it look.

use std::collections::BTreeSet;

use clap::ValueEnum;

use crate::http::routes::{Context, Served};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Answers requests.
    Api,
    /// Takes orders from step to step.
    Orders,
    /// Fetches from linked providers.
    Sync,
    /// Performs jobs, and what is due by the clock.
    Jobs,
}

impl Role {
    /// What it is called on the command line and in readiness.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Orders => "orders",
            Self::Sync => "sync",
            Self::Jobs => "jobs",
        }
    }
}

/// What one replica does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    roles: BTreeSet<Role>,
    contexts: BTreeSet<Context>,
}

/// Roles that have nothing to do in the chosen contexts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "with these --roles and --contexts there is nothing to do: orders needs the context orders, and sync \
     the context accounts"
)]
pub struct NothingToDo;

impl Default for Share {
    /// Everything.
    fn default() -> Self {
        Self {
            roles: Role::value_variants().iter().copied().collect(),
            contexts: Context::value_variants().iter().copied().collect(),
        }
    }
}

impl Share {
    /// These roles, as far as these contexts have work for them.
    ///
    /// # Errors
    /// [`NothingToDo`].
    pub fn new(
        roles: impl IntoIterator<Item = Role>,
        contexts: impl IntoIterator<Item = Context>,
    ) -> Result<Self, NothingToDo> {
        let contexts: BTreeSet<Context> = contexts.into_iter().collect();
        let has_work = |role: &Role| match role {
            Role::Api | Role::Jobs => !contexts.is_empty(),
            Role::Orders => contexts.contains(&Context::Orders),
            Role::Sync => contexts.contains(&Context::Accounts),
        };
        let roles: BTreeSet<Role> = roles.into_iter().filter(has_work).collect();
        if roles.is_empty() { Err(NothingToDo) } else { Ok(Self { roles, contexts }) }
    }

    /// Whether this is its work.
    pub(super) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Its roles, by name.
    pub(super) fn roles(&self) -> impl Iterator<Item = &'static str> {
        self.roles.iter().map(|role| role.name())
    }

    /// Whose routes it serves.
    pub(super) fn served(&self) -> Served {
        match self.has(Role::Api) {
            true => Served::these(self.contexts.iter().copied()),
            false => Served::these([]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_counts_only_where_its_context_is() {
        let all = Role::value_variants().iter().copied();
        let share = Share::new(all.clone(), [Context::Catalog]).unwrap();
        assert_eq!(share.roles().collect::<Vec<_>>(), ["api", "jobs"]);
        let share = Share::new(all, [Context::Orders, Context::Accounts]).unwrap();
        assert_eq!(share.roles().count(), 4);
        assert_eq!(Share::new([Role::Orders], [Context::Users]), Err(NothingToDo));
    }

    #[test]
    fn who_has_no_api_serves_no_context() {
        let worker = Share::new([Role::Orders, Role::Jobs], [Context::Orders]).unwrap();
        assert_eq!(worker.served(), Served::these([]));
        assert_eq!(Share::default().served(), Served::all());
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for role in Role::value_variants() {
            assert_eq!(role.to_possible_value().unwrap().get_name(), role.name());
        }
    }
}
