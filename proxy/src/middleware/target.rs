//! Targets: which place a path means, where a request is sent on to, and which target the application sees.
//!
//! All of it is pure. What a client put into its path never leads off this host, nor to another header.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use regex::{Captures, Regex};
use switcher_config::PathPrefix;
use switcher_config::settings::{Redirect, Rewrite};

/// The path may mean another place to the application than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

/// How an application may read a path that decodes escapes, takes `\` for `/`, joins slashes and cuts off parameters: as the
/// segments stand then, and as they are when dots are followed (RFC 3986 sections 3.3, 5.2.4 and 6.2.2). None when there is
/// only one way to read it.
#[must_use]
pub fn readings(path: &str) -> Option<[String; 2]> {
    if !path.contains(['%', '\\', ';']) && !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    let decoded = String::from_utf8_lossy(&decoded);
    let (mut plain, mut followed) = (Vec::new(), Vec::new());
    for segment in decoded.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or(segment);
        if segment.is_empty() {
            continue;
        }
        plain.push(segment);
        match segment {
            "." => {}
            ".." => drop(followed.pop()),
            segment => followed.push(segment),
        }
    }
    Some([plain, followed].map(|segments| format!("/{}", segments.join("/"))))
}

/// Where requests are sent on to.
#[derive(Debug, Default)]
pub struct Redirects(Vec<(Regex, String, StatusCode)>);

impl Redirects {
    /// Prepares what the settings say; their patterns have been checked.
    #[must_use]
    pub fn new(redirects: &[Redirect]) -> Self {
        let prepared = redirects.iter().filter_map(|redirect| {
            let status = StatusCode::from_u16(redirect.status).ok()?;
            Some((Regex::new(&redirect.from).ok()?, redirect.to.clone(), status))
        });
        Self(prepared.collect())
    }

    /// Where a request for this target is sent on to: by the first pattern that fits its path.
    #[must_use]
    pub fn of(&self, target: &Uri) -> Option<(StatusCode, HeaderValue)> {
        let path = target.path();
        self.0.iter().find_map(|(pattern, to, status)| {
            let captures = pattern.captures(path)?;
            let location = on_this_host(to, expanded(&captures, to));
            let location = match target.query() {
                Some(query) if location.contains('?') => format!("{location}&{query}"),
                Some(query) => format!("{location}?{query}"),
                None => location,
            };
            Some((*status, HeaderValue::try_from(location).ok()?))
        })
    }
}

fn expanded(captures: &Captures<'_>, to: &str) -> String {
    let mut expanded = String::new();
    captures.expand(to, &mut expanded);
    expanded
}

/// A path that the client has a part in must not begin as the name of another host does (RFC 3986 section 4.2).
fn on_this_host(to: &str, expanded: String) -> String {
    if !to.starts_with('/') || to.starts_with("//") {
        return expanded;
    }
    format!("/{}", expanded.trim_start_matches(['/', '\\']))
}

/// Which target the application sees.
#[derive(Debug)]
pub struct Rewriting {
    /// What is taken off the front, which the application is told.
    pub strip: Option<PathPrefix>,
    replace: Option<(Regex, String)>,
    prefix: Option<PathPrefix>,
}

impl Rewriting {
    /// Prepares what the settings say; its pattern has been checked.
    #[must_use]
    pub fn new(rewrite: &Rewrite) -> Self {
        let replace = rewrite.replace.as_ref();
        Self {
            strip: rewrite.strip.clone(),
            replace: replace.and_then(|replace| Some((Regex::new(&replace.from).ok()?, replace.to.clone()))),
            prefix: rewrite.prefix.clone(),
        }
    }

