//! What can be told without a name server: addresses as names, real listeners, a real directory server.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::Resolver;
use crate::challenges::HTTP_PATH;
use crate::fixtures::ClientRoot;

pub(super) fn question(names: &[&str]) -> Question {
    Question {
        names: names.iter().map(ToString::to_string).collect(),
        directories: Vec::new(),
        ca_file: None,
        challenge: ChallengeChoice::Auto,
        dns: false,
        resolvers: Vec::new(),
        challenges: Arc::default(),
        http_port: 80,
        https_port: 443,
        limits: Vec::new(),
    }
}

/// A listener that answers one HTTP request a connection with what `answer` makes of its path.
async fn http(answer: impl Fn(&str) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            // A client that is gone already needs no answer.
            let _ = stream.write_all(answer(path).as_bytes()).await;
        }
    });
    port
}

fn response(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What the proxy's plain listener does.
async fn ours(challenges: Arc<Challenges>) -> u16 {
    http(move |path| {
        let token = path.strip_prefix(HTTP_PATH).unwrap_or_default();
        match challenges.http(token) {
            Some(answer) => response("200 OK", &answer),
            None => response("404 Not Found", ""),
        }
    })
    .await
}

/// What the proxy's TLS listener does with a challenge handshake.
async fn ours_tls(challenges: Arc<Challenges>) -> u16 {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver::new(challenges)));
    config.alpn_protocols = vec![crate::challenges::ACME_TLS_ALPN.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
        }
    });
    port
}

async fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port()
}

fn of(findings: &[Finding], check: CheckKind) -> &Finding {
    findings.iter().find(|finding| finding.check == check).expect("looked at")
}

/// As with an authority of one's own: loopback addresses are fine then. The file is not read without directories.
fn private(name: &str) -> Question {
    Question { ca_file: Some("unread.pem".into()), ..question(&[name]) }
}

#[tokio::test]
async fn both_ports_are_known_again_by_their_probes() {
    let mut question = private("127.0.0.1");
    question.http_port = ours(Arc::clone(&question.challenges)).await;
    question.https_port = ours_tls(Arc::clone(&question.challenges)).await;
    let findings = check(&question).await;
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:#?}");
    let checks: Vec<CheckKind> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, [CheckKind::Challenge, CheckKind::Dns, CheckKind::Http, CheckKind::Tls]);
    assert_eq!(question.challenges.http("anything"), None);
    assert_eq!(
        format!("{:?}", question.challenges),
        format!("{:?}", Challenges::default()),
        "nothing is left"
    );
}

#[tokio::test]
async fn another_server_is_told_by_its_name_and_is_a_problem_when_no_other_way_is_left() {
    let mut question = private("127.0.0.1");
    question.http_port = http(|_| response("404 Not Found\r\nServer: nginx", "no")).await;
    question.https_port = ours_tls(Arc::default()).await;
    let findings = check(&question).await;
    let finding = of(&findings, CheckKind::Http);
    assert_eq!(finding.verdict, Verdict::Problem);
    let port = question.http_port;
    assert_eq!(
        finding.message,
        format!("Another server answers for 127.0.0.1 on port {port}: 127.0.0.1 (nginx, status 404).")
    );
    let finding = of(&findings, CheckKind::Tls);
    assert_eq!(finding.verdict, Verdict::Problem, "{finding:?}");
    assert!(finding.message.contains("refuses the handshake"), "{finding:?}");

    question.https_port = ours_tls(Arc::clone(&question.challenges)).await;
    let findings = check(&question).await;
    assert_eq!(of(&findings, CheckKind::Http).verdict, Verdict::Warning, "tls-alpn-01 is enough");
    question.challenge = ChallengeChoice::Http01;
    let findings = check(&question).await;
    assert_eq!(of(&findings, CheckKind::Http).verdict, Verdict::Problem, "it is not asked for");
    assert!(findings.iter().all(|finding| finding.check != CheckKind::Tls));
}

#[tokio::test]
async fn an_order_under_way_for_the_name_is_no_other_server_and_goes_on() {
    let mut question = private("127.0.0.1");
    question.https_port = ours_tls(Arc::clone(&question.challenges)).await;
    let (name, key) = (challenge_server_name("127.0.0.1"), ClientRoot::new("root").issue("127.0.0.1"));
    let _ordering = question.challenges.post_tls_alpn(name.clone(), &key);
    let findings = check(&question).await;
    assert_eq!(of(&findings, CheckKind::Tls).verdict, Verdict::Ok, "{findings:?}");
    let shown = question.challenges.tls_alpn(&name).expect("what the order posted");
    assert!(Arc::ptr_eq(&shown, &key));
}

#[tokio::test]
async fn a_closed_port_may_be_the_routers_doing() {
    let mut question = private("127.0.0.1");
    (question.http_port, question.https_port) = (closed().await, closed().await);
    let findings = check(&question).await;
    for kind in [CheckKind::Http, CheckKind::Tls] {
        let finding = of(&findings, kind);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.message.contains("Connection refused"), "{finding:?}");
        assert!(finding.message.contains("hairpin NAT") && finding.fix.is_some(), "{finding:?}");
    }
}

