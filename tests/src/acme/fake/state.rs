//! What the fake authority knows, and what it answers: no sockets here.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::reply::{Reply, problem};
use super::request::{ari_id, read_csr};
use super::{Behaviour, Came, Kind, Ordered, Trouble};
use crate::acme::authority::Authority;
use crate::acme::strict::Leaf;

/// Everything the authority knows.
pub(super) struct State {
    base: String,
    authority: Arc<Authority>,
    pub(super) behaviour: Behaviour,
    pub(super) came: Vec<Came>,
    pub(super) held: usize,
    pub(super) accounts: Vec<Value>,
    orders: Vec<Order>,
    authorizations: Vec<Authorization>,
    pub(super) certificates: Vec<String>,
    pub(super) revoked: Vec<(String, Option<u64>)>,
    nonces: HashSet<String>,
    nonces_made: u64,
    nonces_used: u32,
}

struct Order {
    account: usize,
    names: Vec<String>,
    profile: Option<String>,
    replaces: Option<String>,
    authorizations: Vec<usize>,
    stage: Stage,
}

/// How far an order is, once its authorizations are valid.
enum Stage {
    Open,
    Processing { polls: u32, certificate: usize },
    Valid { certificate: usize },
}

struct Authorization {
    name: String,
    status: Proof,
}

#[derive(Clone, PartialEq, Eq)]
enum Proof {
    Pending,
    Valid,
    Invalid(String),
    Deactivated,
}

impl Kind {
    /// What a path is about.
    pub(super) fn of(path: &str) -> Self {
        match path.split('/').nth(1).unwrap_or_default() {
            "directory" => Self::Directory,
            "new-nonce" => Self::NewNonce,
            "new-account" => Self::NewAccount,
            "account" => Self::Account,
            "new-order" => Self::NewOrder,
            "order" => Self::Order,
            "authorization" => Self::Authorization,
            "challenge" => Self::Challenge,
            "finalize" => Self::Finalize,
            "certificate" => Self::Certificate,
            "revoke" => Self::Revoke,
            "renewal-info" => Self::RenewalInfo,
            _ => Self::Unknown,
        }
    }

    const fn is_signed(self) -> bool {
        !matches!(self, Self::Directory | Self::NewNonce | Self::RenewalInfo | Self::Unknown)
    }
}

/// A signed request, its signature unread.
struct Signed {
    account: Option<usize>,
    key: Option<Value>,
    payload: Value,
}

impl State {
    pub(super) fn new(base: String, authority: Arc<Authority>) -> Self {
        Self {
            base,
            authority,
            behaviour: Behaviour::default(),
            came: Vec::new(),
            held: 0,
            accounts: Vec::new(),
            orders: Vec::new(),
            authorizations: Vec::new(),
            certificates: Vec::new(),
            revoked: Vec::new(),
            nonces: HashSet::new(),
            nonces_made: 0,
            nonces_used: 0,
        }
    }

    /// Writes a request down; says what goes wrong with it.
    pub(super) fn come(&mut self, kind: Kind) -> Option<Trouble> {
        self.came.push(Came { kind, at: Timestamp::now() });
        self.behaviour.trouble.get(&kind).copied()
    }

    /// A fresh nonce.
    pub(super) fn nonce(&mut self) -> String {
        self.nonces_made += 1;
        let nonce = BASE64.encode(format!("nonce {}", self.nonces_made));
        self.nonces.insert(nonce.clone());
        nonce
    }

    pub(super) fn ordered(&self) -> Vec<Ordered> {
        let ordered = |order: &Order| Ordered {
            account: order.account,
            names: order.names.clone(),
            profile: order.profile.clone(),
            replaces: order.replaces.clone(),
            issued: !matches!(order.stage, Stage::Open),
        };
        self.orders.iter().map(ordered).collect()
    }

