//! What every adapter of the storage port must do, as cases that know only [`Store`].
//!
//! An adapter's test module gives `async fn harness() -> Option<Harness>` and calls
//! [`suite!`](crate::contract::suite), which makes a test of each case, on a database of its own.

pub mod batches;
pub mod fixtures;
pub mod labels;
pub mod model;
pub mod pages;
pub mod races;
pub mod records;
pub mod walks;
pub mod words;

use std::any::Any;
use std::sync::Arc;

use steward_actors::store::Store;

pub use fixtures::SCHEMA;

/// An adapter on a fresh, empty database that holds the collections of [`SCHEMA`].
pub struct Harness {
    /// The adapter.
    pub store: Arc<dyn Store>,
    /// The same data as another replica sees it; where there is none, the same adapter.
    pub other: Arc<dyn Store>,
    /// What must live as long as the test: a directory, a connection.
    #[expect(dead_code, reason = "held, not used")]
    pub keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Harness {
    /// An adapter that has no other replica and needs nothing kept.
    pub fn of(store: Arc<dyn Store>) -> Self {
        Self { other: Arc::clone(&store), store, keep: None }
    }
}

/// Makes a test of each case. The harness is an `async fn() -> Option<Harness>` beside it; `None` skips
/// the test, for adapters whose server is not there.
macro_rules! suite {
    ($harness:ident) => {
        $crate::contract::suite!($harness;
            records {
                an_inserted_record_is_read_back_as_version_1,
                what_is_not_there_reads_as_none,
                versions_rise_by_one_with_each_replace,
                a_replace_leaves_nothing_of_the_former_body,
                a_deleted_record_is_gone_and_its_id_is_free,
                get_many_finds_those_that_exist,
                lookups_at_once_each_find_what_they_ask_for,
                get_many_takes_a_thousand_ids,
                any_body_comes_back_exactly,
                a_large_body_comes_back_exactly,
                times_come_back_to_the_millisecond,
                ids_are_opaque_strings,
                collections_are_apart,
                an_acknowledged_commit_is_seen_at_once_by_every_handle,
                the_stores_time_never_goes_back,
            }
            batches {
                a_replace_of_a_stale_version_is_a_conflict,
                a_delete_of_a_stale_version_is_a_conflict,
                a_change_of_what_is_not_there_is_a_conflict,
                an_insert_of_a_taken_id_is_a_conflict_that_names_it,
                a_record_inserted_again_exists_rather_than_collides,
                a_taken_unique_key_is_a_conflict_that_names_the_index,
                a_unique_key_of_several_fields_collides_only_as_a_whole,
                absent_and_null_unique_fields_never_collide,
                a_record_keeps_its_own_unique_key,
                a_unique_key_is_free_once_given_up,
                a_unique_key_given_up_in_a_batch_can_be_taken_in_it,
                one_key_twice_in_a_batch_is_a_conflict,
                all_writes_of_a_batch_are_made,
                any_conflict_undoes_all_writes_of_its_batch,
                an_empty_batch_is_no_error,
                a_batch_of_hundreds_of_writes_is_one_batch,
            }
            pages {
                the_primary_index_runs_through_all_ids_in_order,
                ids_can_be_bounded,
                equality_fixes_leading_fields,
                every_field_of_an_index_can_be_fixed,
                a_range_includes_from_and_excludes_until,
                a_range_bounds_the_field_after_the_fixed_ones,
                a_range_bounds_ids_when_all_fields_are_fixed,
                ties_are_broken_by_id_in_both_orders,
                texts_are_in_the_order_of_their_bytes,
                integers_are_in_numeric_order,
                times_are_in_order,
                false_comes_before_true,
                a_record_without_a_field_of_an_index_is_not_in_it,
                a_page_that_ends_with_the_last_record_has_no_next,
                nothing_found_is_an_empty_page,
            }
            walks {
                a_walk_meets_each_record_once_with_any_limit,
                a_cursor_stands_when_its_record_is_deleted,
                a_cursor_stands_when_its_record_is_changed,
                a_cursor_stands_when_its_unique_key_is_taken_over,
                a_walk_meets_what_stays_once_whatever_else_changes,
            }
            words {
                each_word_asked_for_must_begin_a_word,
                all_word_fields_are_searched,
                letter_case_does_not_matter_and_accents_do,
                how_unicode_writes_a_word_does_not_matter,
                all_words_of_a_long_text_are_searched,
                words_follow_replaces_and_deletes,
                hits_are_in_the_order_of_the_index,
                words_join_with_an_index_a_range_and_a_cursor,
                rare_and_frequent_words_page_alike,
                text_without_a_word_finds_all,
            }
            labels {
                a_label_is_looked_up_whole_and_exactly,
                one_label_of_each_group_is_enough,
                labels_follow_replaces_and_deletes,
                labels_join_with_words_an_index_a_range_and_a_cursor,
                rare_and_frequent_labels_page_alike,
                labels_and_words_are_apart,
                a_tally_counts_the_labels_of_what_a_query_finds,
                a_tally_is_bounded_and_says_so,
            }
            races {
                parallel_writers_lose_no_increment,
                of_parallel_inserts_of_one_id_one_wins,
                of_parallel_inserts_of_one_unique_key_one_wins,
                shared_batches_are_answered_each_for_itself,
                shared_batches_on_one_record_take_turns,
                batches_that_cross_each_other_all_get_through,
                a_commit_whose_caller_left_is_whole_or_absent,
            }
            model {
                random_batches_and_queries_do_as_in_memory,
            }
        );
    };
    ($harness:ident; $($group:ident { $($case:ident,)* })*) => {
        $(
            mod $group {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        match super::$harness().await {
                            Some(harness) => $crate::contract::$group::$case(&harness).await,
                            None => eprintln!("skipped: this adapter's server is not there"),
                        }
                    }
                )*
            }
        )*
    };
}
pub(crate) use suite;
