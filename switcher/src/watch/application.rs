//! One watched application: it is looked at, deployed and pruned, until somebody says stop.
//!
//! It decides nothing: [`decide`] does. Invariant: an attempt is on disk before its deployment begins, so that a watch that
//! is killed in the middle asks the history how it ended instead of beginning anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use switcher_config::durable::Durability;
use switcher_config::settings::WatchSettings;
use switcher_config::{AppName, ImageReference};
use tokio::sync::watch;
use ulid::Ulid;

use super::bell::Bell;
use super::child::Children;
use super::decide::{self, Found, Ground, Step};
use super::memory::{Hold, Memory, Outcome};
use super::registry::Registry;
use super::voice::Voice;
use crate::deploy::journal::Entry;
use crate::interrupt::Interrupt;
use crate::state::{StateError, Store, Verdict};

/// The longest sleep, so that a clock that is set right is soon followed.
const NAP: Duration = Duration::from_secs(60);

/// What every application is watched with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) registry: Registry,
    pub(crate) children: Children,
    pub(crate) voice: Voice,
}

/// A watched application.
pub(crate) struct Application {
    pub(crate) app: AppName,
    /// The repository with its tag.
    pub(crate) image: ImageReference,
    pub(crate) settings: WatchSettings,
    pub(crate) store: Store,
    /// Rung by webhooks.
    pub(crate) bell: Arc<Bell>,
    pub(crate) file: PathBuf,
    pub(crate) memory: Memory,
    /// How `prune` failed last: its exit code, none when a signal ended it. `None` when it ended well.
    pub(crate) prune_failed: Option<Option<i32>>,
    /// While this lives nobody else watches it.
    pub(crate) _hold: Hold,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub(crate) enum Did {
    /// Nothing: the digest was dealt with before, or waits.
    Nothing {
        digest: String,
        #[serde(skip)]
        words: String,
    },
    /// A deployment, which ended like this.
    Deployed {
        digest: String,
        exit: Option<i32>,
        /// Whether it is live, however it ended.
        live: bool,
        #[serde(skip)]
        words: String,
    },
    /// The registry named no digest.
    Trouble { message: String },
    /// It cannot be watched.
    Refused { code: &'static str, message: String },
}

impl Application {
    /// Brings what was cut short to its end, unless somebody is at it.
    pub(crate) async fn begin(&self, tools: &Tools, interrupt: &mut Interrupt) -> Result<(), StateError> {
        let open = self.store.journal::<Entry>()?.is_some_and(|entries| !entries.is_empty());
        let lock = self.store.read()?.lock;
        match self.store.verdict(&lock, Timestamp::now()) {
            Verdict::Held(holder) if open => {
                self.say(tools, &format!("somebody is at work: {}", holder.sentence()));
            }
            Verdict::Free | Verdict::Dead(_) | Verdict::Expired(_) if open => {
                self.say(tools, "a deployment was cut short; it is brought to its end");
                self.child(tools, &["repair"], false, interrupt).await;
            }
            Verdict::Held(_) | Verdict::Free | Verdict::Dead(_) | Verdict::Expired(_) => {}
        }
        Ok(())
    }

    /// Watches until a signal comes, or until `stop` is true: never in the middle of a deployment.
    pub(crate) async fn watch(
        &mut self,
        tools: &Tools,
        mut interrupt: Interrupt,
        mut stop: watch::Receiver<bool>,
    ) {
        let every = self.settings.interval;
        self.say(tools, &format!("watching {} every {every}", self.image));
        if let Err(error) = self.begin(tools, &mut interrupt).await {
            self.say(tools, &format!("what was cut short cannot be read: {error}"));
        }
        // The first look comes at once, whatever the clock was when the last one was made.
        self.memory.next_look = None;
        let mut failing: Option<String> = None;
        loop {
            let mut waiting = interrupt.clone();
            let asked = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                waited = waiting.unless(self.wait()) => waited,
            };
            let Ok(asked) = asked else { return };
            let done = self.turn(tools, asked, &mut interrupt).await;
            let Err(error) = done else {
                failing = None;
                continue;
            };
            let error = error.to_string();
            self.memory.next_look = Timestamp::now().checked_add(NAP).ok();
            self.memory.prune_again_at = self.memory.next_look;
            if failing.as_ref() != Some(&error) {
                self.say(tools, &format!("nothing is deployed before this is mended: {error}"));
            }
            failing = Some(error);
        }
    }

    /// Waits until there is something to do; answers whether somebody asked for a look.
    async fn wait(&mut self) -> bool {
        loop {
            let now = Timestamp::now();
            decide::settle(&mut self.memory, self.settings.interval.0, now);
            self.bell.rest(self.memory.not_before);
            let held_back = self.memory.not_before.filter(|at| *at > now);
            let look = self.memory.next_look.unwrap_or(now).max(held_back.unwrap_or(now));
            let due = look.min(self.prune_due(now));
            let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
            tokio::select! {
                () = self.bell.rung(), if held_back.is_none() => return true,
                () = tokio::time::sleep(left.min(NAP)) => {}
            }
            if left <= NAP {
                return false;
            }
        }
    }

    /// Does what is due.
    async fn turn(
        &mut self,
        tools: &Tools,
        asked: bool,
        interrupt: &mut Interrupt,
    ) -> Result<(), StateError> {
        let now = Timestamp::now();
        if asked || self.memory.next_look.is_none_or(|at| at <= now) {
            self.look(tools, asked, interrupt).await?;
        }
        if self.prune_due(Timestamp::now()) <= Timestamp::now() && !interrupt.was_heard() {
            self.prune(tools, interrupt).await?;
        }
        Ok(())
    }

    /// Looks, and deploys what is new.
    pub(crate) async fn look(
        &mut self,
        tools: &Tools,
        asked: bool,
        interrupt: &mut Interrupt,
    ) -> Result<Did, StateError> {
        let Ok(found) = interrupt.unless(tools.registry.look(&self.image)).await else {
            return Ok(self.nothing());
        };
        let (state, history) = (self.store.read()?, self.store.history()?);
        let live = state.current_deployment.map(|current| current.image);
        let repository = self.image.name();
        let ground = Ground {
            now: Timestamp::now(),
            interval: self.settings.interval.0,
            jitter: self.settings.jitter,
            chance: chance(),
            asked,
            repository: &repository,
            live: live.as_deref(),
            history: &history,
        };
        let step = decide::looked(&mut self.memory, &found, ground);
        // A deployment writes its attempt; what becomes of a digest is never forgotten; a look may be.
        match step {
            Step::Deploy(_) => {}
            Step::Settled(_) => self.memory.write(&self.file, Durability::Synced)?,
            Step::Rest | Step::Trouble(_) => self.memory.write(&self.file, Durability::Unsynced)?,
        }
        match step {
            Step::Rest => Ok(self.nothing()),
            Step::Settled(outcome) => {
                let digest = self.memory.found.clone().unwrap_or_default();
                self.say(tools, &format!("{digest} was dealt with before: it is {}", outcome.words()));
                Ok(self.nothing())
            }
            Step::Trouble(news) => {
                let message = match found {
                    Found::Nothing(message) | Found::Limited { message, .. } => message,
                    Found::Digest(digest) => digest,
                };
                if news {
                    self.say(tools, &message);
                }
                Ok(Did::Trouble { message })
            }
            Step::Deploy(digest) => self.deploy(tools, digest, interrupt).await,
        }
    }

    async fn deploy(
        &mut self,
        tools: &Tools,
        digest: String,
        interrupt: &mut Interrupt,
    ) -> Result<Did, StateError> {
        let before = self.memory.attempt.as_ref().filter(|attempt| attempt.digest == digest);
        // Whom a person has to help was said; saying it every time helps nobody.
        let told = before.map(|attempt| attempt.outcome).filter(|it| matches!(it, Outcome::Person { .. }));
        decide::begin(&mut self.memory, &digest, Timestamp::now());
        self.memory.write(&self.file, Durability::Synced)?;
        if told.is_none() {
            self.say(tools, &format!("{} is {digest} now, which is deployed", self.image));
        }
        let image = format!("{}@{digest}", self.image);
        let exit = self.child(tools, &["deploy", &image], told.is_some(), interrupt).await;
        // A state that cannot be read is told by the next look.
        let current = self.store.read().ok().and_then(|state| state.current_deployment);
        let wanted = decide::pinned(&self.image.name(), &digest);
        let live = current.is_some_and(|current| current.image == wanted);
        let outcome = decide::ended(&mut self.memory, exit, live, Timestamp::now());
        self.memory.write(&self.file, Durability::Synced)?;
        let words = said_of(outcome, exit);
        if told != Some(outcome) {
            self.say(tools, &format!("{digest} is {words}"));
        }
        let done = matches!(outcome, Outcome::Deployed | Outcome::Left { .. });
        if done && !interrupt.was_heard() {
            self.prune(tools, interrupt).await?;
        }
        Ok(Did::Deployed { digest, exit, live, words })
    }

    async fn prune(&mut self, tools: &Tools, interrupt: &mut Interrupt) -> Result<(), StateError> {
        // What was told is not told again before it changes: a proxy that is down is down all day.
        let told = self.prune_failed;
        let exit = self.child(tools, &["prune"], told.is_some(), interrupt).await;
        let well = exit == Some(0);
        self.prune_failed = (!well).then_some(exit);
        if let Some(words) = decide::prune_words(told, self.prune_failed) {
            self.say(tools, &words);
        }
        decide::pruned(&mut self.memory, well, Timestamp::now());
        self.memory.write(&self.file, Durability::Unsynced)
    }

    /// When `prune` is due. A memory that cannot be read is told by the look.
    fn prune_due(&self, now: Timestamp) -> Timestamp {
        let state = self.store.read().ok();
        let warm = state.and_then(|state| state.previous_deployment).and_then(|before| before.warm_until);
        decide::prune_at(&self.memory, warm, now)
    }

    /// Runs a command; one that could not be started is like one that a signal ended.
    async fn child(
        &self,
        tools: &Tools,
        words: &[&str],
        quiet: bool,
        interrupt: &mut Interrupt,
    ) -> Option<i32> {
        tools.children.run(&self.app, words, quiet, interrupt).await.unwrap_or_else(|error| {
            self.say(tools, &format!("`switcher {}` could not be run: {error}", words.join(" ")));
            None
        })
    }

    fn nothing(&self) -> Did {
        let digest = self.memory.found.clone().unwrap_or_default();
        let attempt = self.memory.attempt.as_ref().filter(|attempt| attempt.digest == digest);
        let words = attempt.map_or_else(|| "not looked at".to_owned(), |attempt| attempt.outcome.words());
        Did::Nothing { digest, words }
    }

    fn say(&self, tools: &Tools, happened: &str) {
        tools.voice.say(Some(&self.app), happened);
    }
}

/// What became of a digest, with a warning where its deployment did not end well although it is live. Pure.
fn said_of(outcome: Outcome, exit: Option<i32>) -> String {
    let words = outcome.words();
    match (outcome, exit) {
        (Outcome::Deployed, Some(0)) => words,
        (Outcome::Deployed, Some(exit)) => format!(
            "{words}, with a warning: it is live, although its deployment ended with exit code {exit}; `switcher history` \
             tells why"
        ),
        (Outcome::Deployed, None) => {
            format!("{words}, with a warning: it is live, although its deployment was cut short")
        }
        (Outcome::Trying | Outcome::Left { .. } | Outcome::Later { .. } | Outcome::Person { .. }, _) => words,
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let random = u32::try_from(Ulid::generate().random() & u128::from(u32::MAX)).unwrap_or_default();
    f64::from(random) / f64::from(u32::MAX)
}