    /// Does what is asked.
    pub(super) fn act(&mut self, kind: Kind, path: &str, get: bool, body: &[u8]) -> Reply {
        if !kind.is_signed() {
            return self.open(kind, path);
        }
        if get {
            return Reply::problem(405, "malformed", "this wants a POST");
        }
        match self.verify(body) {
            Err(reply) => reply,
            Ok(signed) => self.signed(kind, path, &signed).unwrap_or_else(|refused| refused),
        }
    }

    fn open(&self, kind: Kind, path: &str) -> Reply {
        match kind {
            Kind::Directory => self.directory(),
            Kind::NewNonce => Reply { status: 200, headers: Vec::new(), body: Vec::new() },
            Kind::RenewalInfo => self.renewal_info(path),
            Kind::NewAccount
            | Kind::Account
            | Kind::NewOrder
            | Kind::Order
            | Kind::Authorization
            | Kind::Challenge
            | Kind::Finalize
            | Kind::Certificate
            | Kind::Revoke
            | Kind::Unknown => Reply::problem(404, "malformed", "no such thing"),
        }
    }

    fn directory(&self) -> Reply {
        let url = |path: &str| json!(format!("{}/{path}", self.base));
        let mut directory = json!({
            "newNonce": url("new-nonce"),
            "newAccount": url("new-account"),
            "newOrder": url("new-order"),
            "revokeCert": url("revoke"),
            "meta": {"termsOfService": url("terms"), "caaIdentities": ["fake.test"]},
        });
        if self.behaviour.ari.is_some() {
            directory["renewalInfo"] = url("renewal-info");
        }
        if !self.behaviour.profiles.is_empty() {
            let profiles = self.behaviour.profiles.iter().map(|p| (p.clone(), url(&format!("profile/{p}"))));
            directory["meta"]["profiles"] = Value::Object(profiles.collect());
        }
        Reply::json(200, &directory)
    }

    /// RFC 9773 section 4.2.
    fn renewal_info(&self, path: &str) -> Reply {
        let wanted = path.rsplit('/').next().unwrap_or_default();
        let leaf = self.certificates.iter().map(|c| Leaf::of_pem(c)).find(|leaf| ari_id(leaf) == wanted);
        let (Some(leaf), Some(window)) = (leaf, &self.behaviour.ari) else {
            return Reply::problem(404, "malformed", "no such certificate");
        };
        let (mut start, mut end) = (leaf.not_before + window.start, leaf.not_before + window.end);
        if self.behaviour.urgent.contains(&leaf.serial) {
            start = leaf.not_before - SignedDuration::from_hours(2);
            end = leaf.not_before - SignedDuration::from_hours(1);
        }
        let mut info = json!({"suggestedWindow": {"start": start.to_string(), "end": end.to_string()}});
        if let Some(page) = &window.explanation {
            info["explanationURL"] = json!(page);
        }
        Reply::json(200, &info).header("Retry-After", &window.retry_after.to_string())
    }

