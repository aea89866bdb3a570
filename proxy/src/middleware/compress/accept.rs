//! What a client takes: `Accept-Encoding` (RFC 9110 section 12.5.3).
//!
//! Whoever says nothing gets nothing: clients that take a coding say so.

use http::header::{self, HeaderMap};
use switcher_config::settings::Coding;

/// A weight in thousandths, as many as it can say.
type Weight = u16;

/// The coding that the client likes best, and of those that it likes as much the first.
pub(super) fn preferred(request: &HeaderMap, offered: &[Coding]) -> Option<Coding> {
    let mut best: Option<(Weight, Coding)> = None;
    for coding in offered {
        let weight = weight_of(request, coding.name()).or_else(|| weight_of(request, "*")).unwrap_or(0);
        if weight > best.map_or(0, |(most, _)| most) {
            best = Some((weight, *coding));
        }
    }
    // To leave the body as it is may be what is liked better.
    best.filter(|(weight, _)| weight_of(request, "identity").is_none_or(|as_it_is| as_it_is <= *weight))
        .map(|(_, coding)| coding)
}

/// What the client says of a coding, if it says anything.
fn weight_of(request: &HeaderMap, name: &str) -> Option<Weight> {
    let lists = request.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).find_map(|element| {
        let (coding, parameters) = element.split_once(';').unwrap_or((element, ""));
        let coding = coding.trim();
        // Its old name (RFC 9110 section 8.4.1.3).
        let coding = if coding.eq_ignore_ascii_case("x-gzip") { "gzip" } else { coding };
        coding.eq_ignore_ascii_case(name).then(|| weight(parameters))
    })
}

/// The weight behind a coding: 1 when there is none, 0 when it cannot be read.
fn weight(parameters: &str) -> Weight {
    let Some((name, value)) = parameters.split_once('=') else {
        return if parameters.trim().is_empty() { 1000 } else { 0 };
    };
    if !name.trim().eq_ignore_ascii_case("q") {
        return 0;
    }
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let digits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let part = format!("{part:0<3}").parse().ok().filter(|_| digits);
    match (whole, part) {
        ("0", Some(part)) => part,
        ("1", Some(0)) => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn chosen(accept: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for list in accept {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(list).expect("a header"));
        }
        let offered = [Coding::Zstd(3), Coding::Brotli(4), Coding::Gzip(5)];
        preferred(&headers, &offered).map(Coding::name)
    }

    #[test]
    fn the_weight_counts_first_and_then_the_order_of_the_server() {
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("gzip;q=1.0, br;q=0.9", Some("gzip")),
            ("gzip;q=0.5,zstd;q=0.501", Some("zstd")),
            ("GZIP", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.1, gzip", Some("gzip")),
            ("zstd;q=0, *", Some("br")),
            ("gzip ; Q=0.2", Some("gzip")),
            ("identity;q=0, gzip;q=0.1", Some("gzip")),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
        ] {
            assert_eq!(chosen(&[accept]), coding, "{accept}");
        }
        assert_eq!(chosen(&["deflate", "gzip"]), Some("gzip"));
    }

    #[test]
    fn what_is_refused_or_unreadable_is_not_taken() {
        for accept in [
            "",
            "identity",
            "deflate",
            "gzip;q=0",
            "gzip;q=0.000",
            "*;q=0",
            "identity;q=0",
            "gzip;q=2",
            "gzip;q=0.1234",
            "gzip;q",
            "gzip;x=1",
            "gzip;q=-1",
            "gz ip",
        ] {
            assert_eq!(chosen(&[accept]), None, "{accept}");
        }
        assert_eq!(chosen(&[]), None);
    }
}
