//! The check of addresses that goods are sent to: optional, so that it never stands in the way of an
//! order by failing.
//!
//! Who calls it: the route that takes orders. What never happens here: a refusal because the provider
//! is away, slow, spent or talks nonsense; an address in a log.

use std::sync::Arc;

use metrics::counter;

use crate::figures;
use crate::providers::{Finding, Geocoding, GeocodingError, PostalAddress};

/// The check, or none. Cheap to clone.
#[derive(Clone, Default)]
pub struct AddressCheck {
    provider: Option<Arc<dyn Geocoding>>,
}

impl AddressCheck {
    /// Asks `provider`; without one nothing is checked.
    pub fn new(provider: Option<Arc<dyn Geocoding>>) -> Self {
        Self { provider }
    }

    /// Whether addresses are checked at all.
    pub fn is_on(&self) -> bool {
        self.provider.is_some()
    }

    /// Whether there is certainly no such address. Takes as long as the provider's call may; how it
    /// went is counted.
    pub async fn refuses(&self, address: &PostalAddress) -> bool {
        let Some(provider) = &self.provider else { return false };
        let found = provider.look_up(address).await;
        let outcome = match &found {
            Ok(Finding::Known) => "known",
            Ok(Finding::Unknown) => "unknown",
            Err(GeocodingError::Unavailable(_)) => "unavailable",
            Err(GeocodingError::Spent { .. }) => "spent",
            Err(GeocodingError::Refused(_)) => "refused",
            Err(GeocodingError::Malformed(_)) => "malformed",
        };
        counter!(figures::ADDRESS_CHECKS, "outcome" => outcome).increment(1);
        if let Err(error) = &found {
            tracing::info!(%error, "an address is taken unchecked");
        }
        found == Ok(Finding::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::cluster::Clock;
    use crate::providers::{Breaker, BreakerOptions, BreakerState, GuardedGeocoding};
    use crate::supervision::lock;
    use crate::testing::ManualClock;

    /// A provider that says what a test wants, in turn.
    #[derive(Default)]
    struct Gazetteer(Mutex<VecDeque<Result<Finding, GeocodingError>>>);

    #[async_trait]
    impl Geocoding for Gazetteer {
        async fn look_up(&self, _: &PostalAddress) -> Result<Finding, GeocodingError> {
            lock(&self.0).pop_front().unwrap()
        }
    }

    fn gazetteer(says: Vec<Result<Finding, GeocodingError>>) -> Arc<Gazetteer> {
        Arc::new(Gazetteer(Mutex::new(says.into())))
    }

    fn address() -> PostalAddress {
        PostalAddress {
            street: "Frauenplan 1".to_owned(),
            city: "Weimar".to_owned(),
            region: None,
            postal_code: "99423".to_owned(),
            country: "DE".to_owned(),
        }
    }

    #[tokio::test]
    async fn only_a_certain_no_refuses_an_address() {
        let failed = || "down".to_owned();
        let says = [
            (Ok(Finding::Unknown), true),
            (Ok(Finding::Known), false),
            (Err(GeocodingError::Unavailable(failed())), false),
            (Err(GeocodingError::Spent { reason: failed(), retry_after: None }), false),
            (Err(GeocodingError::Refused(failed())), false),
            (Err(GeocodingError::Malformed(failed())), false),
        ];
        for (said, refused) in says {
            let check = AddressCheck::new(Some(gazetteer(vec![said.clone()])));
            assert_eq!((check.is_on(), check.refuses(&address()).await), (true, refused), "{said:?}");
        }
        let none = AddressCheck::default();
        assert!(!none.is_on() && !none.refuses(&address()).await);
    }

    #[tokio::test]
    async fn a_provider_that_fails_is_left_alone_and_odd_addresses_do_not_shut_it_off() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let options = BreakerOptions { failures: 2, ..BreakerOptions::default() };
        let refusals = (0..5).map(|_| Err(GeocodingError::Refused("odd".to_owned())));
        let spent = || Err(GeocodingError::Spent { reason: "402".to_owned(), retry_after: None });
        let provider = gazetteer(refusals.chain([spent(), spent(), Ok(Finding::Unknown)]).collect());
        let breaker = Breaker::new("opencage", options, clock);
        let guarded = GuardedGeocoding::new(provider.clone(), breaker.clone());
        let check = AddressCheck::new(Some(Arc::new(guarded)));
        for _ in 0..5 {
            assert!(!check.refuses(&address()).await);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..5 {
            assert!(!check.refuses(&address()).await);
        }
        assert_eq!((breaker.state(), lock(&provider.0).len()), (BreakerState::Open, 1));
    }
}
