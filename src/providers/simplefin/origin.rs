//! Where requests may go: to listed hosts over https, and to the sandbox's own origin. Pure.
//!
//! The same rule holds for what users give (setup tokens) and for what banks return (access URLs);
//! redirects are off. Which addresses a listed name resolves to is checked when it is connected to
//! ([`crate::providers::public_dns`]); one that is written out is checked here.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Origin, Url};

use super::secret;
use crate::providers::http::SetupError;
use crate::providers::public_dns::is_public;

/// Setup tokens that are words: each names a bank of the sandbox.
const WORDS: [&str; 9] = [
    "sandbox",
    "sandbox-slow",
    "sandbox-rate-limited",
    "sandbox-expired",
    "sandbox-broken-pages",
    "sandbox-down",
    "sandbox-shuffled",
    "sandbox-hanging",
    "sandbox-hostile",
];
/// Characters of a setup token, or of an access URL.
const LONGEST: usize = 4096;
/// Begins the stored form of an access to the sandbox. The sandbox's port may be another one after
/// each start, and on each replica, so it is not kept.
const SANDBOX_SCHEME: &str = "sandbox:";
/// What is let through at the sandbox's origin; nothing else there is a user's business.
const SANDBOX_PATH: &str = "/simplefin/";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The rule.
pub(super) struct Origins {
    hosts: Vec<String>,
    sandbox: Option<Url>,
}

/// An access URL, taken apart.
pub(super) struct Access {
    /// Without user and password.
    pub(super) url: Url,
    pub(super) username: String,
    pub(super) password: SecretString,
}

impl Origins {
    pub(super) fn new(hosts: &[String], sandbox_url: Option<&str>) -> Result<Self, SetupError> {
        let sandbox = sandbox_url
            .map(|text| {
                let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                url.ok_or_else(|| SetupError(format!("{text:?} is no http(s) URL")))
            })
            .transpose()?;
        Ok(Self { hosts: hosts.iter().map(|host| host.to_lowercase()).collect(), sandbox })
    }