    /// Another path, and the same query; none when nothing changes, or what comes of it is no target.
    #[must_use]
    pub fn of(&self, target: &Uri) -> Option<PathAndQuery> {
        let before = target.path();
        let mut path = Cow::Borrowed(before);
        if let Some(rest) = self.strip.as_ref().filter(|strip| strip.matches(before)) {
            path = Cow::Borrowed(&before[rest.as_str().len()..]);
        }
        if let Some((pattern, to)) = &self.replace {
            path = Cow::Owned(pattern.replace_all(&path, to.as_str()).into_owned());
        }
        let front = self.prefix.as_ref().map_or("", PathPrefix::as_str);
        let slash = if path.starts_with('/') { "" } else { "/" };
        if front.is_empty() && slash.is_empty() && path == before {
            return None;
        }
        let target = match target.query() {
            Some(query) => format!("{front}{slash}{path}?{query}"),
            None => format!("{front}{slash}{path}"),
        };
        target.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirects(from: &str, to: &str) -> Redirects {
        Redirects::new(&[Redirect { from: from.into(), to: to.into(), status: 301 }])
    }

    fn location(redirects: &Redirects, target: &str) -> Option<String> {
        let (_, location) = redirects.of(&target.parse().expect("a target"))?;
        Some(location.to_str().expect("text").to_owned())
    }

    #[test]
    fn a_path_is_read_as_lenient_applications_would() {
        for path in ["/", "/a/b", "/a.b/c"] {
            assert_eq!(readings(path), None, "{path}");
        }
        for (path, plain, followed) in [
            ("/%61dmin", "/admin", "/admin"),
            ("//admin//x/", "/admin/x", "/admin/x"),
            ("/admin;x=1/y", "/admin/y", "/admin/y"),
            ("/a/./../admin", "/a/./../admin", "/admin"),
            ("/../../admin", "/../../admin", "/admin"),
            ("/a%2f..%2fadmin", "/a/../admin", "/admin"),
            ("/a%5c..%5cadmin", "/a/../admin", "/admin"),
            ("/%2e%2e;x/admin", "/../admin", "/admin"),
            ("/100%", "/100%", "/100%"),
        ] {
            assert_eq!(readings(path), Some([plain.to_owned(), followed.to_owned()]), "{path}");
        }
    }

    #[test]
    fn a_request_is_sent_on_with_what_was_caught_and_its_query() {
        let moved = redirects("^/old/(.*)$", "/new/$1");
        assert_eq!(location(&moved, "/old/a%20b?x=1").as_deref(), Some("/new/a%20b?x=1"));
        assert_eq!(location(&moved, "/older"), None);
        let elsewhere = redirects("^/blog/([0-9]+)", "https://blog.example.com/?post=${1}");
        assert_eq!(
            location(&elsewhere, "/blog/12?y").as_deref(),
            Some("https://blog.example.com/?post=12&y")
        );
    }

    #[test]
    fn nobody_is_led_off_this_host_by_what_the_client_wrote() {
        for path in ["/old//evil.example", "/old/\\evil.example", "/old////evil.example"] {
            let moved = redirects("^/old(.*)$", "/$1");
            let location = location(&moved, path).expect("it fits");
            assert!(location == "/evil.example", "{path} leads to {location}");
        }
    }

    #[test]
    fn the_application_sees_what_is_left_after_strip_replace_and_prefix() {
        let path = |text: &str| Some(text.parse::<PathPrefix>().expect("a path"));
        let seen = |rewrite: &Rewrite, target: &str| {
            Rewriting::new(rewrite).of(&target.parse().expect("a target")).map(|uri| uri.to_string())
        };
        let strip = Rewrite { strip: path("/api"), ..Rewrite::default() };
        assert_eq!(seen(&strip, "/api/users?x=1").as_deref(), Some("/users?x=1"));
        assert_eq!(seen(&strip, "/api").as_deref(), Some("/"));
        assert_eq!(seen(&strip, "/apiary"), None);
        let replace = Some(switcher_config::settings::Replace { from: "^/v1/".into(), to: "/v2/".into() });
        let all = Rewrite { strip: path("/api"), replace, prefix: path("/inner") };
        assert_eq!(seen(&all, "/api/v1/users").as_deref(), Some("/inner/v2/users"));
        assert_eq!(seen(&all, "/v3?q").as_deref(), Some("/inner/v3?q"));
    }
}
