//! Orders, their authorizations and challenges, as the fake authority handles them (RFC 8555 sections 7.4 and 7.5).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::reply::{Reply, problem};
use super::request::read_csr;
use super::state::{Authorization, Order, Proof, Stage, State, number};

impl State {
    pub(super) fn new_order(&mut self, account: usize, payload: &Value) -> Result<Reply, Reply> {
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

    pub(super) fn look_at_order(&mut self, path: &str) -> Result<Reply, Reply> {
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

    pub(super) fn authorization(&mut self, path: &str, payload: &Value) -> Result<Reply, Reply> {
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

    pub(super) fn challenge(&mut self, path: &str, payload: &Value) -> Result<Reply, Reply> {
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

    pub(super) fn finalize(&mut self, path: &str, payload: &Value) -> Result<Reply, Reply> {
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
}

const fn word(proof: &Proof) -> &'static str {
    match proof {
        Proof::Pending => "pending",
        Proof::Valid => "valid",
        Proof::Invalid(_) => "invalid",
        Proof::Deactivated => "deactivated",
    }
}
