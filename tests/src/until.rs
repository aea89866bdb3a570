//! Waiting: the only way in which a test waits for anything.
//!
//! Every wait is for a condition, has a deadline, and names what it waited for when the deadline passes.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once. Long, as the machine may be busy:
/// reaching it is a failure, never a measurement.
pub const PATIENCE: Duration = Duration::from_secs(40);

const POLL: Duration = Duration::from_millis(5);

/// Polls until `condition` holds.
///
/// # Panics
/// When it does not hold within `deadline`; the message names `what`.
pub async fn until<F>(deadline: Duration, what: &str, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    until_some(deadline, what, || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    })
    .await;
}

/// Polls until `find` finds something, and returns it.
///
/// # Panics
/// When nothing is found within `deadline`; the message names `what`.
pub async fn until_some<T, F>(deadline: Duration, what: &str, mut find: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left.max(POLL), find()).await {
            Ok(Some(found)) => return found,
            Ok(None) => {}
            Err(_) => panic!("waited {deadline:?} for {what}; the last look at it did not come back"),
        }
        assert!(Instant::now() < end, "waited {deadline:?} for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Looks again and again until what is seen `fits`, and returns that.
///
/// # Panics
/// When nothing fits within `deadline`; the message names `what`, and shows what was seen last.
pub async fn until_seen<T, F>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
    fits: impl Fn(&T) -> bool,
) -> T
where
    T: Display,
    F: Future<Output = T>,
{
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let seen = within(left.max(POLL), what, look()).await;
        if fits(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "waited {deadline:?} for {what}; this was seen last:\n{seen}");
        tokio::time::sleep(POLL).await;
    }
}

/// The outcome of `future`, which must come within `deadline`.
///
/// # Panics
/// When it does not; the message names `what`.
pub async fn within<T>(deadline: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited {deadline:?} for {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        until(PATIENCE, "the third look", || {
            looks += 1;
            let third = looks == 3;
            async move { third }
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "waited 1ms for the moon")]
    async fn a_deadline_names_what_was_waited_for() {
        within(Duration::from_millis(1), "the moon", std::future::pending::<()>()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "waited 1ms for a six; this was seen last:\n5")]
    async fn what_was_seen_last_is_shown() {
        assert_eq!(until_seen(PATIENCE, "a five", || async { 5 }, |seen| *seen == 5).await, 5);
        until_seen(Duration::from_millis(1), "a six", || async { 5 }, |seen| *seen == 6).await;
    }

    #[tokio::test]
    #[should_panic(expected = "waited 1ms for a pig to fly")]
    async fn a_condition_that_never_holds_is_named() {
        until(Duration::from_millis(1), "a pig to fly", || async { false }).await;
    }
}
