//! Where a client is sent on to: targets with nginx's variables as patterns and targets of ours. Pure.

use crate::import::values::{escaped, replacement};

/// Which requests a block is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Every path that begins so.
    Prefix(String),
    /// This path alone.
    Exact(String),
    /// Paths that fit a pattern.
    Pattern(String),
}

/// A target that a client is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The same place by https, and perhaps at this host.
    Https,
    /// By a pattern.
    To {
        /// The pattern for the path.
        from: String,
        /// Where to.
        to: String,
    },
    /// It cannot be known before a request comes.
    Unknown(String),
}

/// What a target means. `own` is the first name of the server, `tls` whether it speaks TLS.
#[must_use]
pub fn sent(target: &str, held: &Held, own: Option<&str>, tls: bool) -> Sent {
    let mut target = target.replace("${", "$").replace('}', "");
    let scheme = if tls { "https" } else { "http" };
    let host_stays =
        ["$host", "$http_host"].iter().any(|host| target.starts_with(&format!("https://{host}$")));
    if host_stays
        && ["$request_uri", "$uri"].iter().any(|uri| target.ends_with(uri))
        && target.matches('$').count() == 2
    {
        return Sent::Https;
    }
    if let Some(own) = own {
        target = target.replace("$server_name", own);
    }
    target = target.replace("$scheme", scheme);
    let bare = target.replace("$request_uri", "\0").replace("$uri", "\0");
    let whole = bare.contains('\0');
    if held == &Held::Prefix("/".to_owned())
        && own.is_some_and(|own| bare == format!("https://{own}\0"))
        && !tls
    {
        return Sent::Https;
    }
    let captured = matches!(held, Held::Pattern(_));
    let unknown =
        bare.split('$').skip(1).find(|after| !(captured && after.starts_with(|c: char| c.is_ascii_digit())));
    if let Some(after) = unknown {
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
        return Sent::Unknown(format!("${}", &after[..end]));
    }
    let from = match (held, whole) {
        (Held::Prefix(path), false) => format!("^{}", escaped(path)),
        (Held::Exact(path), false) => format!("^{}$", escaped(path)),
        // A path that began with two slashes would lead to another host.
        (Held::Prefix(path), true) => format!("^/({}.*)$", escaped(path.trim_start_matches('/'))),
        (Held::Exact(path), true) => format!("^/({})$", escaped(path.trim_start_matches('/'))),
        (Held::Pattern(pattern), false) => pattern.clone(),
        (Held::Pattern(_), true) => return Sent::Unknown("$request_uri".to_owned()),
    };
    let to = if captured { replacement(&bare) } else { replacement(&bare.replace('\0', "/$1")) };
    Sent::To { from, to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_becomes_a_pattern_and_where_it_leads() {
        let root = Held::Prefix("/".to_owned());
        let old = Held::Exact("/old".to_owned());
        let pattern = Held::Pattern("^/p/(\\d+)$".to_owned());
        let to = |from: &str, to: &str| Sent::To { from: from.to_owned(), to: to.to_owned() };
        for (target, held, own, tls, wanted) in [
            ("https://$host$request_uri", &root, None, false, Sent::Https),
            ("https://$server_name$request_uri", &root, Some("a.example"), false, Sent::Https),
            (
                "https://b.example$request_uri",
                &root,
                Some("a.example"),
                true,
                to("^/(.*)$", "https://b.example/$1"),
            ),
            ("$scheme://b.example/", &old, None, true, to("^/old$", "https://b.example/")),
            ("/new/$1", &pattern, None, false, to("^/p/(\\d+)$", "/new/$1")),
            ("/new/$arg_x", &root, None, false, Sent::Unknown("$arg_x".to_owned())),
            ("/new", &Held::Prefix("/a.b".to_owned()), None, false, to("^/a\\.b", "/new")),
        ] {
            assert_eq!(sent(target, held, own, tls), wanted, "{target}");
        }
    }
}
