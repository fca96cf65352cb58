//! Names that strangers give us lead to the public internet, or nowhere. A client that resolves by
//! [`PublicDns`] connects to the very addresses that were looked at: there is no second look-up for a
//! name to change its mind in.
//!
//! Which addresses are public: [RFC 6890](https://www.rfc-editor.org/rfc/rfc6890) and the registries of
//! [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry) and
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry).

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks a name up.
type LookUp = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Resolves names to public addresses only.
#[derive(Clone)]
pub(super) struct PublicDns {
    look_up: LookUp,
}

impl PublicDns {
    /// By the system's resolver.
    pub(super) fn of_the_system() -> Self {
        Self::by(|name| async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    fn by<F, Fut>(look_up: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self { look_up: Arc::new(move |name| Box::pin(look_up(name))) }
    }
}

/// A name that leads into a private network, if only in part.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to an address that is not public")]
struct NotPublic;

/// Whether a request was not sent because its name leads inside.
pub(super) fn led_inside(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

impl Resolve for PublicDns {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.look_up)(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await?;
            if !found.iter().copied().all(is_public) {
                return Err(NotPublic.into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

/// Whether an address is somebody's on the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        // "This network", and what is reserved, the broadcast address included.
        || a == 0
        || a >= 240
        // Shared by carriers, protocol assignments, 6to4 relays, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, fourth, .., seventh, eighth] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    if address.to_ipv4_mapped().is_some() {
        return embedded(seventh, eighth);
    }
    // NAT64 and 6to4 lead on to the IPv4 address in them.
    if [first, second, third, fourth] == [0x64, 0xff9b, 0, 0] {
        return embedded(seventh, eighth);
    }
    if first == 0x2002 {
        return embedded(second, third);
    }
    // Only 2000::/3 is given out; of it, not Teredo, protocol assignments (2001::/23) and documentation.
    let given_out = first & 0xe000 == 0x2000;
    let special = (first == 0x2001 && (second < 0x200 || second == 0xdb8)) || first == 0x3fff;
    given_out && !special
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use tokio::net::TcpListener;

    use super::*;
    use crate::providers::http::{Timeouts, guarded_client};

    #[test]
    fn special_addresses_in_whatever_dress_are_not_public() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    /// What a client meets that asks this name's addresses, in turn, and how many connections arrive
    /// at a server on this machine.
    async fn asked(answers: &[&[&str]], times: usize) -> (Vec<String>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let parse =
            |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let answers: VecDeque<Vec<IpAddr>> = answers.iter().map(parse).collect();
        let answers = Arc::new(Mutex::new(answers));
        let dns = PublicDns::by(move |_| {
            let answer = answers.lock().unwrap().pop_front().unwrap_or_default();
            async move { Ok(answer) }
        });
        let timeouts = Timeouts { connect: std::time::Duration::from_millis(300), ..Timeouts::default() };
        let client = guarded_client(timeouts, dns).unwrap();
        let mut told = Vec::new();
        for _ in 0..times {
            let sent = client.get(format!("http://bank.example:{port}/")).send().await;
            told.push(format!("{:?}", sent.unwrap_err()));
        }
        let mut arrived = 0;
        while tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await.is_ok() {
            arrived += 1;
        }
        (told, arrived)
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_followed_not_even_in_part_or_later() {
        for answers in [&[&["127.0.0.1"][..]][..], &[&["192.0.2.1", "127.0.0.1"]], &[&["1.1.1.1", "::1"]]] {
            let (told, arrived) = asked(answers, 1).await;
            assert!(told[0].contains("NotPublic"), "{told:?}");
            assert_eq!(arrived, 0);
        }
        // Public when it was looked at first, ours when it is connected to again.
        let (told, arrived) = asked(&[&["203.0.114.1"], &["127.0.0.1"]], 2).await;
        assert!(!told[0].contains("NotPublic") && told[1].contains("NotPublic"), "{told:?}");
        assert_eq!(arrived, 0);
    }
}
