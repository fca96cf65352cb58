//! Whatever is told, in whatever order: each payment is one transaction.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A ledger of booked transactions, told in overlapping, shuffled pieces with repeats.
    #[test]
    fn whatever_the_order_and_overlap_nothing_is_missing_and_nothing_twice(
        ledger in proptest::collection::vec((0i64..60, -5i64..5, 0usize..3), 1..200),
        pieces in proptest::collection::vec((0usize..200, 1usize..120, any::<u64>()), 1..12),
    ) {
        let ledger: Vec<_> = ledger.iter().enumerate().map(|(n, (on, cents, text))| {
            told(&format!("x{n}"), *on, *cents, ["Coffee", "Rent", ""][*text], false)
        }).collect();
        let mut kept = Kept::default();
        let rest = (0, ledger.len(), 7);
        for (begin, length, seed) in pieces.into_iter().chain([rest]) {
            let begin = begin.min(ledger.len());
            let mut piece = ledger[begin..ledger.len().min(begin + length)].to_vec();
            let mut random = fastrand::Rng::with_seed(seed);
            let whole = piece.len() == ledger.len();
            piece.extend_from_within(..piece.len() / 3);
            random.shuffle(&mut piece);
            kept.told_of(&piece, Told { whole, ..whole_told(0, 60) });
        }
        let mut ids: Vec<_> = kept.transactions.values().map(|t| t.value.external_id.clone().unwrap()).collect();
        ids.sort();
        let mut expected: Vec<_> = ledger.iter().map(|t| t.id.clone()).collect();
        expected.sort();
        prop_assert_eq!(ids, expected);
    }

    /// Payments that are told of each day, first pending and then booked, by statements of which some
    /// are half. The user writes on each pending one.
    #[test]
    fn whichever_statements_are_half_each_payment_is_one_and_keeps_what_was_written_on_it(
        payments in proptest::collection::vec((0i64..10, 0i64..=10), 1..12),
        are_whole in proptest::collection::vec(any::<bool>(), 20),
    ) {
        let mut kept = Kept::default();
        let mut whole_at = None;
        for (now, whole) in (0i64..).zip(are_whole.into_iter().chain([true])) {
            let made = payments.iter().enumerate().filter(|(_, (made, _))| *made <= now);
            let tellings: Vec<_> = made.map(|(n, (made, takes))| {
                let (cents, text, booked) = (-1000 * (n as i64 + 1), format!("Shop {n:02}"), made + takes);
                if booked > now {
                    told(&format!("p{n}"), *made, cents, &text, true)
                } else {
                    told(&format!("b{n}"), booked, cents, &text, false)
                }
            }).collect();
            kept.told_of(&tellings, Told { whole, whole_at, ..whole_told(-5, now) });
            whole_at = if whole { Some(day(now)) } else { whole_at };
            for known in kept.transactions.values_mut().filter(|known| known.value.pending) {
                known.value.category = Some("mine".to_owned());
            }
        }
        prop_assert_eq!(kept.transactions.len(), payments.len());
        for (n, (_, takes)) in payments.iter().enumerate() {
            let id = format!("b{n}");
            let found = kept.transactions.values().find(|t| t.value.external_id.as_deref() == Some(id.as_str()));
            prop_assert_eq!(found.map(|t| t.value.category.is_some()), Some(*takes > 0));
        }
    }
}
