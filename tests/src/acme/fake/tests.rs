//! The fake authority tested: an order goes through, and each trouble is what it says.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::request::ari_id;
use super::*;
use crate::http1::{Answer, Http1, request};
use crate::until::{PATIENCE, until};

/// A client that signs nothing, as the authority does not look.
struct Client {
    wire: Http1,
    nonce: String,
    kid: Option<String>,
}

impl Client {
    async fn of(ca: &FakeCa) -> Self {
        let trust = Strict::trusting_pem(&ca.endpoint_pem());
        let stream = trust.connect("127.0.0.1", ca.address()).await.stream;
        Self { wire: Http1::over(stream), nonce: String::new(), kid: None }
    }

    async fn get(&mut self, path: &str) -> Answer {
        let answer = self.wire.exchange(&request("GET", path, &[], b"")).await;
        self.nonce = answer.header("replay-nonce").unwrap_or_default().to_owned();
        answer
    }

    async fn post(&mut self, url: &str, payload: &Value) -> Answer {
        let path = url.splitn(4, '/').nth(3).map_or_else(|| url.to_owned(), |path| format!("/{path}"));
        let mut protected = json!({"alg": "ES256", "nonce": self.nonce, "url": url});
        match &self.kid {
            Some(kid) => protected["kid"] = json!(kid),
            None => protected["jwk"] = json!({"kty": "EC", "x": "1"}),
        }
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        let body = json!({
            "protected": BASE64.encode(protected.to_string()),
            "payload": BASE64.encode(payload),
            "signature": "AA",
        });
        let answer = self.wire.exchange(&request("POST", &path, &[], body.to_string().as_bytes())).await;
        self.nonce = answer.header("replay-nonce").unwrap_or_default().to_owned();
        answer
    }

    async fn register(&mut self) {
        self.get("/new-nonce").await;
        let answer = self.post("/new-account", &json!({})).await;
        self.kid = answer.header("location").map(str::to_owned);
    }

    /// Proves every name of an order; the order as it is then.
    async fn prove(&mut self, order: &Value) {
        for authorization in order["authorizations"].as_array().expect("authorizations") {
            let url = authorization.as_str().expect("a URL");
            let authorization = self.post(url, &Value::Null).await.json();
            let challenge = authorization["challenges"][0]["url"].as_str().expect("a URL").to_owned();
            self.post(&challenge, &json!({})).await;
        }
    }
}

fn csr(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let request =
        CertificateParams::new(names).expect("names").serialize_request(&KeyPair::generate().expect("a key"));
    BASE64.encode(request.expect("a request").der())
}

#[tokio::test]
async fn an_order_goes_from_its_names_to_a_certificate() {
    let ca = FakeCa::start().await;
    ca.behave(|b| {
        b.processing_polls = 1;
        b.profiles = vec!["shortlived".to_owned()];
        b.ari = Some(Window {
            start: SignedDuration::from_hours(1),
            end: SignedDuration::from_hours(2),
            retry_after: 7,
            explanation: None,
        });
    });
    let mut client = Client::of(&ca).await;
    client.register().await;
    let names = json!([{"type": "ip", "value": "127.0.0.1"}, {"type": "dns", "value": "shop.test"}]);
    let wish = json!({"identifiers": names, "profile": "shortlived"});
    let answer = client.post("/new-order", &wish).await;
    let location = answer.header("location").expect("a location").to_owned();
    let order = answer.json();
    assert_eq!(order["status"], "pending");
    let finalize = order["finalize"].as_str().expect("a URL").to_owned();
    let wish = json!({"csr": csr(&["127.0.0.1", "shop.test"])});
    assert_eq!(
        client.post(&finalize, &wish).await.json()["type"],
        "urn:ietf:params:acme:error:orderNotReady"
    );
    client.prove(&order).await;
    let stranger = json!({"csr": csr(&["other.test"])});
    assert_eq!(client.post(&finalize, &stranger).await.json()["type"], "urn:ietf:params:acme:error:badCSR");
    assert_eq!(client.post(&finalize, &wish).await.json()["status"], "processing");
    let mut order = client.post(&location, &Value::Null).await.json();
    if order["status"] == "processing" {
        order = client.post(&location, &Value::Null).await.json();
    }
    let certificate = order["certificate"].as_str().expect("a URL").to_owned();
    let leaf = Leaf::of_pem(&client.post(&certificate, &Value::Null).await.text());
    assert_eq!(leaf.names, ["127.0.0.1", "shop.test"]);
    assert_eq!(ca.issued(), std::slice::from_ref(&leaf));
    let ordered = &ca.orders()[0];
    assert_eq!((ordered.profile.as_deref(), ordered.issued), (Some("shortlived"), true));
    let info = client.get(&format!("/renewal-info/{}", ari_id(&leaf))).await;
    assert_eq!(info.header("retry-after"), Some("7"));
    let start = (leaf.not_before + SignedDuration::from_hours(1)).to_string();
    assert_eq!(info.json()["suggestedWindow"]["start"], start);
    assert_eq!(client.get("/renewal-info/AA.AA").await.status, 404);
}

