//! Whether the engine saw how a container ended.
//!
//! An engine that was killed and comes back finds containers that ended meanwhile, cannot know how, and shows them as
//! "exited with code 0". And an engine that shuts down asks its containers to end first, which some programs answer
//! with code 0. Neither is a migration that succeeded. The engine's list of recent events tells them apart: it lives
//! and dies with the engine's process.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::super::deadline::ANSWER;
use super::super::{DockerError, DockerErrorKind, Engine};

/// What the engine remembers of a container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    /// It saw the end.
    pub(super) died: bool,
    /// Somebody asked it to end, or killed it.
    pub(super) killed: bool,
}

impl Engine {
    /// Asks the engine for what it saw of a container.
    pub(super) async fn witness(&self, id: &str) -> Result<Witness, DockerError> {
        let doing = format!("say how the container {id} ended");
        let info = self.within(ANSWER, &doing, self.docker.info()).await?;
        // By the engine's clock: ours may be another one, and with a time to come the answer would never end.
        let now = info.system_time.and_then(|text| text.parse::<Timestamp>().ok()).ok_or_else(|| {
            let message = format!("the Docker Engine at {} does not say what time it is", self.name());
            DockerError::new(DockerErrorKind::Gibberish, message)
        })?;
        let until = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        let filters = HashMap::from([
            ("container".to_owned(), vec![id.to_owned()]),
            ("event".to_owned(), vec!["die".to_owned(), "kill".to_owned()]),
        ]);
        let options = EventsOptionsBuilder::new().since("1").until(&until).filters(&filters).build();
        let mut events = std::pin::pin!(self.docker.events(Some(options)));
        let mut seen = Witness { died: false, killed: false };
        loop {
            let event = timeout(ANSWER, events.next())
                .await
                .unwrap_or(Some(Err(bollard::errors::Error::RequestTimeoutError)));
            let Some(event) = event else { return Ok(seen) };
            match event.map_err(|error| self.failed(&doing, &error))?.action.as_deref() {
                Some("die") => seen.died = true,
                Some("kill") => seen.killed = true,
                Some(_) | None => {}
            }
        }
    }
}
