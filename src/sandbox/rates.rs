//! The face of a publisher of exchange rates: a document in the form of the
//! [ECB's](https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml), of the last working day,
//! with the same rates every day. The faults are the bank's.

use actix_web::{HttpResponse, web};
use steward_actors::cluster::Clock;

use super::World;
use super::answer::{Answer, endless};
use super::bank::Fault;
use super::control::Switches;

/// Units of each currency for one euro.
const RATES: [(&str, &str); 12] = [
    ("USD", "1.0850"),
    ("JPY", "163.21"),
    ("GBP", "0.8346"),
    ("CHF", "0.9401"),
    ("SEK", "11.4915"),
    ("NOK", "11.8030"),
    ("DKK", "7.4596"),
    ("PLN", "4.3103"),
    ("CZK", "25.215"),
    ("CAD", "1.5023"),
    ("AUD", "1.6412"),
    ("KRW", "1495.07"),
];

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.route("/ecb/eurofxref-daily.xml", web::get().to(daily));
}

async fn daily(world: web::Data<World>) -> HttpResponse {
    let fault = match Switches::load(&world).await {
        Ok(switches) => switches.rates,
        Err(error) => return Answer::from(error).respond(),
    };
    let document = document(&last_working_day(&world));
    match fault {
        None | Some(Fault::NotReady | Fault::Shuffled | Fault::Mutating) => whole(document),
        Some(Fault::Hanging) => std::future::pending().await,
        Some(Fault::Slow) => {
            tokio::time::sleep(world.options.slow).await;
            whole(document)
        }
        Some(Fault::RateLimited) => HttpResponse::TooManyRequests()
            .insert_header(("Retry-After", world.options.retry_after.as_secs().to_string()))
            .finish(),
        Some(Fault::Expired) => HttpResponse::Forbidden().finish(),
        Some(Fault::Down | Fault::InstitutionDown) => {
            Answer::unavailable("The sandbox's rates are switched off.").respond()
        }
        Some(Fault::BrokenPages) => whole(document[..document.len() / 2].to_owned()),
        Some(Fault::Hostile) => endless("text/xml", b"<?xml version=\"1.0\"?><Envelope><Cube>"),
    }
}

fn whole(document: String) -> HttpResponse {
    HttpResponse::Ok().content_type("text/xml").body(document)
}

fn document(date: &str) -> String {
    let rate = |(code, rate): (&str, &str)| format!("<Cube currency='{code}' rate='{rate}'/>\n");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <gesmes:Envelope xmlns:gesmes=\"http://www.gesmes.org/xml/2002-08-01\" \
         xmlns=\"http://www.ecb.int/vocabulary/2002-08-01/eurofxref\">\n\
         <gesmes:subject>Reference rates</gesmes:subject>\n\
         <gesmes:Sender><gesmes:name>Steward sandbox</gesmes:name></gesmes:Sender>\n\
         <Cube><Cube time='{date}'>\n{}</Cube></Cube>\n</gesmes:Envelope>\n",
        RATES.map(rate).concat()
    )
}

/// Today, or Friday at a weekend.
fn last_working_day(world: &World) -> String {
    let now = jiff::Timestamp::from_millisecond(world.clock.now().as_millis()).unwrap_or_default();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let since_friday = match today.weekday() {
        jiff::civil::Weekday::Saturday => 1,
        jiff::civil::Weekday::Sunday => 2,
        _ => 0,
    };
    today.saturating_sub(jiff::Span::new().days(since_friday)).to_string()
}
