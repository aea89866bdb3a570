//! The fake authority's answers: JSON, problem documents, and what a machine in between says.

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

/// An answer in the making.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }

    /// A problem document (RFC 8555 section 6.7).
    pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let mut reply = Self::json(status, &problem(kind, detail, status));
        reply.headers[0].1 = "application/problem+json".to_owned();
        reply
    }

    /// What a machine in between says.
    pub(super) fn html() -> Self {
        let body = b"<!doctype html><title>Welcome</title><p>This network asks you to sign in.".to_vec();
        Self { status: 200, headers: vec![("Content-Type", "text/html".to_owned())], body }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The first half of it, as if that were all.
    pub(super) fn halved(mut self) -> Self {
        self.body.truncate(self.body.len() / 2);
        self
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body.into())).expect("an answer")
    }
}

pub(super) fn problem(kind: &str, detail: &str, status: u16) -> Value {
    json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail, "status": status})
}
