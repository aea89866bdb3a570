//! Answers of upstreams that lie: no client ever sees the bytes of another's answer.

use switcher_tests::http1::{Http1, request};
use switcher_tests::{Raw, Setup};

/// An answer to somebody else, hidden where a careless proxy leaves it in a pooled connection.
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Stray: 1\r\n\r\nstray!";

/// What lying upstreams say to a request for `/lie`.
fn lies() -> Vec<(&'static str, String)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    vec![
        ("bytes behind the answer", format!("{ok}Content-Length: 2\r\n\r\nok{STRAY}")),
        (
            "bytes behind the chunks",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{STRAY}"),
        ),
        (
            "a 204 with a body",
            format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{STRAY}", STRAY.len()),
        ),
        (
            "a 304 with a body",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{STRAY}", STRAY.len()),
        ),
        (
            "a 204 with chunks",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a 103 with a length",
            format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok{ok}Content-Length: 2\r\n\r\nok"),
        ),
        ("two lengths", format!("{ok}Content-Length: 2\r\nContent-Length: {}\r\n\r\nok{STRAY}", STRAY.len())),
        ("a list of lengths", format!("{ok}Content-Length: 2, 50\r\n\r\nok{STRAY}")),
        (
            "a length beside chunks",
            format!("{ok}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{STRAY}"),
        ),
        ("a length with a plus", format!("{ok}Content-Length: +2\r\n\r\nok{STRAY}")),
        ("a length with a minus", format!("{ok}Content-Length: -2\r\n\r\nok{STRAY}")),
        (
            "a coding that is not known",
            format!("{ok}Transfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{STRAY}"),
        ),
        (
            "a chunk without a size",
            format!("{ok}Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n{STRAY}"),
        ),
        ("NUL in a value", format!("{ok}X: a\0b\r\nContent-Length: 2\r\n\r\nok{STRAY}")),
        ("CR in a value", format!("{ok}X: a\rX-Stray: b\r\nContent-Length: 2\r\n\r\nok{STRAY}")),
        ("a folded value", format!("{ok}X: a\r\n X-Stray: b\r\nContent-Length: 2\r\n\r\nok{STRAY}")),
        ("a blank before a colon", format!("{ok}Content-Length : 2\r\n\r\nok{STRAY}")),
        ("garbage", "\0\x01\x02garbage\r\n\r\n".to_owned()),
        ("a status of letters", format!("HTTP/1.1 abc OK\r\n\r\n{STRAY}")),
        ("a version of its own", format!("HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok{STRAY}")),
        ("nothing", String::new()),
        (
            "a 101 that was not asked for",
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{STRAY}"
            ),
        ),
    ]
}

/// Every client of a proxy before a lying upstream gets its own answer or an error, whatever was left behind by others.
async fn what_others_get(name: &str, lie: String) -> Option<String> {
    let upstream = Raw::start(move |mut conversation| {
        let lie = lie.clone();
        async move {
            while let Some(received) = conversation.request().await {
                let target = received.head.target().to_owned();
                if target.starts_with("/lie") {
                    let _ = conversation.wire.try_send(lie.as_bytes()).await;
                    if lie.is_empty() {
                        return;
                    }
                } else {
                    conversation.answer(&target).await;
                }
            }
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let mut liar = Http1::connect(proxy.http()).await;
    let _ = liar.try_send(&request("GET", "/lie", &[], b"")).await;
    let first = liar.try_head().await.ok().flatten();
    let unasked = first.as_ref().is_some_and(|head| head.get("x-stray").is_some());
    // The lie is its own client's: what others get is what counts.
    for number in 0..4 {
        let path = format!("/own-{number}");
        let mut client = Http1::connect(proxy.http()).await;
        let answer = client.try_exchange(&request("GET", &path, &[], b"")).await;
        let text = answer.map_or_else(|e| e.to_string(), |a| format!("{} {}", a.status, a.text()));
        if text != format!("200 {path}") {
            return Some(format!("{name}: {path} got {text:?}"));
        }
    }
    unasked.then(|| format!("{name}: a header out of a value reached the client"))
}

#[tokio::test]
async fn no_client_sees_the_answer_of_another() {
    let mut bad = Vec::new();
    for (name, lie) in lies() {
        bad.extend(what_others_get(name, lie).await);
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
