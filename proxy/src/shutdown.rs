//! The end of the process: stop accepting, let what is in flight finish, go as soon as nothing is left.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::control::Control;
use crate::ledger::Cause;

/// How long before the limit what is still open is closed gently, to be through when the limit strikes.
const GOODBYE: Duration = Duration::from_millis(250);

/// What has to end.
pub struct Shutdown {
    /// Tells accept loops and connections.
    pub signal: watch::Sender<bool>,
    /// Closed when every connection has ended.
    pub connections: mpsc::Receiver<Infallible>,
    /// Ends connections that wait for their next request.
    pub idle_over: watch::Sender<bool>,
    /// Knows what is in flight.
    pub control: Arc<Control>,
    /// How long connections that wait for their next request may go on waiting. A client that sends it
    /// on the very moment of the close would lose it; meanwhile it is served, and told to close.
    pub idle: Duration,
}

impl Shutdown {
    /// Ends within `limit`; at once when nothing is in flight. True when nothing was cut.
    pub async fn run(mut self, limit: Duration) -> bool {
        self.signal.send_replace(true);
        let all_ended = async { while self.connections.recv().await.is_some() {} };
        tokio::pin!(all_ended);
        let idle_over = &self.idle_over;
        let end_idle = async {
            tokio::time::sleep(self.idle.min(limit)).await;
            idle_over.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = &mut all_ended => return true,
            () = end_idle => {}
            () = tokio::time::sleep(limit.saturating_sub(GOODBYE)) => {}
        }
        let view = self.control.view();
        for ledger in view.ledgers() {
            for exchange in ledger.exchanges() {
                exchange.close(Cause::Shutdown);
            }
        }
        // What has not ended by now is dropped with the runtime.
        let _ = tokio::time::timeout(GOODBYE, &mut all_ended).await;
        false
    }
}
