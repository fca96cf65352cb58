//! Addresses as [OpenCage](https://opencagedata.com/api) knows them, or the sandbox that answers in the
//! same form.
//!
//! An address is somebody's: the provider is asked not to keep it (`no_record`), and the key, which
//! its protocol wants in the query, is in no error and no log.

use async_trait::async_trait;
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use steward_actors::providers::{Finding, Geocoding, GeocodingError, PostalAddress};
use url::Url;

use super::http::{self, BodyError, SetupError, Timeouts, Trust};

/// Bytes of an answer that are read; one result without annotations has about 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// Geocoding in OpenCage's form. One client serves all threads.
pub struct OpenCage {
    client: Client,
    url: Url,
    key: SecretString,
}

impl OpenCage {
    /// A client of the endpoint at `url` (`https://api.opencagedata.com/geocode/v1/json`, or the
    /// sandbox's).
    ///
    /// # Errors
    /// [`SetupError`] if `url` is none, or is https where the system has no certificate
    /// authorities.
    pub fn new(url: &str, key: SecretString, timeouts: Timeouts) -> Result<Self, SetupError> {
        let url = http::endpoint(url)?;
        let trust = Trust::of(&url);
        Ok(Self { client: http::client(timeouts, trust)?, url, key })
    }
}

#[async_trait]
impl Geocoding for OpenCage {
    async fn look_up(&self, address: &PostalAddress) -> Result<Finding, GeocodingError> {
        let unavailable = |error: &reqwest::Error| GeocodingError::Unavailable(http::cause(error));
        let (question, country) = (question(address), address.country.to_lowercase());
        let request = self.client.get(self.url.clone()).query(&[
            ("q", question.as_str()),
            ("countrycode", &country),
            ("limit", "1"),
            ("no_annotations", "1"),
            ("no_record", "1"),
            ("key", self.key.expose_secret()),
        ]);
        let response = http::send("opencage", "look_up", request).await.map_err(|e| unavailable(&e))?;
        refusal(&response).map_or(Ok(()), Err)?;
        let body = http::body(response, MAX_ANSWER).await.map_err(|error| match error {
            BodyError::TooLarge => GeocodingError::Malformed("it is too large".to_owned()),
            BodyError::Lost(error) => unavailable(&error),
        })?;
        read(&body).map_err(GeocodingError::Malformed)
    }
}

/// One line, as the provider likes it: no names, no country, which is asked for apart.
fn question(address: &PostalAddress) -> String {
    let place = format!("{} {}", address.postal_code, address.city);
    let parts = [Some(address.street.as_str()), Some(place.as_str()), address.region.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a status means: <https://opencagedata.com/api#codes>.
fn refusal(response: &Response) -> Option<GeocodingError> {
    let status = response.status();
    let reason = format!("status {status}");
    match status {
        StatusCode::OK => None,
        StatusCode::PAYMENT_REQUIRED | StatusCode::TOO_MANY_REQUESTS => {
            Some(GeocodingError::Spent { reason, retry_after: http::retry_after(response) })
        }
        StatusCode::BAD_REQUEST | StatusCode::GONE => Some(GeocodingError::Refused(reason)),
        _ => Some(GeocodingError::Unavailable(reason)),
    }
}

#[derive(Deserialize)]
struct Answer {
    status: Status,
    results: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

fn read(body: &[u8]) -> Result<Finding, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match answer.status.code {
        200 if answer.results.is_empty() => Ok(Finding::Unknown),
        200 => Ok(Finding::Known),
        other => Err(format!("its own status is {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_list_of_results_says_that_there_is_no_such_place() {
        let none = br#"{"status":{"code":200,"message":"OK"},"results":[],"total_results":0}"#;
        let one = br#"{"status":{"code":200},"results":[{"confidence":1}],"total_results":1}"#;
        assert_eq!(read(none), Ok(Finding::Unknown));
        assert_eq!(read(one), Ok(Finding::Known));
        let bad: [&[u8]; 6] = [
            b"",
            b"<html>",
            b"{}",
            br#"{"status":{"code":200}}"#,
            br#"{"status":{"code":200},"results":null}"#,
            br#"{"status":{"code":500},"results":[]}"#,
        ];
        for bad in bad {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_question_names_the_place_and_nobody() {
        let mut address = PostalAddress {
            street: "Frauenplan 1".to_owned(),
            city: "Weimar".to_owned(),
            region: None,
            postal_code: "99423".to_owned(),
            country: "DE".to_owned(),
        };
        assert_eq!(question(&address), "Frauenplan 1, 99423 Weimar");
        address.region = Some("Thüringen".to_owned());
        assert_eq!(question(&address), "Frauenplan 1, 99423 Weimar, Thüringen");
    }
}
