//! What is measured of every request. Cheap: each thread keeps the handles of the routes it has
//! answered, so a request costs one look-up and three atomic additions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use steward_actors::figures;

/// Counts a request while it is answered, also if its client goes away.
pub(super) struct InFlight(&'static Gauge);

impl InFlight {
    pub(super) fn begin() -> Self {
        static GAUGE: OnceLock<Gauge> = OnceLock::new();
        let gauge = GAUGE.get_or_init(|| gauge!(figures::HTTP_IN_FLIGHT));
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The handles of one route and method.
struct Handles {
    seconds: Histogram,
    requests: [Counter; 5],
}

impl Handles {
    fn of(method: &'static str, route: &str) -> Self {
        let route = route.to_owned();
        let count = |class: &'static str| counter!(figures::HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => class);
        Self {
            requests: CLASSES.map(count),
            seconds: histogram!(figures::HTTP_SECONDS, "method" => method, "route" => route),
        }
    }
}

thread_local! {
    static ROUTES: RefCell<HashMap<String, [Option<Handles>; METHODS.len()]>> = RefCell::default();
}

/// Counts an answer by its route's template, never by its path: what a stranger makes up must not
/// become a label.
pub(super) fn answered(method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
    let route = route.unwrap_or("none");
    let known = METHODS.iter().position(|known| *known == method.as_str());
    let method = known.unwrap_or(METHODS.len() - 1);
    let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
    ROUTES.with_borrow_mut(|routes| {
        let methods = match routes.get_mut(route) {
            Some(methods) => methods,
            None => routes.entry(route.to_owned()).or_default(),
        };
        let handles = methods[method].get_or_insert_with(|| Handles::of(METHODS[method], route));
        handles.requests[class].increment(1);
        handles.seconds.record(took);
    });
}
