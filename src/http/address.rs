//! Where a request comes from. `X-Forwarded-For` is whatever a client likes to write, so it counts
//! only as far as proxies that are trusted by name (`http.trusted_proxies`) have written it.

use std::net::IpAddr;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpMessage, HttpRequest};
use ipnet::IpNet;

/// The client's address, as far as it is known. The frame puts it into each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// Where this request comes from.
    pub fn of(request: &HttpRequest) -> Option<IpAddr> {
        request.extensions().get::<Self>().map(|address| address.0)
    }
}

/// Proxies whose word counts.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedProxies(Vec<IpNet>);

/// A network such as `10.0.0.0/8`, or one address.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl TrustedProxies {
    /// Those that are named; what is no network was refused with the configuration.
    pub(super) fn new(named: &[String]) -> Self {
        Self(named.iter().filter_map(|text| network(text)).collect())
    }

    /// Who asked `peer`, or who asked the proxy that asked it, back to the first that is no proxy
    /// of ours.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let values: Vec<_> =
            headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok()).collect();
        let mut forwarded = values.iter().rev().flat_map(|value| value.rsplit(','));
        while self.0.iter().any(|network| network.contains(&client)) {
            let Some(before) = forwarded.next().and_then(|text| text.trim().parse::<IpAddr>().ok()) else {
                break;
            };
            client = before.to_canonical();
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<String> = trusted.iter().map(|&text| text.to_owned()).collect();
        let request = forwarded.iter().fold(TestRequest::default(), |request, value| {
            request.append_header(("x-forwarded-for", *value))
        });
        let request = request.to_http_request();
        TrustedProxies::new(&trusted).client(peer.parse().unwrap(), request.headers()).to_string()
    }

    #[test]
    fn strangers_are_not_believed() {
        assert_eq!(client(&[], "203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        // What the client wrote stands before what the proxy saw.
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["1.2.3.4, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["1.2.3.4", "203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn a_chain_of_proxies_is_followed_to_its_end() {
        let chain = &["1.2.3.4, 203.0.113.9, 10.9.9.9", "::ffff:10.1.1.1"];
        assert_eq!(client(&["10.0.0.0/8"], "::ffff:10.1.2.3", chain), "203.0.113.9");
        assert_eq!(client(&["2001:db8::/32"], "2001:db8::1", &["2001:db9::7"]), "2001:db9::7");
    }

    #[test]
    fn what_cannot_be_read_ends_the_chain() {
        assert_eq!(client(&["10.0.0.1"], "10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client(&["10.0.0.1"], "10.0.0.1", &[]), "10.0.0.1");
    }
}
