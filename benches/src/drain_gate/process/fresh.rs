//! Clients that open a connection for every request: none may be refused while one process takes the
//! listeners over from another.

use std::net::SocketAddr;
use std::time::Duration;

use switcher_tests::Http1;
use switcher_tests::http1::request;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

const CLIENTS: usize = 4;
/// Between two connections of one client: bounds the load.
const PAUSE: Duration = Duration::from_millis(5);

/// The clients at work.
pub(super) struct Fresh {
    stop: watch::Sender<bool>,
    clients: JoinSet<Counts>,
}

/// How many were answered, and a sentence for each that was not.
type Counts = (u64, Vec<String>);

impl Fresh {
    /// Starts asking for `/`, which must be answered with this text.
    pub(super) fn start(address: SocketAddr, expected: String) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask_on(address, expected.clone(), stopped.clone()));
        }
        Self { stop, clients }
    }

    /// Lets every request in progress finish.
    pub(super) async fn stop(mut self) -> Counts {
        self.stop.send_replace(true);
        let (mut answered, mut lost) = (0, Vec::new());
        while let Some(client) = self.clients.join_next().await {
            match client {
                Ok((more, problems)) => {
                    answered += more;
                    lost.extend(problems);
                }
                Err(panic) => lost.push(format!("a new connection: {panic}")),
            }
        }
        if answered == 0 {
            lost.push("new connections: nothing succeeded".to_owned());
        }
        (answered, lost)
    }
}

async fn ask_on(address: SocketAddr, expected: String, stopped: watch::Receiver<bool>) -> Counts {
    let mut counts = Counts::default();
    while !*stopped.borrow() {
        match ask(address, &expected).await {
            Ok(()) => counts.0 += 1,
            Err(why) => counts.1.push(format!("a new connection: {why}")),
        }
        sleep(PAUSE).await;
    }
    counts
}

async fn ask(address: SocketAddr, expected: &str) -> Result<(), String> {
    let mut wire = Http1::try_connect(address).await.map_err(|error| format!("refused: {error}"))?;
    let answer = wire.try_exchange(&request("GET", "/", &[("Connection", "close")], b"")).await;
    let answer = answer.map_err(|error| format!("no whole answer: {error}"))?;
    if answer.status == 200 && answer.text() == expected {
        Ok(())
    } else {
        Err(format!("answered {} {:?}", answer.status, answer.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_tests::App;
    use switcher_tests::port::Refusing;

    async fn lost(address: SocketAddr, expected: &str) -> String {
        ask(address, expected).await.expect_err("a loss")
    }

    #[tokio::test]
    async fn a_refused_connection_and_a_wrong_answer_are_losses() {
        let app = App::start("v1").await;
        assert_eq!(ask(app.address(), "v1").await, Ok(()));
        assert!(lost(app.address(), "v2").await.starts_with("answered 200"));
        assert!(lost(Refusing::start().address(), "v1").await.starts_with("refused"));
    }

    #[tokio::test]
    async fn clients_that_never_got_an_answer_show_nothing() {
        let refusing = Refusing::start();
        let (answered, lost) = Fresh::start(refusing.address(), "v1".to_owned()).stop().await;
        assert_eq!(answered, 0);
        assert_eq!(lost.last().map(String::as_str), Some("new connections: nothing succeeded"));
    }
}
