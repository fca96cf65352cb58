//! The [reference rates of the European Central Bank](https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/html/index.en.html),
//! or the sandbox that publishes in the same form: `eurofxref-daily.xml`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Client;
use roxmltree::{Document, Node, ParsingOptions};
use rust_decimal::Decimal;
use steward_actors::money::Currency;
use steward_actors::providers::{DailyRates, ExchangeRates, MOST_RATES, RatesError};
use url::Url;

use super::http::{self, BodyError, SetupError, Timeouts, Trust};

/// Bytes of an answer that are read; the real one has 2 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// Nodes of a document that are read.
const MAX_NODES: u32 = 5000;
/// What all rates of the ECB are rates of.
const BASE: &str = "EUR";

/// Rates in the ECB's form.
pub struct EcbRates {
    client: Client,
    url: Url,
}

impl EcbRates {
    /// Rates from the document at `url`.
    ///
    /// # Errors
    /// [`SetupError`] if `url` is none, or is https where the system has no certificate
    /// authorities.
    pub fn new(url: &str, timeouts: Timeouts) -> Result<Self, SetupError> {
        let url = http::endpoint(url)?;
        let trust = Trust::of(&url);
        Ok(Self { client: http::client(timeouts, trust)?, url })
    }
}

#[async_trait]
impl ExchangeRates for EcbRates {
    async fn latest(&self) -> Result<DailyRates, RatesError> {
        let unavailable = |error: &reqwest::Error| RatesError::Unavailable(http::cause(error));
        let response = http::send("ecb", "latest", self.client.get(self.url.clone()))
            .await
            .map_err(|e| unavailable(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(RatesError::Unavailable(format!("the publisher answered with status {status}")));
        }
        let body = http::body(response, MAX_ANSWER).await.map_err(|error| match error {
            BodyError::TooLarge => RatesError::Malformed("the answer is too large".to_owned()),
            BodyError::Lost(error) => unavailable(&error),
        })?;
        read(&body).map_err(RatesError::Malformed)
    }
}

/// Reads `<Cube><Cube time="…"><Cube currency="…" rate="…"/>…`. A document with a DTD is refused,
/// and so there are no entities to expand.
fn read(body: &[u8]) -> Result<DailyRates, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| error.to_string())?;
    let is_cube = |node: &Node<'_, '_>| node.tag_name().name() == "Cube";
    let mut days = document.descendants().filter(|node| is_cube(node) && node.has_attribute("time"));
    let day = days.next().ok_or("no day is in it")?;
    let date = day.attribute("time").and_then(|text| text.parse().ok()).ok_or("its day is no date")?;
    let base = Currency::from_code(BASE).ok_or("there is no base currency")?;
    let mut rates = BTreeMap::new();
    for cube in day.children().filter(is_cube).take(MOST_RATES) {
        let (Some(code), Some(rate)) = (cube.attribute("currency"), cube.attribute("rate")) else {
            return Err("a rate has no currency or no value".to_owned());
        };
        // What nobody can pay in any more is nothing to us.
        let Some(currency) = Currency::from_code(code) else { continue };
        rates.insert(currency.code().to_owned(), positive(rate).ok_or("a rate is no positive number")?);
    }
    rates.remove(BASE);
    if rates.is_empty() { Err("no rate is in it".to_owned()) } else { Ok(DailyRates { date, base, rates }) }
}

/// A rate with at most ten digits before and behind the point.
fn positive(text: &str) -> Option<Decimal> {
    let plain = text.len() <= 21 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let rate = Decimal::from_str_exact(text).ok().filter(|_| plain)?;
    (rate > Decimal::ZERO && rate < Decimal::from(10_000_000_000_i64) && rate.scale() <= 10).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_cubes(cubes: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <gesmes:Envelope xmlns:gesmes=\"http://www.gesmes.org/xml/2002-08-01\" \
             xmlns=\"http://www.ecb.int/vocabulary/2002-08-01/eurofxref\">\
             <gesmes:subject>Reference rates</gesmes:subject>\
             <gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>\
             <Cube>{cubes}</Cube></gesmes:Envelope>"
        )
    }

    #[test]
    fn a_day_of_rates_is_read_exactly() {
        let cubes = "<Cube time='2026-11-20'><Cube currency='USD' rate='1.0563'/>\
                     <Cube currency='JPY' rate='163.21'/><Cube currency='ABC' rate='1'/></Cube>";
        let read = read(of_cubes(cubes).as_bytes()).unwrap();
        assert_eq!((read.date.to_string().as_str(), read.base.code()), ("2026-11-20", "EUR"));
        let rates: Vec<(&str, String)> =
            read.rates.iter().map(|(code, rate)| (code.as_str(), rate.to_string())).collect();
        assert_eq!(rates, [("JPY", "163.21".to_owned()), ("USD", "1.0563".to_owned())]);
    }

    #[test]
    fn what_is_no_list_of_rates_is_refused() {
        let day = |inside: &str| of_cubes(&format!("<Cube time='2026-11-20'>{inside}</Cube>"));
        let usd = |rate: &str| day(&format!("<Cube currency='USD' rate='{rate}'/>"));
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;\">]>\
                    <Cube><Cube time='2026-11-20'><Cube currency='USD' rate='&b;'/></Cube></Cube>";
        let many = day(&"<x/>".repeat(6000));
        for bad in [
            "",
            "{}",
            "<html></html>",
            bomb,
            &many,
            &day(""),
            &usd("0"),
            &usd("-1"),
            &usd("1e3"),
            &usd("NaN"),
            &usd(""),
            &usd("99999999999"),
            &usd("0.00000000001"),
            &day("<Cube currency='USD'/>"),
            &of_cubes("<Cube time='soon'><Cube currency='USD' rate='1'/></Cube>"),
            &usd("1").replace("</gesmes:Envelope>", ""),
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad:.200}");
        }
        assert!(read(b"\xff\xfe").is_err());
    }
}
