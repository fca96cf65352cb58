//! Every collection that Steward keeps.

use steward_actors::store::Collection;
use steward_actors::{
    account_sync, accounts, audit, catalog, cluster, flags, inventory, keys, order_saga, outbox, pauses,
    rates, session, users,
};

/// The collections, in the order in which they are made.
pub static SCHEMA: &[&Collection] = &[
    &cluster::REPLICAS,
    &cluster::SLOT_TABLES,
    &users::USERS,
    &users::USER_TOKENS,
    &users::roles::ROLES,
    &session::SESSIONS,
    &session::REVOCATIONS,
    &keys::KEYS,
    &keys::LOCAL_SECRETS,
    &accounts::ACCOUNTS,
    &accounts::TRANSACTIONS,
    &accounts::BALANCES,
    &accounts::SAMPLES,
    &accounts::DELETED_ACCOUNTS,
    &account_sync::CONNECTIONS,
    &account_sync::RUNS,
    &account_sync::LINKS_UNDER_WAY,
    &rates::EXCHANGE_RATES,
    &account_sync::BANK_NOTICES,
    &catalog::CATEGORIES,
    &catalog::CATEGORY_TREE,
    &catalog::DELETED_CATEGORIES,
    &catalog::PRODUCTS,
    &catalog::SKUS,
    &inventory::STOCK,
    &inventory::HOLDS,
    &inventory::MOVEMENTS,
    &inventory::SHOPPERS,
    &order_saga::ORDERS,
    &order_saga::ORDER_EVENTS,
    &order_saga::REFUNDS,
    &order_saga::NOTICES,
    &outbox::JOBS,
    &outbox::SCHEDULES,
    &audit::AUDIT,
    &flags::FLAGS,
    &pauses::PAUSES,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collection_is_declared_without_mistakes_and_once() {
        let mut names: Vec<&str> = SCHEMA.iter().map(|collection| collection.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCHEMA.len());
        for collection in SCHEMA {
            assert_eq!(collection.mistakes(), Vec::<String>::new());
        }
    }
}
