//! Every figure that Steward tells: name, kind, labels, meaning. The one place.
//!
//! Who calls it: whoever measures takes a name from here and hands it to the macros of `metrics`;
//! the server describes them all to its exporter with [`describe`]; docs/operations.md has the same
//! table, held to this one by a test. What never happens here: a label whose values could grow
//! without end, such as an id, a path or a message.

use metrics::Unit;

/// How a figure moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// It is spread over buckets.
    Histogram,
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! figures {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All of them.
        pub static FIGURES: &[Figure] = &[
            $(Figure { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

figures! {
    HTTP_REQUESTS = Counter "steward_http_requests_total" ["method", "route", "status"]
        "Requests answered, by route template and class of status (2xx, 4xx, …).";
    HTTP_SECONDS = Histogram "steward_http_request_duration_seconds" ["method", "route"]
        "Seconds from a request's arrival to the beginning of its answer.";
    HTTP_IN_FLIGHT = Gauge "steward_http_requests_in_flight" []
        "Requests that are being answered.";

    ACTORS = Gauge "steward_actors" ["kind", "state"]
        "Supervised actors and tasks of this replica, by what they are doing.";
    ACTOR_WAITING = Gauge "steward_actor_commands_waiting" ["kind"]
        "Commands accepted and not yet answered, all actors of the kind together.";
    ACTOR_LONGEST = Gauge "steward_actor_longest_mailbox" ["kind"]
        "Commands accepted and not yet answered by the actor of the kind that has most.";
    ACTOR_MAILBOX_SECONDS = Histogram "steward_actor_mailbox_seconds" ["kind"]
        "Seconds from a command's acceptance to the actor's taking it up.";
    ACTOR_HANDLING_SECONDS = Histogram "steward_actor_handling_seconds" ["kind"]
        "Seconds from taking a command up to its answer, the commit included.";
    ACTOR_REFUSED = Counter "steward_actor_refused_total" ["kind"]
        "Commands refused because a mailbox was full.";
    ACTOR_RESTARTS = Counter "steward_actor_restarts_total" ["kind"]
        "Incarnations of actors and tasks that fell.";
    ACTOR_THREAD_STUCK = Gauge "steward_actor_thread_stuck" []
        "1 while an actor thread gives no sign of life.";

    STORE_SECONDS = Histogram "steward_store_duration_seconds" ["op", "collection"]
        "Seconds a get, find or commit took; a commit counts for the collection of its first write.";
    STORE_CONFLICTS = Counter "steward_store_conflicts_total" ["collection"]
        "Commits that another write came before.";
    STORE_UNKNOWN = Counter "steward_store_unknown_outcomes_total" ["collection"]
        "Commits whose outcome the store could not tell.";
    STORE_UNAVAILABLE = Counter "steward_store_unavailable_total" ["op"]
        "Gets, finds and commits that the store did not answer.";
    STORE_SHARED = Histogram "steward_store_shared_batches" []
        "Batches that went into one transaction together.";

    REDIS_SECONDS = Histogram "steward_redis_duration_seconds" []
        "Seconds a question to Redis took, the wait for a connection included.";
    REDIS_FAILURES = Counter "steward_redis_failures_total" []
        "Questions to Redis that had no answer, or a refusal.";

    SESSION_CHECKS = Counter "steward_session_checks_total" ["found"]
        "Session tokens checked: found in the thread's cache, or loaded.";

    PROVIDER_SECONDS = Histogram "steward_provider_duration_seconds" ["provider", "call"]
        "Seconds a call to the outside took.";
    PROVIDER_CALLS = Counter "steward_provider_calls_total" ["provider", "call", "outcome"]
        "Calls to the outside, by how they ended.";

    ADDRESS_CHECKS = Counter "steward_address_checks_total" ["outcome"]
        "Addresses of orders that were looked up: known, unknown (refused), or why they were taken unchecked.";

    JOBS = Gauge "steward_jobs" ["status"]
        "Jobs of all replicas by status, counted up to 1,000.";
    JOBS_OLDEST = Gauge "steward_jobs_oldest_due_seconds" []
        "How long the oldest due job has been due.";
    JOBS_DONE = Counter "steward_jobs_performed_total" ["kind", "outcome"]
        "Jobs performed: done, retry or dead.";
    SCHEDULE_TURNS = Counter "steward_schedule_turns_total" ["schedule", "outcome"]
        "Turns of schedules that this replica had: done or failed.";

    SAGAS = Gauge "steward_sagas" ["status"]
        "Unfinished orders of all replicas by status, counted up to 1,000.";
    SAGA_OLDEST = Gauge "steward_saga_oldest_seconds" ["status"]
        "Age of the oldest unfinished order of each status among those counted.";
    SAGAS_STUCK = Gauge "steward_sagas_stuck" []
        "Orders whose saga says that it is stuck, counted up to 1,000.";

    BREAKERS = Gauge "steward_circuit_breaker" ["provider", "state"]
        "1 for the state that a provider's circuit breaker is in, 0 for the others.";
    BREAKER_PARTS = Gauge "steward_circuit_breaker_parts" ["provider"]
        "Items or hosts behind a provider that are left alone although the provider is not.";

    CONNECTIONS = Gauge "steward_connections" ["status"]
        "Linked connections by status, counted up to 1,000 of each.";
    SLOTS = Gauge "steward_slots" []
        "Slots of account sync that this replica has; all replicas together have 256.";
    SYNC_STALEST = Gauge "steward_sync_stalest_seconds" []
        "How long ago the active connection that waits longest was synced successfully.";

    SYNC_RUNS = Counter "steward_sync_runs_total" ["outcome"]
        "Runs of connections that this replica ended, by outcome; too_late: another had taken over.";
    SYNC_DELAY_SECONDS = Histogram "steward_sync_delay_seconds" []
        "Seconds from when a connection was due to the beginning of its run.";

    SLOTS_OWNED = Gauge "steward_slots_owned" ["kind"]
        "Slots of long-lived work that this replica has.";
    SLOTS_MOVED = Counter "steward_slots_moved_total" ["kind", "direction"]
        "Slots that came to this replica (got) or left it (lost).";
    SLOT_TAKE_UP_SECONDS = Histogram "steward_slot_take_up_seconds" ["kind"]
        "Seconds from the commit that gave slots to this replica to its taking them up.";

    PASSWORDS_WAITING = Gauge "steward_passwords_waiting" []
        "Passwords that wait for a hashing thread or are being hashed.";

    USERS_CREATED = Counter "user_creation_total" ["outcome"]
        "Users created, and attempts that were refused.";
    USER_CREATION_SECONDS = Histogram "user_creation_duration_seconds" []
        "Seconds the creation of a user took.";

    REPLICA_LIVE = Gauge "steward_replica_live" []
        "1 while this replica's heartbeat stands.";
    CLOCK_UNCERTAINTY = Gauge "steward_clock_uncertainty_seconds" []
        "By how much this replica's idea of the store's clock may be off.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []
        "Seconds of processor time that the process has used.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" []
        "Bytes of memory that the process has.";
    PROCESS_FILES = Gauge "process_open_fds" []
        "Files and sockets that the process has open.";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
    BUILD = Gauge "steward_build_info" ["version"]
        "Always 1; says which version runs.";
}

/// Tells the exporter of this process what each figure means.
pub fn describe() {
    for figure in FIGURES {
        let unit = if figure.name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        match figure.kind {
            Kind::Counter => metrics::describe_counter!(figure.name, unit, figure.help),
            Kind::Gauge => metrics::describe_gauge!(figure.name, unit, figure.help),
            Kind::Histogram => metrics::describe_histogram!(figure.name, unit, figure.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_kind_and_labels_are_no_ids() {
        for figure in FIGURES {
            assert_eq!(figure.name.ends_with("_total"), figure.kind == Kind::Counter, "{}", figure.name);
            for label in figure.labels {
                assert!(!["id", "key", "path", "sku", "user"].contains(label), "{}", figure.name);
            }
        }
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }
}
