//! WebSockets through the proxy.

use switcher_config::Slot;
use switcher_tests::http1::get;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, PATIENCE, Setup, until};

#[tokio::test]
async fn a_websocket_speaks_both_ways_with_and_without_tls() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let plain = WebSocket::connect(proxy.http(), "/socket").await;
    let tls = WebSocket::over(Hello::to("shop.test").http1(proxy.https()).await, "/socket").await;
    for mut socket in [plain, tls] {
        assert_eq!(socket.text().await, "blue");
        for message in ["one", "two", &"long ".repeat(100_000)] {
            assert_eq!(socket.ask(message).await, message);
        }
    }
}

#[tokio::test]
async fn a_websocket_is_counted_as_one_and_counted_out_when_it_closes() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let inside = || async { proxy.admin().shop().await.slots.get(Slot::Blue).in_flight };
    until(PATIENCE, "the WebSocket to be counted", || async { inside().await.websockets == 1 }).await;
    assert_eq!(inside().await.total(), 1);
    socket.close().await;
    until(PATIENCE, "the WebSocket to be counted out", || async { inside().await.total() == 0 }).await;
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_ordinary_answer() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let answer = get(proxy.http(), "/socket").await;
    assert_eq!((answer.status, answer.text().as_str()), (426, "a WebSocket is served here"));
}

#[tokio::test]
async fn an_idle_websocket_outlives_the_idle_timeout_of_ordinary_answers() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("timeouts", "{idle: 300ms}").start_healthy().await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    super::timeout::cut_when_idle(&proxy).await;
    super::timeout::cut_when_idle(&proxy).await;
    assert_eq!(socket.ask("still here?").await, "still here?");
}
