//! CORS: which pages of other origins may read answers (Fetch standard, "CORS protocol").
//!
//! It keeps nobody from asking who is no browser; it tells browsers which pages may see what comes back. What an
//! application says of it is replaced, so that there is one word. A preflight is answered here, before any login: browsers
//! ask it without one.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use switcher_config::settings::{Cors as Settings, Origin, Those};

use super::vary::vary;

/// What a place says to pages of other origins.
#[derive(Debug)]
pub struct Cors {
    origins: Those<Origin>,
    /// `None` stands for those that are asked for.
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    pub(super) fn new(settings: &Settings) -> Self {
        let listed = |those: &Those<String>| match those {
            Those::Any => None,
            // Names of methods and headers, so it is one.
            Those::These(list) => HeaderValue::try_from(list.join(", ")).ok(),
        };
        let expose = listed(&settings.expose).unwrap_or(HeaderValue::from_static("*"));
        Self {
            origins: settings.origins.clone(),
            methods: listed(&settings.methods),
            headers: listed(&settings.headers),
            expose: Some(expose).filter(|names| !names.is_empty()),
            credentials: settings.credentials,
            max_age: HeaderValue::from(settings.max_age.0.as_secs()),
        }
    }

    /// The origin that may read the answer to a request, as the answer says it; `None` when none may.
    #[must_use]
    pub fn allows(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        match &self.origins {
            Those::Any => Some(HeaderValue::from_static("*")),
            Those::These(origins) => {
                let text = origin.to_str().ok()?;
                origins.iter().any(|one| one.matches(text)).then(|| origin.clone())
            }
        }
    }

