//! What a registry's 401 asks for: the header `WWW-Authenticate` (RFC 9110, section 11). Pure.

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token from a service.
    Bearer {
        /// The service's address.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
    },
}

/// The best of what the headers ask for: a token rather than a password.
pub(super) fn challenge<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(char::is_whitespace).unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let parameters = parameters(rest);
            let value = |name: &str| {
                let named = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
                parameters.iter().find(named).map(|(_, value)| value.clone())
            };
            if let Some(realm) = value("realm") {
                return Some(Challenge::Bearer { realm, service: value("service") });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            found = Some(Challenge::Basic);
        }
    }
    found
}

/// `realm="https://auth.example.com/token",service=registry`; quoted values may hold commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.trim().to_owned(), value));
        rest = after.trim_start_matches([' ', ',']);
    }
    found
}

/// The value up to the closing quote, and what follows it.
fn quoted_value(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => return (value, &text[at + 1..]),
            (true | false, _) => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_real_registries_are_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (headers, expected) in [
            (
                vec![
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
                ],
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (vec!["Bearer realm=https://a/t , service=b"], bearer("https://a/t", Some("b"))),
            (vec![r#"bearer service="a,b \"c\"", realm="r""#], bearer("r", Some("a,b \"c\""))),
            (vec![r#"Basic realm="x""#, r#"Bearer realm="r""#], bearer("r", None)),
            (vec!["BASIC"], Some(Challenge::Basic)),
            (vec![r#"Bearer service="none""#], None),
            (vec!["Negotiate", ""], None),
            (vec![r#"Bearer realm="unclosed"#], bearer("unclosed", None)),
        ] {
            assert_eq!(challenge(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
