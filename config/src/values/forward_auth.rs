//! The values of forward authentication: whom to ask, and which headers travel.

use std::str::FromStr;

use serde_json::{Value, json};

use super::acme::{is_web_address, told_url};
use super::{Header, leaf, or_name, text_schema};
use crate::node::Node;
use crate::reader::Reader;
use crate::request::RequestHeaders;
use crate::section::{Setting, Shown};
use crate::{UpstreamAddress, UpstreamProtocol};

/// An http:// or https:// URL that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AskedUrl {
    /// Whom to ask.
    pub(crate) address: UpstreamAddress,
    /// What for: path and query.
    pub(crate) target: String,
}

fn parse(text: &str) -> Option<AskedUrl> {
    let (scheme, rest) = text.split_once("://").filter(|_| is_web_address(text))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = match scheme {
        _ if has_port => "",
        "https" => ":443",
        _ => ":80",
    };
    let address = format!("{scheme}://{authority}{port}").parse().ok()?;
    let slash = if target.starts_with('/') { "" } else { "/" };
    Some(AskedUrl { address, target: format!("{slash}{target}") })
}

impl Setting for AskedUrl {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`http://127.0.0.1:9091/verify`")?;
        if let Some(url) = parse(text) {
            return Some(url);
        }
        let message = format!("{} is no http:// or https:// URL", told_url(node, text));
        let hint = "write for example `http://127.0.0.1:9091/verify`, without a user, password or `#`";
        reader.wrong(node, message, hint);
        None
    }

    fn show(&self) -> Shown {
        let scheme = if self.address.protocol() == UpstreamProtocol::Https { "https" } else { "http" };
        Shown::Text(format!("{scheme}://{}{}", self.address.authority(), self.target))
    }

    fn schema() -> Value {
        or_name(json!({"type": "string", "pattern": "^https?://"}))
    }
}

/// The name of a header that may be copied from one message to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied(pub(crate) String);

impl FromStr for Copied {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Header(name) = text.parse()?;
        match RequestHeaders::objection(&name, "") {
            Some(why) => Err(format!("{text:?} {why}; leave it out")),
            None => Ok(Self(name)),
        }
    }
}
leaf!(Copied, "X-User", |v| Shown::Text(v.0.clone()), text_schema("X-User"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_whom_to_ask_and_what_for() {
        for (text, address, target) in [
            ("http://127.0.0.1:9091/verify?x=1", "127.0.0.1:9091", "/verify?x=1"),
            ("http://auth", "auth:80", "/"),
            ("https://auth.example.com?rd=1", "https://auth.example.com:443", "/?rd=1"),
            ("http://[::1]/", "[::1]:80", "/"),
            ("http://[::1]:81", "[::1]:81", "/"),
        ] {
            let url = parse(text).expect(text);
            assert_eq!((url.address.to_string().as_str(), url.target.as_str()), (address, target), "{text}");
            let Shown::Text(shown) = url.show() else { panic!("a text") };
            assert_eq!(parse(&shown), Some(url), "{text} is shown as what it is");
        }
        for bad in
            ["auth:80/", "ftp://auth/", "http://", "http://u:p@auth/", "http://a/#x", "http://a:99999/"]
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
