//! Properties of the rules: nothing panics, what passes is read by another parser in the same way, and a body ends
//! where a plain decoder says, however its bytes are cut.

use proptest::prelude::*;

use super::{Chunks, Framing, HeadLimits, Violation, check_head, check_start, end_of_head, skip_blank};

const LIMITS: HeadLimits = HeadLimits { size: 4096, count: 16, target: 512 };

/// Pieces of heads, good and bad, of which any sequence may come.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"GET "[..],
        b"POST ",
        b"OPTIONS ",
        b"/",
        b"/a?b",
        b"*",
        b"http://a/",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: a\r\n",
        b"Host: b\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Upgrade: websocket\r\n",
        b"X: y\r\n",
        b"\t",
        b" ",
        b":",
        b"\0",
        b"\xff",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
    ]);
    prop_oneof![8 => known.prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..4)]
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let begin = prop_oneof![
        3 => Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        1 => Just(Vec::new()),
    ];
    let value = prop::collection::vec(prop_oneof![any::<u8>(), 0x20_u8..0x7f], 0..20);
    let line = (prop::sample::select(vec!["X", "X-Y", "Accept", "cookie"]), value)
        .prop_map(|(name, value)| [name.as_bytes(), b": ", &value, b"\r\n"].concat());
    (begin, prop::collection::vec(prop_oneof![piece(), line], 0..6))
        .prop_map(|(begin, pieces)| [begin, pieces.concat(), b"\r\n".to_vec()].concat())
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), seen in 0_usize..400) {
        let end = end_of_head(&bytes, seen);
        prop_assert!(end.is_none_or(|end| end <= bytes.len()));
        prop_assert!(skip_blank(&bytes) <= bytes.len());
        let _ = (check_head(&bytes, &LIMITS), check_start(&bytes, &LIMITS));
        let fed = Chunks::new().feed(&bytes);
        prop_assert!(fed.is_err() || fed.is_ok_and(|(used, _)| used <= bytes.len()));
    }

    /// Whatever passes is one whole request to another parser, with the same lines; and it holds no line end but CR LF.
    #[test]
    fn what_passes_is_read_alike(head in heads()) {
        let Some(end) = end_of_head(&head, 0) else { return Ok(()) };
        let head = &head[..end];
        let Ok(framing) = check_head(head, &LIMITS) else { return Ok(()) };
        let mut lines = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut lines);
        prop_assert_eq!(parsed.parse(head), Ok(httparse::Status::Complete(head.len())));
        let feeds = head.iter().filter(|b| **b == b'\n').count();
        let ends = head.windows(2).filter(|w| w == b"\r\n").count();
        let returns = head.iter().filter(|b| **b == b'\r').count();
        prop_assert_eq!((feeds, returns), (ends, ends));
        prop_assert_eq!(parsed.headers.len() + 2, ends);
        let all = |name: &str| parsed.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        prop_assert!(lengths + codings <= 1);
        prop_assert_eq!(framing == Framing::Chunked, codings == 1);
        prop_assert!(all("host") == 1 || parsed.version == Some(0));
    }

    #[test]
    fn the_end_of_a_head_does_not_depend_on_its_pieces(head in heads(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(head.len() + 1);
        let piecewise = end_of_head(&head[..cut], 0).or_else(|| end_of_head(&head, cut));
        prop_assert_eq!(piecewise, end_of_head(&head, 0));
    }

    /// The tracker ends where a plain decoder ends, and breaks off where it does, at any split.
    #[test]
    fn a_body_ends_where_a_plain_decoder_says(
        bytes in bodies(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        prop_assert_eq!(piecewise(&bytes, &cuts).ok(), decode(&bytes));
    }
}

/// Feeds a body in pieces: how many bytes were taken, and whether it ended.
fn piecewise(bytes: &[u8], cuts: &[usize]) -> Result<(usize, bool), Violation> {
    let mut chunks = Chunks::new();
    let mut from = 0;
    for &cut in cuts {
        let (used, ended) = chunks.feed(&bytes[from..cut])?;
        from += used;
        if ended {
            return Ok((from, true));
        }
    }
    Ok((from, false))
}

/// Bodies, most of them good, some with a byte changed, all followed by something else.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop::sample::select(vec!["", ";a", ";a=b", " ;a", ";a=\"b c\""]);
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), extension, any::<bool>()).prop_map(
        |(data, extension, upper)| {
            let size = if upper { format!("{:X}", data.len()) } else { format!("0{:x}", data.len()) };
            [size.as_bytes(), extension.as_bytes(), b"\r\n", &data, b"\r\n"].concat()
        },
    );
    let trailers = prop::sample::select(vec!["", "X: y\r\n", "A:\r\nB: c d\r\n", "Host: a\r\n"]);
    let body = (prop::collection::vec(chunk, 0..5), trailers).prop_map(|(chunks, trailers)| {
        [chunks.concat(), b"0\r\n".to_vec(), trailers.into(), b"\r\nGET /".to_vec()].concat()
    });
    (body, prop::option::weighted(0.5, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |(mut body, damage)| {
            if let Some((at, byte)) = damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            body
        },
    )
}

/// A plain decoder that looks at all bytes at once: where the body ends, or how far it goes; `None` when it is bad.
fn decode(bytes: &[u8]) -> Option<(usize, bool)> {
    let unfinished = Some((bytes.len(), false));
    let mut at = 0;
    loop {
        let Some(line) = line(&bytes[at..], is_size_line)? else { return unfinished };
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        let rest = bytes.get(at.checked_add(size)?..).unwrap_or_default();
        if !b"\r\n".starts_with(&rest[..rest.len().min(2)]) {
            return None;
        }
        if rest.len() < 2 {
            return unfinished;
        }
        at += size + 2;
    }
    loop {
        let Some(line) = line(&bytes[at..], is_trailer_line)? else { return unfinished };
        at += line.len() + 2;
        if line.is_empty() {
            return Some((at, true));
        }
    }
}

/// The first line when it is whole and good; an inner `None` when it may still become so.
fn line(bytes: &[u8], good: fn(&[u8], bool) -> bool) -> Option<Option<&[u8]>> {
    let end = bytes.iter().position(|b| *b == b'\r').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    match rest {
        [] => good(line, false).then_some(None),
        [b'\r'] => good(line, true).then_some(None),
        [b'\r', b'\n', ..] => good(line, true).then_some(Some(line)),
        _ => None,
    }
}

fn is_size_line(line: &[u8], whole: bool) -> bool {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = &line[digits..];
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let extension = &rest[blanks..];
    let readable = extension.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    let begun = if extension.is_empty() { blanks == 0 || !whole } else { extension[0] == b';' && readable };
    digits <= 15 && begun && (digits > 0 || !whole && line.is_empty())
}

fn is_trailer_line(line: &[u8], whole: bool) -> bool {
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let name = line.iter().take_while(|b| token(b)).count();
    match &line[name..] {
        [] => !whole || name == 0,
        [b':', value @ ..] => {
            let forbidden =
                line[..name].eq_ignore_ascii_case(b"host") || line[..name].eq_ignore_ascii_case(b"te");
            name > 0 && !forbidden && value.iter().all(|b| *b >= b' ' && *b != 0x7f || *b == b'\t')
        }
        _ => false,
    }
}

#[test]
fn a_plain_decoder_refuses_what_it_must() {
    for bad in ["x", "5\n", "5\r\nhelloX", "0\r\nHost: a\r\n", "0\r\n\n", "5 \r\n"] {
        assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(decode(b"5;a\r\nhello\r\n0\r\nX: y\r\n\r\nGET"), Some((23, true)));
}