    /// Takes a JWS apart (RFC 8555 section 6.2) and spends its nonce.
    fn verify(&mut self, body: &[u8]) -> Result<Signed, Reply> {
        let malformed = |what: &str| Reply::problem(400, "malformed", what);
        let jws: Value = serde_json::from_slice(body).map_err(|_| malformed("no JSON"))?;
        let part = |name: &str| {
            let text = jws[name].as_str()?;
            let bytes = BASE64.decode(text).ok()?;
            if bytes.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&bytes).ok() }
        };
        let protected: Value = part("protected").ok_or_else(|| malformed("no protected header"))?;
        let payload = part("payload").ok_or_else(|| malformed("no payload"))?;
        if jws["signature"].as_str().is_none_or(str::is_empty) {
            return Err(malformed("no signature"));
        }
        self.nonces_used += 1;
        let known = protected["nonce"].as_str().is_some_and(|nonce| self.nonces.remove(nonce));
        let every = self.behaviour.bad_nonce_every;
        if !known || (every > 0 && self.nonces_used.is_multiple_of(every)) {
            return Err(Reply::problem(400, "badNonce", "this nonce is none of mine"));
        }
        let key = protected.get("jwk").cloned();
        let account = match protected["kid"].as_str() {
            Some(kid) => Some(self.account_of(kid)?),
            None => None,
        };
        if key.is_none() && account.is_none() {
            return Err(malformed("neither jwk nor kid"));
        }
        Ok(Signed { account, key, payload })
    }

    fn account_of(&self, kid: &str) -> Result<usize, Reply> {
        number(kid)
            .filter(|number| *number < self.accounts.len())
            .ok_or_else(|| Reply::problem(400, "accountDoesNotExist", "no such account"))
    }

    fn signed(&mut self, kind: Kind, path: &str, signed: &Signed) -> Result<Reply, Reply> {
        if kind == Kind::NewAccount {
            return self.new_account(signed);
        }
        if kind == Kind::Revoke {
            return self.revoke(&signed.payload);
        }
        let Some(account) = signed.account else {
            return Err(Reply::problem(400, "malformed", "this wants a kid"));
        };
        match kind {
            Kind::NewOrder => self.new_order(account, &signed.payload),
            Kind::Order => self.look_at_order(path),
            Kind::Authorization => self.authorization(path, &signed.payload),
            Kind::Challenge => self.challenge(path, &signed.payload),
            Kind::Finalize => self.finalize(path, &signed.payload),
            Kind::Certificate => self.certificate(path),
            Kind::Account => Ok(Reply::json(200, &json!({"status": "valid"}))),
            Kind::Directory
            | Kind::NewNonce
            | Kind::NewAccount
            | Kind::Revoke
            | Kind::RenewalInfo
            | Kind::Unknown => Err(Reply::problem(404, "malformed", "no such thing")),
        }
    }

    /// RFC 8555 section 7.3: the same key gets the same account.
    fn new_account(&mut self, signed: &Signed) -> Result<Reply, Reply> {
        let Some(key) = &signed.key else {
            return Err(Reply::problem(400, "malformed", "a new account wants a jwk"));
        };
        let known = self.accounts.iter().position(|account| account == key);
        if known.is_none() && signed.payload["onlyReturnExisting"] == true {
            return Err(Reply::problem(400, "accountDoesNotExist", "no account has this key"));
        }
        let account = known.unwrap_or_else(|| {
            self.accounts.push(key.clone());
            self.accounts.len() - 1
        });
        let status = if known.is_some() { 200 } else { 201 };
        let location = format!("{}/account/{account}", self.base);
        Ok(Reply::json(status, &json!({"status": "valid"})).header("Location", &location))
    }

    fn new_order(&mut self, account: usize, payload: &Value) -> Result<Reply, Reply> {
        let identifiers = payload["identifiers"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            identifiers.iter().filter_map(|i| i["value"].as_str()).map(str::to_owned).collect();
        names.sort();
        if names.is_empty() {
            return Err(Reply::problem(400, "malformed", "an order without names"));
        }
        let text = |key: &str| payload[key].as_str().map(str::to_owned);
        let profile = text("profile");
        if profile.as_ref().is_some_and(|p| !self.behaviour.profiles.contains(p)) {
            return Err(Reply::problem(400, "invalidProfile", "no such profile"));
        }
        let authorizations = names
            .iter()
            .map(|name| {
                self.authorizations.push(Authorization { name: name.clone(), status: Proof::Pending });
                self.authorizations.len() - 1
            })
            .collect();
        let replaces = text("replaces");
        self.orders.push(Order { account, names, profile, replaces, authorizations, stage: Stage::Open });
        Ok(self.show_order(self.orders.len() - 1, 201))
    }

    fn order_of(&self, path: &str) -> Result<usize, Reply> {
        number(path)
            .filter(|number| *number < self.orders.len())
            .ok_or_else(|| Reply::problem(404, "malformed", "no such order"))
    }

    fn show_order(&self, id: usize, status: u16) -> Reply {
        let order = &self.orders[id];
        let base = &self.base;
        let kind = |name: &str| if name.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        let mut shown = json!({
            "identifiers": order.names.iter().map(|n| json!({"type": kind(n), "value": n})).collect::<Vec<_>>(),
            "authorizations":
                order.authorizations.iter().map(|a| format!("{base}/authorization/{a}")).collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/{id}"),
        });
        if let Some(profile) = &order.profile {
            shown["profile"] = json!(profile);
        }
        if let Some(replaces) = &order.replaces {
            shown["replaces"] = json!(replaces);
        }
        let proofs: Vec<&Proof> =
            order.authorizations.iter().map(|a| &self.authorizations[*a].status).collect();
        let refused = proofs.iter().find_map(|p| if let Proof::Invalid(why) = p { Some(why) } else { None });
        shown["status"] = json!(match (&order.stage, refused) {
            (Stage::Processing { .. }, _) => "processing",
            (Stage::Valid { .. }, _) => "valid",
            (Stage::Open, Some(_)) => "invalid",
            (Stage::Open, None) if proofs.iter().all(|p| **p == Proof::Valid) => "ready",
            (Stage::Open, None) => "pending",
        });
        if let Some(why) = refused {
            shown["error"] = problem("unauthorized", why, 403);
        }
        if let Stage::Valid { certificate } = order.stage {
            shown["certificate"] = json!(format!("{base}/certificate/{certificate}"));
        }
        let reply = Reply::json(status, &shown).header("Location", &format!("{base}/order/{id}"));
        match (&order.stage, self.behaviour.retry_after) {
            (Stage::Processing { .. }, Some(seconds)) => reply.header("Retry-After", &seconds.to_string()),
            (Stage::Processing { .. } | Stage::Open | Stage::Valid { .. }, _) => reply,
        }
    }

    fn look_at_order(&mut self, path: &str) -> Result<Reply, Reply> {
        let id = self.order_of(path)?;
        let endless = self.behaviour.endless;
        if let Stage::Processing { polls, certificate } = &mut self.orders[id].stage {
            if *polls > 0 {
                *polls -= 1;
            } else if !endless {
                self.orders[id].stage = Stage::Valid { certificate: *certificate };
            }
        }
        Ok(self.show_order(id, 200))
    }

    fn authorization(&mut self, path: &str, payload: &Value) -> Result<Reply, Reply> {
        let id = number(path).filter(|id| *id < self.authorizations.len());
        let id = id.ok_or_else(|| Reply::problem(404, "malformed", "no such authorization"))?;
        if payload["status"] == "deactivated" {
            self.authorizations[id].status = Proof::Deactivated;
        }
        let authorization = &self.authorizations[id];
        let (status, word) = (&authorization.status, word(&authorization.status));
        let bare = authorization.name.trim_start_matches("*.");
        let wildcard = bare != authorization.name;
        let address = bare.parse::<std::net::IpAddr>().is_ok();
        let kinds: &[&str] = match (wildcard, address) {
            (true, _) => &["dns-01"],
            (false, true) => &["http-01", "tls-alpn-01"],
            (false, false) => &["dns-01", "http-01", "tls-alpn-01"],
        };
        let challenges: Vec<Value> = kinds.iter().map(|kind| self.show_challenge(id, kind)).collect();
        let mut shown = json!({
            "identifier": {"type": if address { "ip" } else { "dns" }, "value": bare},
            "status": word,
            "expires": (Timestamp::now() + SignedDuration::from_hours(1)).to_string(),
            "challenges": challenges,
        });
        if wildcard {
            shown["wildcard"] = json!(true);
        }
        debug_assert!(!matches!(status, Proof::Invalid(why) if why.is_empty()));
        Ok(Reply::json(200, &shown))
    }

    fn show_challenge(&self, authorization: usize, kind: &str) -> Value {
        let status = &self.authorizations[authorization].status;
        let mut shown = json!({
            "type": kind,
            "url": format!("{}/challenge/{kind}/{authorization}", self.base),
            "token": BASE64.encode(format!("token of authorization {authorization}")),
            "status": if *status == Proof::Deactivated { "invalid" } else { word(status) },
        });
        if let Proof::Invalid(why) = status {
            shown["error"] = problem("unauthorized", why, 403);
        }
        shown
    }

    fn challenge(&mut self, path: &str, payload: &Value) -> Result<Reply, Reply> {
        let id = number(path).filter(|id| *id < self.authorizations.len());
        let id = id.ok_or_else(|| Reply::problem(404, "malformed", "no such challenge"))?;
        let kind = path.split('/').nth(2).unwrap_or_default();
        if payload.is_object() && self.authorizations[id].status == Proof::Pending {
            self.authorizations[id].status =
                self.behaviour.refuse.clone().map_or(Proof::Valid, Proof::Invalid);
        }
        let up = format!("<{}/authorization/{id}>;rel=\"up\"", self.base);
        Ok(Reply::json(200, &self.show_challenge(id, kind)).header("Link", &up))
    }

    fn finalize(&mut self, path: &str, payload: &Value) -> Result<Reply, Reply> {
        let id = self.order_of(path)?;
        let order = &self.orders[id];
        let ready = order.authorizations.iter().all(|a| self.authorizations[*a].status == Proof::Valid);
        if !ready || !matches!(order.stage, Stage::Open) {
            return Err(Reply::problem(403, "orderNotReady", "this order is not ready"));
        }
        let bad = || Reply::problem(400, "badCSR", "the request does not fit its order");
        let csr = payload["csr"].as_str().and_then(|csr| BASE64.decode(csr).ok()).ok_or_else(bad)?;
        let (names, key) = read_csr(&csr).ok_or_else(bad)?;
        if names != order.names {
            return Err(bad());
        }
        let now = Timestamp::now();
        let chain = self.authority.sign(&names, (now, now + self.behaviour.lifetime), &key);
        self.certificates.push(chain.map(|c| c.pem()).concat());
        let certificate = self.certificates.len() - 1;
        let polls = self.behaviour.processing_polls;
        self.orders[id].stage = if polls > 0 || self.behaviour.endless {
            Stage::Processing { polls: polls.saturating_sub(1), certificate }
        } else {
            Stage::Valid { certificate }
        };
        Ok(self.show_order(id, 200))
    }

    fn certificate(&self, path: &str) -> Result<Reply, Reply> {
        let pem = number(path).and_then(|id| self.certificates.get(id));
        let pem = pem.ok_or_else(|| Reply::problem(404, "malformed", "no such certificate"))?;
        let headers = vec![("Content-Type", "application/pem-certificate-chain".to_owned())];
        Ok(Reply { status: 200, headers, body: pem.clone().into_bytes() })
    }

    fn revoke(&mut self, payload: &Value) -> Result<Reply, Reply> {
        let der = payload["certificate"].as_str().and_then(|c| BASE64.decode(c).ok());
        let der = der.ok_or_else(|| Reply::problem(400, "malformed", "no certificate"))?;
        let serial = Leaf::read(&der).serial;
        if self.revoked.iter().any(|(known, _)| *known == serial) {
            return Err(Reply::problem(400, "alreadyRevoked", "it is revoked already"));
        }
        self.revoked.push((serial, payload["reason"].as_u64()));
        Ok(Reply { status: 200, headers: Vec::new(), body: Vec::new() })
    }
}

const fn word(proof: &Proof) -> &'static str {
    match proof {
        Proof::Pending => "pending",
        Proof::Valid => "valid",
        Proof::Invalid(_) => "invalid",
        Proof::Deactivated => "deactivated",
    }
}

/// The number at the end of a path.
fn number(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.parse().ok()
}
