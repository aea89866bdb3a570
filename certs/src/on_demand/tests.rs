//! A real HTTP server is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switcher_config::Span;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::*;

/// Answers `GET /ask?domain=NAME` by the first part of the name; a permit is taken before each answer.
struct Asked {
    url: String,
    count: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

impl Asked {
    async fn start(answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/ask?from=switcher", listener.local_addr().expect("an address"));
        let (count, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(answers)));
        let (counted, permits) = (Arc::clone(&count), Arc::clone(&answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&counted), Arc::clone(&permits)));
            }
        });
        Self { url, count, answers }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn client(&self, limit: u32) -> OnDemand {
        OnDemand::new(&settings(&self.url, limit)).expect("a client")
    }
}

async fn answer(stream: TcpStream, count: Arc<AtomicUsize>, answers: Arc<Semaphore>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await.ok()?;
    count.fetch_add(1, Ordering::SeqCst);
    answers.acquire().await.ok()?.forget();
    let name = request.strip_prefix("GET /ask?from=switcher&domain=").expect("the question");
    let status = match name.split('.').next().unwrap_or_default() {
        "yes" => "204 No Content",
        "moved" => "302 Found\r\nLocation: /yes",
        "broken" => "500 Internal Server Error",
        _ => "403 Forbidden",
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()
}

fn settings(ask: &str, limit: u32) -> settings::OnDemand {
    let (window, refusal) = (Span::seconds(3600), Span::seconds(300));
    settings::OnDemand { ask: ask.to_owned(), limit, window, refusal }
}

#[tokio::test]
async fn only_a_success_allows_a_name_and_a_redirect_is_none() {
    let asked = Asked::start(100).await;
    let on_demand = asked.client(20);
    assert_eq!(on_demand.allow("YES.example").await, Ok(()));
    for (name, words) in [
        ("no.example", "the ask URL does not allow no.example: it answers 403"),
        ("moved.example", "the ask URL does not allow moved.example: it answers 302"),
        (
            "broken.example",
            "the ask URL could not be asked about broken.example: it answers 500; check `acme.on_demand.ask`",
        ),
    ] {
        let first = on_demand.allow(name).await.expect_err("refused");
        assert_eq!(first.to_string(), words);
        let before = asked.count();
        assert_eq!(on_demand.allow(name).await, Err(first));
        assert_eq!(asked.count(), before, "remembered");
    }
}

#[tokio::test]
async fn many_first_handshakes_for_one_name_ask_once() {
    let asked = Asked::start(0).await;
    for (name, allowed) in [("yes.example", true), ("no.example", false)] {
        let on_demand = Arc::new(asked.client(1));
        let before = asked.count();
        let visitors: Vec<_> = (0..50)
            .map(|_| {
                let on_demand = Arc::clone(&on_demand);
                tokio::spawn(async move { on_demand.allow(name).await })
            })
            .collect();
        while asked.count() == before {
            tokio::task::yield_now().await;
        }
        asked.answers.add_permits(1);
        for visitor in visitors {
            assert_eq!(visitor.await.expect("no panic").is_ok(), allowed);
        }
        assert_eq!(asked.count(), before + 1);
    }
}

#[tokio::test]
async fn a_visitor_who_leaves_lets_the_next_one_ask() {
    let asked = Asked::start(0).await;
    let on_demand = Arc::new(asked.client(20));
    let visit = |on_demand: &Arc<OnDemand>| {
        let on_demand = Arc::clone(on_demand);
        tokio::spawn(async move { on_demand.allow("yes.example").await })
    };
    let first = visit(&on_demand);
    while asked.count() == 0 {
        tokio::task::yield_now().await;
    }
    let second = visit(&on_demand);
    first.abort();
    while asked.count() == 1 {
        tokio::task::yield_now().await;
    }
    asked.answers.add_permits(2);
    assert_eq!(second.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn beyond_the_limit_nobody_is_asked() {
    let asked = Asked::start(100).await;
    let on_demand = asked.client(2);
    for name in ["yes.a.example", "yes.b.example"] {
        assert_eq!(on_demand.allow(name).await, Ok(()));
    }
    let refusal = on_demand.allow("yes.c.example").await.expect_err("full").to_string();
    assert_eq!(
        refusal,
        "2 certificates were allowed within 3600 s, which is the limit; \
         raise `acme.on_demand.limit` if yes.c.example is not an attack"
    );
    on_demand.allow("192.0.2.1").await.expect_err("no name");
    assert_eq!(asked.count(), 2);
}

#[tokio::test]
async fn nobody_there_is_told_as_such() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let on_demand = OnDemand::new(&settings(&format!("http://{free}/"), 20)).expect("a client");
    let refusal = on_demand.allow("a.example").await.expect_err("nobody there");
    assert!(matches!(refusal, Refusal::Unasked { .. }));
    assert!(refusal.to_string().contains("Connection refused"), "{refusal}");
    for ask in ["allowed", "ftp://a.example/", "http://"] {
        let error = OnDemand::new(&settings(ask, 20)).expect_err(ask).to_string();
        assert!(error.starts_with(&format!("`acme.on_demand.ask` is {ask:?}, which is no URL: ")), "{error}");
    }
}
