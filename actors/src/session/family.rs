//! A family of refresh tokens: which of them count. Pure.
//!
//! Every token of a family has a number; that of log-in is 0. R(n) is answered with R(n+1), always
//! the same one, so a lost reply costs nothing and parallel tabs get the same answer. What the
//! state remembers is only the highest number that was shown to have arrived: because it came back
//! itself, or because an access token that was issued with it was used. The one before it is still
//! answered for [`GRACE`], for tabs that were a moment slower; anything older can only come from a
//! copy that was kept, and ends the family.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long a token is still answered after its successor was first used.
pub const GRACE: Duration = Duration::from_secs(30);

/// What is remembered of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Family {
    /// The highest number that is known to have arrived.
    pub arrived: u64,
    /// Since when.
    pub since: Timestamp,
}

/// What a refresh token that came in means. It is genuine: someone was given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered with the token of this number, after the family was written down as given,
    /// if it is.
    Successor {
        /// The successor's number.
        number: u64,
        /// What has become of the family, if anything has.
        becomes: Option<Family>,
    },
    /// It was used up: someone has kept a copy. The family ends.
    Replay,
    /// It was never given out, as far as this family knows (which an older copy of the store may
    /// not): refused, and nothing else.
    Unknown,
}

impl Family {
    /// The token with this number came in.
    pub fn presented(self, number: u64, now: Timestamp) -> Verdict {
        let answered = |becomes| Verdict::Successor { number: number.saturating_add(1), becomes };
        if number == self.arrived {
            answered(None)
        } else if number == self.arrived + 1 {
            answered(Some(Self { arrived: number, since: now }))
        } else if number > self.arrived {
            Verdict::Unknown
        } else if number + 1 == self.arrived && now < self.since.plus(GRACE) {
            answered(None)
        } else {
            Verdict::Replay
        }
    }

    /// An access token came in that was issued with the refresh token of this number; what becomes
    /// of the family, if anything.
    pub fn reached(self, number: u64, now: Timestamp) -> Option<Self> {
        (number == self.arrived + 1).then_some(Self { arrived: number, since: now })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_750_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn family(arrived: u64) -> Family {
        Family { arrived, since: at(0) }
    }

    #[test]
    fn a_token_is_answered_with_the_same_successor_however_often_it_comes() {
        let answered = Verdict::Successor { number: 4, becomes: None };
        assert_eq!(family(3).presented(3, at(0)), answered);
        assert_eq!(family(3).presented(3, at(1_000_000)), answered);
    }

    #[test]
    fn a_successor_that_comes_in_ends_its_predecessor_half_a_minute_later() {
        let becomes = Family { arrived: 4, since: at(7) };
        let answered = Verdict::Successor { number: 5, becomes: Some(becomes) };
        assert_eq!(family(3).presented(4, at(7)), answered);
        let family = becomes;
        assert_eq!(family.presented(3, at(36)), Verdict::Successor { number: 4, becomes: None });
        assert_eq!(family.presented(3, at(37)), Verdict::Replay);
        assert_eq!(family.presented(2, at(7)), Verdict::Replay);
        assert_eq!(family.presented(6, at(7)), Verdict::Unknown);
    }

    #[test]
    fn an_access_token_shows_that_its_refresh_token_arrived() {
        assert_eq!(family(3).reached(4, at(7)), Some(Family { arrived: 4, since: at(7) }));
        for number in [0, 2, 3, 5, u64::MAX] {
            assert_eq!(family(3).reached(number, at(7)), None);
        }
    }

    /// What an honest client with several tabs does, and what a network does to it.
    #[derive(Clone, Debug)]
    enum Event {
        /// A tab sends the newest token that the client has.
        Sends,
        /// One of the requests on their way arrives at the server, or does so again (a retry).
        Arrives(usize),
        /// One of the answers on their way reaches the client.
        Answered(usize),
        /// One is lost.
        Lost(usize),
        /// The client uses its newest access token.
        Calls,
        /// The access token expires: so long passes that nothing is on its way any more.
        Expires,
        /// A few seconds pass.
        Passes,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            3 => Just(Event::Sends),
            4 => (0..8usize).prop_map(Event::Arrives),
            3 => (0..8usize).prop_map(Event::Answered),
            1 => (0..8usize).prop_map(Event::Lost),
            2 => Just(Event::Calls),
            1 => Just(Event::Expires),
            1 => Just(Event::Passes),
        ];
        proptest::collection::vec(event, 0..200)
    }

