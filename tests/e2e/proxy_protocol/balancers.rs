//! The real thing: HAProxy in front that speaks for its clients, and nginx behind that wants to be told of them.

use std::net::SocketAddr;
use std::path::Path;

use switcher_tests::certificate::put;
use switcher_tests::daemon::{Daemon, lacking};
use switcher_tests::http1::request;
use switcher_tests::port::Port;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Setup, skip_or_fail, until};

use super::{ask, from};

const DEFAULTS: &str = "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n";

/// HAProxy that passes connections on: `(listen, to, how)`.
async fn haproxy(folder: &Path, ways: &[(SocketAddr, String, &str)]) -> Daemon {
    let mut text = DEFAULTS.to_owned();
    for (at, (listen, to, how)) in ways.iter().enumerate() {
        text += &format!("listen way{at}\n  bind {listen}\n  server proxy {to} {how}\n");
    }
    let file = folder.join("haproxy.cfg");
    put(&file, &text);
    let daemon = Daemon::start("haproxy", &["-db", "-f", file.to_str().expect("a path")], &[]);
    for (listen, ..) in ways {
        until(PATIENCE, "HAProxy to listen", || async {
            tokio::net::TcpStream::connect(listen).await.is_ok()
        })
        .await;
    }
    daemon
}

#[tokio::test]
async fn haproxy_speaks_for_its_clients() {
    if let Some(why) = lacking(&["haproxy"]) {
        return skip_or_fail(&why);
    }
    let (app, folder) = (App::start("blue").await, tempfile::tempdir().expect("a folder"));
    let [http, https, v1, v2, tls, unix] = [(); 6].map(|()| Port::reserve());
    let socket = folder.path().join("http.sock");
    let named = |at: &str| format!("{{listen: \"{at}\", proxy_protocol: require}}");
    let plain = [named(&http.address().to_string()), named(&format!("unix:{}", socket.display()))].join(", ");
    let proxy = Setup::one(app.upstream())
        .proxy("http", &format!("[{plain}]"))
        .proxy("https", &named(&https.address().to_string()))
        .proxy("trusted_proxies", "[127.0.0.1/32]")
        .start_healthy()
        .await;
    let ways = [
        (v1.address(), http.address().to_string(), "send-proxy"),
        (v2.address(), http.address().to_string(), "send-proxy-v2 check inter 200ms"),
        (tls.address(), https.address().to_string(), "send-proxy-v2"),
        (unix.address(), format!("unix@{}", socket.display()), "send-proxy-v2"),
    ];
    let _balancer = haproxy(folder.path(), &ways).await;
    for (at, client) in
        [(v1.address(), "127.0.0.31"), (v2.address(), "127.0.0.32"), (unix.address(), "127.0.0.33")]
    {
        let mut wire = from(&format!("{client}:0"), at).await;
        let body = vec![7; 300_000];
        let answer = wire.exchange(&request("POST", "/count", &[], &body)).await;
        assert_eq!(answer.json()["bytes"], 300_000);
        assert_eq!(app.last().header("x-forwarded-for"), Some(client));
        let mut socket = WebSocket::over(from(&format!("{client}:0"), at).await, "/socket").await;
        assert_eq!(socket.text().await, "blue");
        assert_eq!(socket.ask("through both").await, "through both");
        assert_eq!(app.last().header("x-forwarded-for"), Some(client));
    }
    let mut wire = Hello::to("shop.test").http1(tls.address()).await;
    assert_eq!(wire.exchange(&ask("/over-tls")).await.text(), "blue");
    assert_eq!(proxy.record_of("/over-tls").await["client"], "127.0.0.1");
}

/// nginx that answers with whom it was told of.
async fn nginx(folder: &Path, listen: SocketAddr, socket: &Path) -> Daemon {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{temporary}\
         server {{\nlisten {listen} proxy_protocol;\nlisten unix:{socket} proxy_protocol;\n\
         location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_server_port $http_x_forwarded_for\"; }}\n\
         location /health {{ return 200 ok; }}\n}}\n}}\n",
        folder = folder.display(),
        socket = socket.display(),
    );
    let file = folder.join("nginx.conf");
    put(&file, &text);
    let daemon = Daemon::start("nginx", &["-e", "stderr", "-c", file.to_str().expect("a path")], &[]);
    until(PATIENCE, "nginx to listen", || async { tokio::net::TcpStream::connect(listen).await.is_ok() })
        .await;
    daemon
}

#[tokio::test]
async fn nginx_behind_is_told_the_client_by_either_version_over_tcp_and_unix() {
    if let Some(why) = lacking(&["nginx"]) {
        return skip_or_fail(&why);
    }
    let (folder, port) = (tempfile::tempdir().expect("a folder"), Port::reserve());
    let socket = folder.path().join("nginx.sock");
    let _nginx = nginx(folder.path(), port.address(), &socket).await;
    for version in ["v1", "v2"] {
        for upstream in [port.address().to_string(), format!("unix:{}", socket.display())] {
            // That it gets healthy shows that probes speak for nobody.
            let proxy = Setup::one(&upstream).shop("upstream_proxy_protocol", version).start_healthy().await;
            let own = proxy.http().port();
            for client in ["127.0.0.41", "127.0.0.42"] {
                let mut wire = from(&format!("{client}:0"), proxy.http()).await;
                for _ in 0..2 {
                    let said = wire.exchange(&ask("/")).await.text();
                    assert_eq!(said, format!("{client} {own} {client}"), "{version} {upstream}");
                }
            }
            let said = Hello::to("shop.test").http1(proxy.https()).await.exchange(&ask("/")).await.text();
            assert_eq!(said, format!("127.0.0.1 {} 127.0.0.1", proxy.https().port()));
        }
    }
}

/// The negative control: nginx that wants a header and gets none answers nothing.
#[tokio::test]
async fn nginx_behind_refuses_who_does_not_say() {
    if let Some(why) = lacking(&["nginx"]) {
        return skip_or_fail(&why);
    }
    let (folder, port) = (tempfile::tempdir().expect("a folder"), Port::reserve());
    let _nginx = nginx(folder.path(), port.address(), &folder.path().join("nginx.sock")).await;
    let proxy = Setup::one(port.address()).start_unready().await;
    let mut wire = Http1::connect(proxy.http()).await;
    assert!(wire.exchange(&ask("/")).await.status >= 500);
}