    /// Tells a browser who may read an answer, in the place of what the application says.
    ///
    /// # Errors
    /// Never with the names below; Pingora asks for it.
    pub fn dress(&self, answer: &mut ResponseHeader, allowed: Option<&HeaderValue>) -> Result<()> {
        for name in &OF_ANSWERS {
            answer.remove_header(name);
        }
        if matches!(self.origins, Those::These(_)) {
            vary(answer, "origin")?;
        }
        let Some(origin) = allowed else { return Ok(()) };
        answer.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
        if self.credentials {
            answer.insert_header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")?;
        }
        if let Some(names) = &self.expose {
            answer.insert_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, names)?;
        }
        Ok(())
    }

    /// The answer to a preflight, but for what [`Cors::dress`] adds. A page that may not ask is told nothing.
    ///
    /// # Errors
    /// Never with the names below; Pingora asks for it.
    pub fn preflight(&self, request: &HeaderMap, allowed: Option<&HeaderValue>) -> Result<ResponseHeader> {
        let mut answer = ResponseHeader::build(StatusCode::NO_CONTENT, Some(8))?;
        let asked = [
            (&self.methods, header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
            (&self.headers, header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
        ];
        for (listed, wish, grant) in asked {
            let granted = listed.as_ref().or_else(|| request.get(&wish).filter(|names| are_names(names)));
            if listed.is_none() {
                vary(&mut answer, wish.as_str())?;
            }
            if let Some(names) = granted.filter(|names| allowed.is_some() && !names.is_empty()) {
                answer.insert_header(grant, names)?;
            }
        }
        if allowed.is_some() {
            answer.insert_header(header::ACCESS_CONTROL_MAX_AGE, &self.max_age)?;
        }
        Ok(answer)
    }
}

/// Whether a browser asks what a page may ask. Any other OPTIONS is the application's.
#[must_use]
pub fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && request.contains_key(header::ORIGIN)
        && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What is said beside an answer that is no preflight's.
static OF_ANSWERS: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

/// Whether a wish holds names of methods or headers and nothing else.
fn are_names(value: &HeaderValue) -> bool {
    let byte = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(b);
    value.as_bytes().iter().all(byte)
}

#[cfg(test)]
mod tests {
    use switcher_config::Span;

    use super::*;

    fn cors(origins: Those<Origin>, names: Those<String>, credentials: bool) -> Cors {
        let max_age = Span::seconds(60);
        Cors::new(&Settings {
            origins,
            methods: names.clone(),
            headers: names.clone(),
            expose: names,
            credentials,
            max_age,
        })
    }

    fn listed() -> Cors {
        let origin = Origin::Exact("https://app.example".into());
        cors(Those::These(vec![origin]), Those::These(vec!["X-A".into(), "X-B".into()]), true)
    }

    fn asking(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn said(answer: &ResponseHeader) -> Vec<String> {
        let pairs =
            answer.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
        let mut pairs: Vec<String> = pairs.collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn what_the_application_says_is_replaced_whether_the_page_may_read_it_or_not() {
        let cors = listed();
        for (origin, told) in [("https://app.example", true), ("https://evil.test", false), ("null", false)] {
            let mut answer = ResponseHeader::build(200, None).expect("a head");
            for name in &OF_ANSWERS {
                answer.insert_header(name, "*").expect("a header");
            }
            answer.insert_header("vary", "accept, ORIGIN").expect("a header");
            cors.dress(&mut answer, cors.allows(&asking(&[("origin", origin)])).as_ref()).expect("dressed");
            let mut expected = vec!["vary: accept, ORIGIN"];
            if told {
                expected.splice(
                    0..0,
                    [
                        "access-control-allow-credentials: true",
                        "access-control-allow-origin: https://app.example",
                        "access-control-expose-headers: X-A, X-B",
                    ],
                );
            }
            assert_eq!(said(&answer), expected, "{origin}");
        }
    }

    #[test]
    fn an_answer_says_that_it_depends_on_the_origin_also_to_who_names_none() {
        let mut answer = ResponseHeader::build(200, None).expect("a head");
        listed().dress(&mut answer, None).expect("dressed");
        assert_eq!(said(&answer), ["vary: origin"]);
        let mut answer = ResponseHeader::build(200, None).expect("a head");
        let any = cors(Those::Any, Those::These(Vec::new()), false);
        any.dress(&mut answer, any.allows(&asking(&[("origin", "null")])).as_ref()).expect("dressed");
        assert_eq!(said(&answer), ["access-control-allow-origin: *"], "it is the same for all");
    }

    #[test]
    fn a_preflight_lists_what_may_be_asked_or_says_yes_to_names() {
        let request = asking(&[
            ("origin", "https://app.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-one, x-two"),
        ]);
        let cors_listed = listed();
        let allowed = cors_listed.allows(&request);
        assert_eq!(
            said(&cors_listed.preflight(&request, allowed.as_ref()).expect("a head")),
            [
                "access-control-allow-headers: X-A, X-B",
                "access-control-allow-methods: X-A, X-B",
                "access-control-max-age: 60"
            ]
        );
        assert!(said(&cors_listed.preflight(&request, None).expect("a head")).is_empty());
        let any = cors(Those::Any, Those::Any, false);
        let answer = any.preflight(&request, any.allows(&request).as_ref()).expect("a head");
        assert_eq!(answer.headers["access-control-allow-headers"], "x-one, x-two");
        assert_eq!(answer.headers["access-control-allow-methods"], "PUT");
        let odd = asking(&[("origin", "null"), ("access-control-request-method", "<script>")]);
        let answer = any.preflight(&odd, any.allows(&odd).as_ref()).expect("a head");
        assert!(!answer.headers.contains_key("access-control-allow-methods"));
    }

    #[test]
    fn only_what_browsers_ask_is_a_preflight() {
        let whole = asking(&[("origin", "null"), ("access-control-request-method", "PUT")]);
        assert!(is_preflight(&Method::OPTIONS, &whole) && !is_preflight(&Method::GET, &whole));
        for part in [asking(&[("origin", "null")]), asking(&[("access-control-request-method", "PUT")])] {
            assert!(!is_preflight(&Method::OPTIONS, &part));
        }
    }
}