#[tokio::test]
async fn nonces_are_spent_and_some_are_refused() {
    let ca = FakeCa::start().await;
    let mut client = Client::of(&ca).await;
    client.register().await;
    let spent = client.nonce.clone();
    assert_eq!(client.post("/account/0", &json!({})).await.status, 200);
    client.nonce = spent;
    assert_eq!(
        client.post("/account/0", &json!({})).await.json()["type"],
        "urn:ietf:params:acme:error:badNonce"
    );
    ca.behave(|b| b.bad_nonce_every = 2);
    let mut refused = 0;
    for _ in 0..10 {
        refused += usize::from(client.post("/account/0", &json!({})).await.status == 400);
    }
    assert_eq!(refused, 5);
    assert_eq!(ca.count(Kind::Account), 12);
}

#[tokio::test]
async fn a_refused_name_makes_its_order_invalid() {
    let ca = FakeCa::start().await;
    ca.behave(|b| b.refuse = Some("no such name".to_owned()));
    let mut client = Client::of(&ca).await;
    client.register().await;
    let wish = json!({"identifiers": [{"type": "dns", "value": "shop.test"}]});
    let answer = client.post("/new-order", &wish).await;
    let location = answer.header("location").expect("a location").to_owned();
    client.prove(&answer.json()).await;
    let order = client.post(&location, &Value::Null).await.json();
    assert_eq!((&order["status"], &order["error"]["detail"]), (&json!("invalid"), &json!("no such name")));
}

#[tokio::test]
async fn each_trouble_is_what_it_says() {
    let ca = FakeCa::start().await;
    let mut client = Client::of(&ca).await;
    let good = client.get("/directory").await.text();
    ca.trouble(Kind::Directory, Trouble::Truncated);
    let half = client.get("/directory").await.text();
    assert!(good.starts_with(&half) && serde_json::from_str::<Value>(&half).is_err(), "{half}");
    ca.trouble(Kind::Directory, Trouble::Html);
    assert!(client.get("/directory").await.text().starts_with("<!doctype"));
    ca.trouble(Kind::Directory, Trouble::RateLimited(9));
    assert_eq!(client.get("/directory").await.header("retry-after"), Some("9"));
    ca.trouble(Kind::Directory, Trouble::Status(503));
    assert_eq!(client.get("/directory").await.status, 503);
    ca.trouble(Kind::Directory, Trouble::Hang);
    client.wire.send(&request("GET", "/directory", &[], b"")).await;
    until(PATIENCE, "the request to be held", || async { ca.held() == 1 }).await;
    drop(client);
    until(PATIENCE, "the client's going to be noticed", || async { ca.held() == 0 }).await;
    ca.recover();
    assert_eq!(Client::of(&ca).await.get("/directory").await.text(), good);
    assert_eq!(ca.count(Kind::Directory), 7);
}
