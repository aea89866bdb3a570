//! A bound for every question to the engine: an engine that is stopped, frozen or lost in the middle is an error with
//! a name, never a wait without end.

use std::time::Duration;

use bollard::errors::Error as ClientError;
use tokio::time::timeout;

use super::{DockerError, Engine};

/// How long a question about containers and networks may take. A busy disk can make an engine slow, so it is generous.
pub(super) const ANSWER: Duration = Duration::from_secs(60);

impl Engine {
    /// The answer to a question, or why there is none; `doing` completes "the engine could not …".
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        doing: &str,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, DockerError> {
        let answer = timeout(limit, answer).await.unwrap_or(Err(ClientError::RequestTimeoutError));
        answer.map_err(|error| self.failed(doing, &error))
    }
}
