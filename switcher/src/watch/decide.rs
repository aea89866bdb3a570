//! What a look at the registry leads to, and when to look next. Pure: `now` is an argument, and so is chance.
//!
//! Invariant: a digest is tried until it ends, well or by its own fault, and then never again before the tag's digest
//! has changed: a tag that is moved back to an earlier digest is deployed again. What is live counts as tried, and so
//! does what a person took back since. Trouble that is not the release's own (a lease that is held, a registry that is
//! down) is tried again, later each time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use switcher_config::Share;

use super::memory::{Attempt, Memory, Outcome, Trouble};
use crate::code::{Code, Exit};
use crate::state::record::{DeploymentRecord, Status};

/// The first wait after trouble; it doubles each time.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait after trouble.
const LONGEST: Duration = Duration::from_secs(3600);
/// How often `prune` runs at least, and how soon again after it failed.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_hours(24);
const PRUNE_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// What the registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The digest that the tag stands for: of the image, or of its index when it is made for several platforms.
    Digest(String),
    /// It wants fewer requests, and perhaps said for how long.
    Limited {
        /// What it said, a sentence.
        message: String,
        /// How long to wait.
        wait: Option<Duration>,
    },
    /// It did not answer, or not with a digest; a sentence.
    Nothing(String),
}

/// What surrounds a look.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The moment.
    pub now: Timestamp,
    /// `deploy.watch.interval`.
    pub interval: Duration,
    /// `deploy.watch.jitter`.
    pub jitter: Share,
    /// A number from 0 to 1: chance.
    pub chance: f64,
    /// Whether somebody asked for a look now (a webhook, `--once`); trouble then waits no longer.
    pub asked: bool,
    /// The repository, `ghcr.io/acme/shop`.
    pub repository: &'a str,
    /// The image that is live, pinned by digest; none before the first deployment.
    pub live: Option<&'a str>,
    /// Every deployment, newest first.
    pub history: &'a [DeploymentRecord],
}

/// What to do after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before the next look.
    Rest,
    /// A digest is news, and it was dealt with by somebody else.
    Settled(Outcome),
    /// The registry told no digest; `true` when that is news.
    Trouble(bool),
    /// Deploy this digest. Whoever does it writes the memory first.
    Deploy(String),
}

/// Takes in what the registry answered.
pub fn looked(memory: &mut Memory, found: &Found, ground: Ground<'_>) -> Step {
    memory.looked_at = Some(ground.now);
    match found {
        Found::Digest(digest) => {
            memory.trouble = None;
            memory.found = Some(digest.clone());
            memory.not_before = None;
            memory.next_look = after(ground.now, spread(ground));
            judged(memory, digest, ground)
        }
        Found::Nothing(message) => {
            let (count, news) = trouble(memory, message, ground.now);
            memory.next_look = after(ground.now, backoff(count).min(ground.interval));
            Step::Trouble(news)
        }
        Found::Limited { message, wait } => {
            let (count, news) = trouble(memory, message, ground.now);
            memory.next_look = after(ground.now, wait.unwrap_or_else(|| backoff(count) * 6).min(LONGEST));
            memory.not_before = memory.next_look;
            Step::Trouble(news)
        }
    }
}

/// Whether a digest is to be deployed now.
fn judged(memory: &mut Memory, digest: &str, ground: Ground<'_>) -> Step {
    let same = memory.attempt.as_ref().filter(|attempt| attempt.digest == digest);
    match same.map(|attempt| attempt.outcome) {
        Some(Outcome::Deployed | Outcome::Left { .. }) => return Step::Rest,
        Some(Outcome::Trying | Outcome::Later { .. } | Outcome::Person { .. }) | None => {}
    }
    if let Some(outcome) = told(digest, memory.attempt.as_ref(), ground) {
        let (at, tries) = same.map_or((ground.now, 0), |attempt| (attempt.at, attempt.tries));
        memory.attempt = Some(Attempt { digest: digest.to_owned(), at, tries, outcome, again_at: None });
        return Step::Settled(outcome);
    }
    // A clock that was wrong when it was written holds nothing up for longer than the longest wait.
    let soon = |at: &Timestamp| *at > ground.now && Some(*at) <= after(ground.now, LONGEST);
    let waits = same.and_then(|attempt| attempt.again_at).filter(|at| soon(at) && !ground.asked);
    if let Some(at) = waits {
        memory.next_look = memory.next_look.map(|next| next.min(at));
        return Step::Rest;
    }
    Step::Deploy(digest.to_owned())
}

