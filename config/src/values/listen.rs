//! The values of listeners: where one is, the permissions of its unix socket, and what comes before its requests.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{leaf, number_schema, or_name, text_schema, whole};
use crate::ListenPlace;
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown, record};
use crate::settings::{Listener, ProxyProtocol, SocketMode};

leaf!(ListenPlace, "0.0.0.0:80", |v| Shown::Text(v.to_string()), text_schema("0.0.0.0:80"));

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octal = text.bytes().all(|b| b.is_ascii_digit()).then(|| u32::from_str_radix(text, 8).ok());
        octal.flatten().filter(|mode| *mode <= 0o777).map(Self).ok_or_else(|| {
            format!("{text:?} is no mode of a socket; write three octal digits, for example `660` or `666`")
        })
    }
}
leaf!(
    SocketMode,
    "660",
    |v| Shown::Text(format!("{:03o}", v.0)),
    or_name(json!({"type": ["string", "integer"], "pattern": "^0?[0-7]{3}$", "examples": [660]}))
);

/// The word for listeners without a name.
pub(crate) const DEFAULT: &str = "default";

/// What listeners are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerName(pub(crate) String);

impl FromStr for ListenerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.is_empty() && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no name of a listener; it is made of a-z, 0-9 and -"))
        }
    }
}
leaf!(ListenerName, "internal", |v| Shown::Text(v.0.clone()), text_schema("internal"));

/// How many questions of keep-alive: what the kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probes(pub(crate) u16);

impl FromStr for Probes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 1, 127).map(Self)
    }
}
leaf!(Probes, "6", |v| Shown::Bare(v.0.into()), number_schema(1, 127));

record! {
    /// A plain listener.
    ListenerKeys, "write for example `http: {listen: 10.0.0.1:8080, proxy_protocol: require}`" {
        /// Where it listens: a TCP address, or `unix:/path`.
        listen: ListenPlace;
        /// What applications call it in `listeners` that are served there; those that name none are not.
        name: Option<ListenerName> = None;
        /// Whether connections begin with the client's address: `off`, `require` or `accept` (only from trusted_proxies).
        proxy_protocol: ProxyProtocol = ProxyProtocol::Off;
        /// Who may open a unix socket, in octal. Default 660: its owner and its group.
        mode: Option<SocketMode> = None;
    }
}

impl Setting for Listener {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return ListenPlace::read(node, reader).map(Self::at);
        }
        let ListenerKeys { listen, name, proxy_protocol, mode } = ListenerKeys::read(node, reader)?;
        listener(listen, name, proxy_protocol, mode, node, reader)
    }

    fn show(&self) -> Shown {
        if *self == Self::at(self.listen.clone()) {
            return self.listen.show();
        }
        let (name, mode) = (self.name.clone().map(ListenerName), mode_of(self));
        ListenerKeys { listen: self.listen.clone(), name, proxy_protocol: self.proxy_protocol, mode }.show()
    }

    fn schema() -> Value {
        json!({"anyOf": [ListenPlace::schema(), ListenerKeys::schema()]})
    }
}

/// The mode as it may be written: only a unix socket has one.
pub(super) fn mode_of(listener: &Listener) -> Option<SocketMode> {
    Some(listener.mode).filter(|_| listener.listen.tcp().is_none())
}

/// A listener from its keys. Only a unix socket has a mode.
pub(super) fn listener(
    listen: ListenPlace,
    name: Option<ListenerName>,
    proxy_protocol: ProxyProtocol,
    mode: Option<SocketMode>,
    node: &Node,
    reader: &mut Reader,
) -> Option<Listener> {
    if let Some(written) = node.get("mode").filter(|_| mode.is_some() && listen.tcp().is_some()) {
        let message = "a TCP address has no mode; only a unix socket has one";
        reader.under("mode", |reader| {
            reader.wrong(written, message, "remove the key, or listen on `unix:/path`");
        });
        return None;
    }
    if let Some(written) = node.get("name").filter(|_| name.as_ref().is_some_and(|name| name.0 == DEFAULT)) {
        let message = format!("`{DEFAULT}` means the listeners without a name");
        reader.under("name", |reader| reader.wrong(written, message, "give it another name, or none"));
        return None;
    }
    let name = name.map(|name| name.0);
    Some(Listener { listen, name, proxy_protocol, mode: mode.unwrap_or_default() })
}
