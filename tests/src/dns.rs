//! DNS servers for tests: one whose records a test sets as it goes ([`Records`]), and a real one ([`Bind`]).

mod bind;
mod front;
mod question;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::http1::post;
use crate::port::Port;
use crate::until::{PATIENCE, until};

pub use bind::Bind;
pub use question::texts;
use question::try_texts;

/// The program behind [`Records`].
pub const PROGRAM: &str = "pebble-challtestsrv";

/// A DNS server that answers 127.0.0.1 for every name until it is told otherwise. It knows neither zones nor name
/// servers. It ends when dropped.
pub struct Records {
    dns: Port,
    management: Port,
    _server: Daemon,
}

impl Records {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        let (dns, management) = (Port::reserve(), Port::reserve());
        let [dns_at, management_at] = [&dns, &management].map(|p| p.address().to_string());
        let mut server = Daemon::start(
            PROGRAM,
            &[
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-dns01",
                &dns_at,
                "-management",
                &management_at,
            ],
            &[],
        );
        until(PATIENCE, "the DNS server to answer", || {
            server.insist();
            async {
                let management = tokio::net::TcpStream::connect(management.address()).await;
                management.is_ok() && try_texts(dns.address(), "up.test").await.is_ok()
            }
        })
        .await;
        Self { dns, management, _server: server }
    }

    /// Where it answers, by UDP and TCP.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.dns.address()
    }

    /// Where it is told what to answer: for hooks.
    #[must_use]
    pub const fn management(&self) -> SocketAddr {
        self.management.address()
    }

    async fn tell(&self, what: &str, body: Value) {
        let answer = post(self.management(), &format!("/{what}"), body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{what} {body}: {}", answer.text());
    }

    /// A name has these IPv4 addresses.
    pub async fn a(&self, name: &str, addresses: &[&str]) {
        self.tell("add-a", json!({"host": name, "addresses": addresses})).await;
    }

    /// A name has these IPv6 addresses.
    pub async fn aaaa(&self, name: &str, addresses: &[&str]) {
        self.tell("add-aaaa", json!({"host": name, "addresses": addresses})).await;
    }

    /// A name has one more text.
    pub async fn txt(&self, name: &str, value: &str) {
        self.tell("set-txt", json!({"host": format!("{name}."), "value": value})).await;
    }

    /// A name's authorities (RFC 8659) are these.
    pub async fn caa(&self, name: &str, issuers: &[&str]) {
        let policies: Vec<Value> = issuers.iter().map(|i| json!({"tag": "issue", "value": i})).collect();
        self.tell("add-caa", json!({"host": name, "policies": policies})).await;
    }

    /// Questions for a name fail.
    pub async fn servfail(&self, name: &str) {
        self.tell("set-servfail", json!({"host": name})).await;
    }

    /// A name is as it was at first: 127.0.0.1, and questions do not fail.
    pub async fn forget(&self, name: &str) {
        for what in ["clear-a", "clear-aaaa", "clear-caa", "clear-servfail"] {
            self.tell(what, json!({"host": name})).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::lacking;
    use crate::skip_or_fail;

    #[tokio::test]
    async fn texts_are_kept_beside_each_other() {
        if let Some(why) = lacking(&[PROGRAM]) {
            return skip_or_fail(&why);
        }
        let records = Records::start().await;
        assert!(texts(records.address(), "_acme-challenge.shop.test").await.is_empty());
        records.txt("_acme-challenge.shop.test", "one").await;
        records.txt("_acme-challenge.shop.test", "two").await;
        assert_eq!(texts(records.address(), "_acme-challenge.shop.test").await, ["one", "two"]);
    }
}