/// What others know of a digest: that it is live, or how it ended since the newest attempt.
fn told(digest: &str, last: Option<&Attempt>, ground: Ground<'_>) -> Option<Outcome> {
    let image = pinned(ground.repository, digest);
    if ground.live == Some(image.as_str()) {
        return Some(Outcome::Deployed);
    }
    let since = |record: &&DeploymentRecord| last.is_none_or(|last| record.id.began_at() >= last.at);
    let mut known = ground.history.iter().filter(|record| record.image == image).filter(since);
    let (status, outcome) = known.find_map(|record| Some((record.status, ended_as(record)?)))?;
    // The digest that was tried last is over, however it ended. Of another one only what a person took back stays away,
    // and at the first start what is bad: whoever moves a tag back to what was good once means it.
    let stays = match last {
        Some(last) if last.digest == digest => true,
        Some(_) => (status, outcome) == (Status::RolledBack, Outcome::Deployed),
        None => status == Status::RolledBack || matches!(outcome, Outcome::Left { .. }),
    };
    stays.then_some(outcome)
}

/// The image of a repository by its digest, as the history and the state name it.
#[must_use]
pub fn pinned(repository: &str, digest: &str) -> String {
    format!("{repository}@{digest}")
}

/// How a recorded deployment ended, as far as that says something of the release.
fn ended_as(record: &DeploymentRecord) -> Option<Outcome> {
    let code = record.failure.as_ref().and_then(|failure| Code::find(&failure.code));
    match (record.status, code) {
        (Status::Deploying, _) | (Status::Failed, None) => None,
        (Status::Active | Status::Superseded, _) | (Status::RolledBack, None) => Some(Outcome::Deployed),
        (Status::Failed | Status::RolledBack, Some(code)) => match outcome(Some(code.exit() as i32)) {
            left @ Outcome::Left { .. } => Some(left),
            Outcome::Trying | Outcome::Deployed | Outcome::Later { .. } | Outcome::Person { .. } => None,
        },
    }
}

/// Notes that a digest is about to be deployed; to be saved before it is.
pub fn begin(memory: &mut Memory, digest: &str, now: Timestamp) {
    let before = memory.attempt.take().filter(|attempt| attempt.digest == digest);
    let (at, tries) = before.map_or((now, 0), |attempt| (attempt.at, attempt.tries));
    let tries = tries.saturating_add(1);
    let attempt = Attempt { digest: digest.to_owned(), at, tries, outcome: Outcome::Trying, again_at: None };
    memory.attempt = Some(attempt);
}

/// Takes in how the deployment ended: its exit code, none when a signal ended it or it did not even start; and whether
/// the digest is live now, which is good whatever the code says: a check after the switch may have failed.
pub fn ended(memory: &mut Memory, exit: Option<i32>, live: bool, now: Timestamp) -> Outcome {
    let outcome = if live { Outcome::Deployed } else { outcome(exit) };
    if let Some(attempt) = &mut memory.attempt {
        attempt.outcome = outcome;
        attempt.again_at = match outcome {
            Outcome::Later { .. } | Outcome::Person { .. } => after(now, backoff(attempt.tries)),
            Outcome::Trying | Outcome::Deployed | Outcome::Left { .. } => None,
        };
        if attempt.again_at.is_some() {
            memory.next_look = attempt.again_at;
        }
    }
    outcome
}