    /// A client that refreshes when its access token has expired, from any number of tabs, with
    /// retries, and whose requests are on their way for less than [`GRACE`].
    struct Client {
        family: Family,
        now: u64,
        newest: u64,
        /// The token that was sent, since when it is on its way.
        requests: Vec<u64>,
        answers: Vec<u64>,
        /// Seconds since a request was sent that is still on its way.
        oldest: u64,
    }

    impl Client {
        fn step(&mut self, event: Event) -> Result<(), TestCaseError> {
            match event {
                Event::Sends => self.requests.push(self.newest),
                Event::Arrives(n) if n < self.requests.len() => {
                    let sent = self.requests[n];
                    match self.family.presented(sent, at(self.now)) {
                        Verdict::Successor { number, becomes } => {
                            prop_assert_eq!(number, sent + 1);
                            self.family = becomes.unwrap_or(self.family);
                            self.answers.push(number);
                        }
                        verdict => prop_assert!(false, "{sent} of {:?}: {verdict:?}", self.family),
                    }
                }
                // Tabs share what they have, and keep the newest.
                Event::Answered(n) if n < self.answers.len() => {
                    let answer = self.answers.remove(n);
                    // Only a refresh that was due is begun, so at most one step is taken.
                    self.newest = self.newest.max(answer);
                }
                Event::Lost(n) if n < self.answers.len() => {
                    self.answers.remove(n);
                }
                Event::Calls => {
                    self.family = self.family.reached(self.newest, at(self.now)).unwrap_or(self.family);
                }
                Event::Expires => {
                    self.now += 600;
                    self.requests.clear();
                    self.answers.clear();
                    self.oldest = 0;
                }
                Event::Passes if !self.requests.is_empty() && self.oldest + 5 < GRACE.as_secs() => {
                    self.now += 5;
                    self.oldest += 5;
                }
                _ => {}
            }
            Ok(())
        }
    }

    proptest! {
        /// Within one round (until the next expiry) all tabs send the same token, so whatever is
        /// repeated, lost or slow, no honest client is taken for a thief.
        #[test]
        fn an_honest_client_never_loses_its_family(events in events()) {
            let mut client = Client {
                family: Family::default(), now: 0, newest: 0, requests: vec![], answers: vec![], oldest: 0,
            };
            let mut round = 0;
            for event in events {
                // A token that was got in this round is not sent in it: its access token is fresh.
                if matches!(event, Event::Sends) && client.newest > round {
                    continue;
                }
                let expires = matches!(event, Event::Expires);
                client.step(event)?;
                if expires {
                    round = client.newest;
                }
            }
        }

        /// Whatever happened before, a token two or more behind what has arrived is a replay, and
        /// so is the one before it after the grace; and what arrived never goes back.
        #[test]
        fn whoever_kept_a_copy_is_found_out(
            steps in proptest::collection::vec((0..6u64, 0..60u64, any::<bool>()), 1..60),
        ) {
            let (mut family, mut now) = (Family { arrived: 0, since: at(0) }, 0);
            for (behind, passed, is_refresh) in steps {
                now += passed;
                let number = (family.arrived + 1).saturating_sub(behind);
                let before = family;
                if is_refresh {
                    let verdict = family.presented(number, at(now));
                    let kept = number + 1 < before.arrived
                        || (number + 1 == before.arrived && at(now) >= before.since.plus(GRACE));
                    prop_assert_eq!(verdict == Verdict::Replay, kept);
                    if let Verdict::Successor { becomes: Some(becomes), .. } = verdict {
                        family = becomes;
                    }
                } else {
                    family = family.reached(number, at(now)).unwrap_or(family);
                }
                prop_assert!(family.arrived >= before.arrived);
                prop_assert!(family.arrived <= before.arrived + 1);
            }
        }
    }
}
