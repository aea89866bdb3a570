//! What the fake authority knows, and what it answers: no sockets here.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::reply::Reply;
use super::request::ari_id;
use super::{Behaviour, Came, Kind, Ordered, Trouble};
use crate::acme::authority::Authority;
use crate::acme::strict::Leaf;

/// Everything the authority knows.
pub(super) struct State {
    pub(super) base: String,
    pub(super) authority: Arc<Authority>,
    pub(super) behaviour: Behaviour,
    pub(super) came: Vec<Came>,
    pub(super) held: usize,
    pub(super) accounts: Vec<Value>,
    pub(super) orders: Vec<Order>,
    pub(super) authorizations: Vec<Authorization>,
    pub(super) certificates: Vec<String>,
    pub(super) revoked: Vec<(String, Option<u64>)>,
    nonces: HashSet<String>,
    nonces_made: u64,
    nonces_used: u32,
}

/// An order.
pub(super) struct Order {
    pub(super) account: usize,
    pub(super) names: Vec<String>,
    pub(super) profile: Option<String>,
    pub(super) replaces: Option<String>,
    pub(super) authorizations: Vec<usize>,
    pub(super) stage: Stage,
}

/// How far an order is, once its authorizations are valid.
pub(super) enum Stage {
    Open,
    Processing { polls: u32, certificate: usize },
    Valid { certificate: usize },
}

/// What has to be proven for one name.
pub(super) struct Authorization {
    pub(super) name: String,
    pub(super) status: Proof,
}

/// How far the proof is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
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

/// The number at the end of a path.
pub(super) fn number(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.parse().ok()
}