#[tokio::test]
async fn one_redirect_is_followed_and_no_second_one() {
    let mut question = private("127.0.0.1");
    question.challenge = ChallengeChoice::Http01;
    let end = ours(Arc::clone(&question.challenges)).await;
    let to = |port: u16| {
        move |path: &str| response(&format!("308 Moved\r\nLocation: http://127.0.0.1:{port}{path}"), "")
    };
    let middle = http(to(end)).await;
    question.http_port = middle;
    assert_eq!(of(&check(&question).await, CheckKind::Http).verdict, Verdict::Ok);
    question.http_port = http(to(middle)).await;
    let findings = check(&question).await;
    let finding = of(&findings, CheckKind::Http);
    assert_eq!(finding.verdict, Verdict::Problem);
    assert!(finding.message.ends_with("127.0.0.1 (a server that redirects more than once)."), "{finding:?}");
}

#[tokio::test]
async fn a_directory_is_read_and_one_of_several_is_enough() {
    let good = r#"{"newOrder": "https://ca.example/new", "meta": {"caaIdentities": ["ca.example"]}}"#;
    let date = |seconds: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let date =
            jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).expect("a date");
        format!("200 OK\r\nDate: {date}")
    };
    let on_time = http(move |_| response(&date(0), good)).await;
    let late = http(move |_| response(&date(600), good)).await;
    let page = http(|_| response("200 OK", "<html>")).await;
    let other = http(|_| response("200 OK", "{}")).await;
    let gone = http(|_| response("404 Not Found", "")).await;
    let url = |port: u16| format!("http://127.0.0.1:{port}/directory");
    let look = |ports: Vec<u16>| async move {
        let directories = ports.into_iter().map(url).collect();
        check(&Question { directories, ..question(&[]) }).await
    };
    let findings = look(vec![on_time]).await;
    assert!(findings.len() == 2 && findings.iter().all(|finding| finding.verdict == Verdict::Ok));
    let clock = look(vec![late]).await;
    let clock = of(&clock, CheckKind::Clock);
    assert_eq!(clock.verdict, Verdict::Problem);
    assert!(clock.message.contains(" s behind that of "), "{clock:?}");
    for (port, words) in [
        (page, "is no JSON of that kind"),
        (other, "names no `newOrder`"),
        (gone, "answers 404"),
        (closed().await, "cannot be reached (Connection refused"),
    ] {
        let findings = look(vec![port]).await;
        assert_eq!(findings[0].verdict, Verdict::Problem);
        assert!(findings[0].message.contains(words) && findings[0].fix.is_some(), "{findings:?}");
        let findings = look(vec![port, on_time]).await;
        assert_eq!(findings[0].verdict, Verdict::Warning, "the second one takes its place");
    }
}

#[test]
fn what_cannot_be_proven_is_told_with_the_way_out() {
    let verdict = |name: &str, challenge, dns| {
        let question = Question { challenge, dns, ..question(&[]) };
        feasible(&question, name).verdict
    };
    use ChallengeChoice::{Auto, Dns01, Http01, TlsAlpn01};
    for (name, challenge, dns, good) in [
        ("shop.site.net", Auto, false, true),
        ("shop.site.net", Dns01, false, false),
        ("shop.site.net", Dns01, true, true),
        ("*.site.net", Auto, false, false),
        ("*.site.net", Auto, true, true),
        ("*.site.net", Http01, true, false),
        ("*.site.net", TlsAlpn01, true, false),
        ("192.0.2.1", Auto, false, true),
        ("192.0.2.1", Dns01, true, false),
        ("2001:db8::1", TlsAlpn01, false, true),
        ("printer", Auto, true, false),
        ("shop.test", Auto, true, false),
        ("contest", Auto, true, false),
        ("a.contest.net", Auto, true, true),
        ("nas.home.arpa", Auto, true, false),
    ] {
        let expected = if good { Verdict::Ok } else { Verdict::Problem };
        assert_eq!(verdict(name, challenge, dns), expected, "{name} {challenge:?} {dns}");
    }
    let own = Question { ca_file: Some("root.pem".into()), ..question(&[]) };
    assert_eq!(feasible(&own, "printer").verdict, Verdict::Ok, "an authority of one's own may");
}

#[tokio::test]
async fn a_private_address_is_beyond_a_public_authority() {
    for (address, private) in [
        ("10.1.2.3", true),
        ("172.16.0.1", true),
        ("192.168.1.1", true),
        ("127.0.0.1", true),
        ("169.254.1.1", true),
        ("100.64.0.1", true),
        ("100.128.0.1", false),
        ("8.8.8.8", false),
        ("::1", true),
        ("fd00::1", true),
        ("fe80::1", true),
        ("::ffff:10.0.0.1", true),
        ("2606:4700::1", false),
    ] {
        let parsed = address.parse().expect("an address");
        assert_eq!(is_private(parsed), private, "{address}");
        let question = question(&[]);
        let (finding, _) = resolves(&question, &Resolvers::new(&[]), address).await;
        assert_eq!(finding.verdict == Verdict::Problem, private, "{finding:?}");
    }
}

#[test]
fn limits_warn_before_they_are_reached() {
    let line =
        |used| limit(&Limit { ca: "https://ca.example/".into(), what: "orders".into(), used, allowed: 50 });
    assert_eq!(line(39).verdict, Verdict::Ok);
    assert_eq!(line(40).verdict, Verdict::Warning);
    assert_eq!(line(50).verdict, Verdict::Problem);
    assert_eq!(line(50).message, "50 of 50 orders are used up at https://ca.example/.");
}

#[test]
fn an_address_is_asked_for_by_its_reverse_name() {
    assert_eq!(challenge_server_name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
    assert_eq!(challenge_server_name("Shop.example"), "shop.example");
    assert!(challenge_server_name("2001:db8::1").ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"));
}