    /// Where a setup token is claimed.
    pub(super) fn claim_url(&self, token: &str, user_id: &str) -> Result<Url, String> {
        let token = token.trim();
        if WORDS.contains(&token) {
            let mut url = self.sandbox.clone().ok_or("the sandbox bank is not enabled")?;
            url.set_path(&format!("{SANDBOX_PATH}claim/{token}"));
            url.query_pairs_mut().append_pair("user", user_id);
            return Ok(url);
        }
        if token.len() > LONGEST {
            return Err("it is too long".to_owned());
        }
        let decoded = BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let url = decoded.and_then(|text| Url::parse(text.trim()).ok());
        let url = url.ok_or("it is not the base64 of a claim URL")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("its claim URL has a user name".to_owned());
        }
        self.check(&url)?;
        Ok(url)
    }

    /// Takes the access URL that a bank returned apart.
    pub(super) fn access(&self, text: &str) -> Result<Access, String> {
        let bad = || "the bank returned no access URL".to_owned();
        let mut url = Url::parse(text).map_err(|_| bad())?;
        self.check(&url).map_err(|why| format!("the bank returned an access URL that is no good: {why}"))?;
        let decode = |text: &str| percent_decoded(text).ok_or_else(bad);
        let username = decode(url.username())?;
        let password = secret(&decode(url.password().unwrap_or_default())?);
        if username.is_empty() {
            return Err(bad());
        }
        // Only URLs without a host refuse this, and those are no good already.
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| bad())?;
        url.set_query(None);
        url.set_fragment(None);
        Ok(Access { url, username, password })
    }

    /// What is kept of an access.
    pub(super) fn stored(&self, access: &Access) -> SecretString {
        let mut url = access.url.clone();
        // As above.
        let _ = url.set_username(&access.username);
        let _ = url.set_password(Some(access.password.expose_secret()));
        if self.is_sandbox(&access.url) {
            let credentials = format!("{}:{}", url.username(), url.password().unwrap_or_default());
            return secret(&format!("{SANDBOX_SCHEME}{credentials}@{}", url.path()));
        }
        SecretString::from(String::from(url))
    }

    /// The access that was kept, if the rule still lets it through.
    pub(super) fn restored(&self, stored: &str) -> Result<Access, String> {
        let Some(rest) = stored.strip_prefix(SANDBOX_SCHEME) else { return self.access(stored) };
        let sandbox = self.sandbox.as_ref().ok_or("the sandbox bank is not enabled any more")?;
        let (credentials, path) = rest.split_once('@').ok_or("the stored access is damaged")?;
        let origin = sandbox.origin().ascii_serialization();
        let (scheme, host) = origin.split_once("://").ok_or("the stored access is damaged")?;
        self.access(&format!("{scheme}://{credentials}@{host}{path}"))
    }

    fn check(&self, url: &Url) -> Result<(), String> {
        if self.is_sandbox(url) {
            return match url.path().starts_with(SANDBOX_PATH) {
                true => Ok(()),
                false => Err("it is no place of the sandbox bank".to_owned()),
            };
        }
        if url.scheme() != "https" {
            return Err("it is not https".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if !self.hosts.contains(&host) {
            return Err(format!("{host} is not among the hosts that this server goes to"));
        }
        let written_out = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        match written_out {
            Some(address) if !is_public(address) => Err(format!("{host} is not on the public internet")),
            _ => Ok(()),
        }
    }

    pub(super) fn has_many_hosts(&self) -> bool {
        self.hosts.len() > 1
    }

    pub(super) fn is_sandbox(&self, url: &Url) -> bool {
        let of = |url: &Url| Some(url.origin()).filter(Origin::is_tuple);
        self.sandbox.as_ref().is_some_and(|sandbox| of(url).is_some() && of(url) == of(sandbox))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    // `+` stands for itself in user names and passwords, but for a space in forms.
    let form = format!("v={}", text.replace('+', "%2B"));
    let (_, value) = url::form_urlencoded::parse(form.as_bytes()).next()?;
    Some(value.into_owned()).filter(|value| !value.contains('\u{FFFD}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD as ENCODE;

    const SANDBOX: &str = "http://127.0.0.1:4000";

    fn origins() -> Origins {
        Origins::new(&["bridge.simplefin.org".to_owned()], Some(SANDBOX)).unwrap()
    }

    fn claim(url: &str) -> Result<String, String> {
        origins().claim_url(&ENCODE.encode(url), "u1").map(String::from)
    }

    #[test]
    fn a_token_for_a_listed_host_is_followed_with_or_without_padding() {
        let url = "https://bridge.simplefin.org/simplefin/claim/DEMO";
        assert_eq!(claim(url).as_deref(), Ok(url));
        let unpadded = ENCODE.encode(url).trim_end_matches('=').to_owned();
        assert!(origins().claim_url(&unpadded, "u1").is_ok());
    }

    #[test]
    fn tokens_that_lead_elsewhere_are_refused() {
        for url in [
            "http://bridge.simplefin.org/claim/x",
            "https://bridge.simplefin.org:8443/claim/x",
            "https://bridge.simplefin.org.evil.example/claim/x",
            "https://bridge.simplefin.org@evil.example/claim/x",
            "https://user@bridge.simplefin.org/claim/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/claim/x",
            "https://2130706433/claim/x",
            "https://0x7f000001/claim/x",
            "https://0177.0.0.1/claim/x",
            "https://127.1/claim/x",
            "https://[::ffff:169.254.169.254]/claim/x",
            "https://[::ffff:7f00:1]/claim/x",
            "http://127.0.0.1:4001/simplefin/claim/x",
            "https://127.0.0.1:4000/simplefin/claim/x",
            "http://127.0.0.1:4000/_sandbox/faults",
            "http://127.0.0.1:4000/simplefin/../_sandbox/faults",
            "http://127.0.0.1:4000/simplefin/%2e%2e/v1/refunds",
            "file:///etc/passwd",
            "data:text/plain,x",
            "not a url",
        ] {
            assert!(claim(url).is_err(), "{url}");
        }
        assert!(origins().claim_url("%%%", "u1").is_err());
        assert!(origins().claim_url(&"A".repeat(5000), "u1").is_err());
    }

    #[test]
    fn an_address_inside_is_refused_even_if_it_is_listed() {
        let hosts = ["169.254.169.254", "127.0.0.1", "[::1]", "[::ffff:7f00:1]", "10.0.0.7:8443", "1.1.1.1"];
        let listed = Origins::new(&hosts.map(str::to_owned), None).unwrap();
        let claim = |host: &str| listed.claim_url(&ENCODE.encode(format!("https://{host}/claim/x")), "u1");
        for host in
            ["169.254.169.254", "2852039166", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.7:8443"]
        {
            let refused = claim(host).map(String::from);
            assert!(refused.as_ref().is_err_and(|why| why.contains("public")), "{host}: {refused:?}");
        }
        assert!(claim("1.1.1.1").is_ok());
    }

    #[test]
    fn words_lead_to_the_sandbox_only_where_there_is_one() {
        let url = origins().claim_url("sandbox-slow", "a b").unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:4000/simplefin/claim/sandbox-slow?user=a+b");
        let without = Origins::new(&[], None).unwrap();
        assert!(without.claim_url("sandbox", "u1").is_err());
    }

    #[test]
    fn a_returned_access_url_is_checked_by_the_same_rule() {
        assert!(origins().access("https://u:p@evil.example/simplefin").is_err());
        assert!(origins().access("https://bridge.simplefin.org/simplefin").is_err());
        let access = origins().access("https://us%3Aer:p%2B%40+ss@bridge.simplefin.org/simplefin").unwrap();
        assert_eq!((access.username.as_str(), access.password.expose_secret()), ("us:er", "p+@+ss"));
        assert_eq!(access.url.as_str(), "https://bridge.simplefin.org/simplefin");
    }

    #[test]
    fn a_stored_access_comes_back_and_follows_the_sandbox_to_another_port() {
        let origins = origins();
        for text in [
            "https://us%3Aer:p%40ss@bridge.simplefin.org/simplefin",
            "http://u:p@127.0.0.1:4000/simplefin/access",
        ] {
            let access = origins.access(text).unwrap();
            let back = origins.restored(origins.stored(&access).expose_secret()).unwrap();
            assert_eq!(back.url, access.url);
            assert_eq!(
                (back.username, back.password.expose_secret()),
                (access.username, access.password.expose_secret())
            );
        }
        let stored = origins.stored(&origins.access("http://u:p@127.0.0.1:4000/simplefin/access").unwrap());
        let moved = Origins::new(&[], Some("http://sandbox:9000")).unwrap();
        assert_eq!(
            moved.restored(stored.expose_secret()).unwrap().url.as_str(),
            "http://sandbox:9000/simplefin/access"
        );
        assert!(Origins::new(&[], None).unwrap().restored(stored.expose_secret()).is_err());
    }

    #[test]
    fn a_host_that_is_no_longer_listed_is_not_gone_to() {
        let none = Origins::new(&[], None).unwrap();
        assert!(none.restored("https://u:p@bridge.simplefin.org/simplefin").is_err());
    }
}
