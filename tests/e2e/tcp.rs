//! Applications of raw TCP: their bytes, their names by TLS, and the switch under them.

mod bytes;
mod names;
mod postgres;
mod process;
mod switch;
mod views;

use switcher_config::Slot;
use switcher_tests::port::Port;
use switcher_tests::{Echo, Line, PATIENCE, Proxy, Setup, until};
use tokio::net::TcpStream;

/// A proxy for the database `shop`, with an upstream in each slot.
struct Stage {
    _blue: Echo,
    green: Echo,
    proxy: Proxy,
    port: Port,
}

impl Stage {
    async fn new() -> Self {
        Self::with("", |setup| setup).await
    }

    /// The same with more in its `tcp`, and other keys.
    async fn with(tcp: &str, set: impl FnOnce(Setup) -> Setup) -> Self {
        let (blue, green, port) = (Echo::start("blue").await, Echo::start("green").await, Port::reserve());
        let setup = Setup::raw(
            &[blue.address().to_string()],
            &[green.address().to_string()],
            &format!("{{listen: \"{}\"{tcp}}}", port.address()),
        );
        let proxy = set(setup).start_healthy().await;
        Self { _blue: blue, green, proxy, port }
    }

    /// A connection that has heard the name of its upstream.
    async fn line(&self, name: &str) -> Line<TcpStream> {
        let mut line = Line::connect(self.port.address()).await;
        assert_eq!(line.line().await, name);
        line
    }

    /// How many connections are inside a slot.
    async fn inside(&self, slot: Slot) -> u64 {
        self.proxy.admin().shop().await.slots.get(slot).in_flight.connections
    }

    async fn until_inside(&self, slot: Slot, count: u64) {
        let what = format!("{count} connections to be inside {slot}");
        until(PATIENCE, &what, || async { self.inside(slot).await == count }).await;
    }
}
