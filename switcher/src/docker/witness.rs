//! What the engine saw of a container's end, beyond what it says of the container.
//!
//! An engine that was killed and comes back finds containers that ended meanwhile, cannot know how, and shows them as
//! "exited with code 0". An engine that shuts down asks its containers to end first, which some programs answer with
//! code 0. Neither is a migration that succeeded. And when the kernel kills for memory right after the start, the container
//! is described as if something else had killed it. The engine's list of recent events tells all of them apart: it
//! lives and dies with the engine's process.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use super::deadline::ANSWER;
use super::{DockerError, DockerErrorKind, Engine};
use crate::container::ContainerState;

/// What the engine remembers of a container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    /// It saw the end.
    pub(super) died: bool,
    /// Somebody asked it to end, or killed it.
    pub(super) killed: bool,
}

/// The exit code of what was killed.
const KILLED: i64 = 137;

/// How often, and after which time, is looked for the news of an end.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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

    /// Mends the description of an end that memory is the reason of. `limited` says whether the container's memory is.
    ///
    /// A kill that follows the start closely escapes the engine: it has not begun to listen for it. But only the kernel
    /// and the engine kill what runs in a container, and the engine knows what it did.
    pub(super) async fn with_memory(
        &self,
        id: &str,
        mut state: ContainerState,
        limited: bool,
    ) -> ContainerState {
        if let ContainerState::Exited(end) | ContainerState::Restarting { end } = &mut state
            && end.code == KILLED
            && !end.out_of_memory
            && limited
        {
            end.out_of_memory = self.killed_by_the_kernel(id).await;
        }
        state
    }

    async fn killed_by_the_kernel(&self, id: &str) -> bool {
        for _ in 0..LOOKS {
            match self.witness(id).await {
                Ok(seen) if seen.killed => return false,
                Ok(seen) if seen.died => return true,
                // The news of the end comes a moment after the end.
                Ok(_) => sleep(LOOK_AGAIN).await,
                // Nobody can say: what was described stays.
                Err(_) => return false,
            }
        }
        false
    }
}