/// What an exit code says of the release.
fn outcome(exit: Option<i32>) -> Outcome {
    const OWN: [Exit; 3] = [Exit::Failed, Exit::Unhealthy, Exit::Migration];
    const PERSON: [Exit; 4] = [Exit::Unsafe, Exit::Configuration, Exit::Usage, Exit::ToDo];
    let one_of = |list: &[Exit]| list.iter().any(|known| Some(*known as i32) == exit);
    match exit {
        Some(0) => Outcome::Deployed,
        Some(code) if one_of(&OWN) => Outcome::Left { exit: code },
        Some(code) if one_of(&PERSON) => Outcome::Person { exit: code },
        Some(code) => Outcome::Later { exit: Some(code) },
        None => Outcome::Later { exit: None },
    }
}

/// Forgets moments that are further ahead than any wait is long: the clock was wrong when they were written, and they
/// count as now.
pub fn settle(memory: &mut Memory, interval: Duration, now: Timestamp) {
    let look = LONGEST.max(interval.saturating_mul(2));
    for (moment, most) in [
        (&mut memory.not_before, LONGEST),
        (&mut memory.next_look, look),
        (&mut memory.prune_again_at, LONGEST),
        (&mut memory.pruned_at, LONGEST),
    ] {
        *moment = moment.filter(|at| Some(*at) <= after(now, most));
    }
}

/// When `prune` is due: once a day, and when the time of the warm slot is over.
#[must_use]
pub fn prune_at(memory: &Memory, warm_until: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let daily = memory.pruned_at.and_then(|at| at.checked_add(PRUNE_EVERY).ok()).unwrap_or(now);
    let warm = warm_until.filter(|until| memory.pruned_at.is_none_or(|at| *until > at));
    let due = warm.map_or(daily, |until| until.min(daily));
    memory.prune_again_at.map_or(due, |again| again.max(due))
}

/// Notes how `prune` ended.
pub fn pruned(memory: &mut Memory, well: bool, now: Timestamp) {
    memory.prune_again_at = if well { None } else { now.checked_add(PRUNE_AGAIN).ok() };
    if well {
        memory.pruned_at = Some(now);
    }
}

/// What is said of `prune`, if anything: how it failed last and how it fails now, by exit code. It has told why itself when it
/// failed for the first time; what stays as it was is not said again.
#[must_use]
pub fn prune_words(before: Option<Option<i32>>, now: Option<Option<i32>>) -> Option<String> {
    if before == now {
        return None;
    }
    let Some(exit) = now else { return Some("`switcher prune` ends well again".to_owned()) };
    let how = exit.map_or_else(|| "was cut short".to_owned(), |exit| format!("failed (exit code {exit})"));
    let minutes = PRUNE_AGAIN.as_mins();
    Some(format!(
        "`switcher prune` {how}; it is tried every {minutes} minutes, and said again when that changes"
    ))
}

/// Counts trouble; answers how often in a row, and whether it is news.
fn trouble(memory: &mut Memory, message: &str, now: Timestamp) -> (u32, bool) {
    let before = memory.trouble.take();
    let news = before.as_ref().is_none_or(|trouble| trouble.message != message);
    let (since, count) = before.map_or((now, 0), |trouble| (trouble.since, trouble.count));
    let count = count.saturating_add(1);
    memory.trouble = Some(Trouble { since, count, message: message.to_owned() });
    (count, news)
}

/// 10 s, 20 s, 40 s and so on, up to an hour.
fn backoff(tries: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1).min(20))).min(LONGEST)
}

/// The interval, somewhat shorter or longer.
fn spread(ground: Ground<'_>) -> Duration {
    let factor = 1.0 + ground.jitter.fraction() * (2.0 * ground.chance.clamp(0.0, 1.0) - 1.0);
    ground.interval.mul_f64(factor.max(0.0)).max(Duration::from_secs(1))
}

fn after(now: Timestamp, wait: Duration) -> Option<Timestamp> {
    now.checked_add(wait).ok()
}

#[cfg(test)]
mod tests;
