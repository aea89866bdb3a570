//! `switcher logs -f`: what the containers write, as they write it, for as long as somebody reads.
//!
//! Each container is attended by a task of its own; once a second is looked which containers there are. One that was
//! replaced, restarted or moved to by a switch is gone on with, and said.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::line::{Assembler, LogLine, Style};
use super::source::wanted;
use super::{Place, words};
use crate::cli::LogsTarget;
use crate::commands::{Outcome, watched};
use crate::console::Reader;
use crate::container::{Container, ContainerState, label};
use crate::docker::logs::{Part, Pieces};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::redact::Redactor;

/// Between two looks at which containers there are.
const LOOK: Duration = Duration::from_secs(1);

/// How many lines wait for the terminal before a container's log is read no further.
const WAITING: usize = 64;

/// What a task tells.
enum Told {
    /// A line of a container.
    Line(String, LogLine),
    /// The log of the container with this id came to its end, with the time of its last line.
    Ended(String, Option<Timestamp>),
}

/// A container whose log was begun.
struct Known {
    name: String,
    attended: bool,
    last: Option<Timestamp>,
    /// Whether its end was said.
    said: bool,
}

/// Follows until Ctrl-C, or until nobody reads.
pub(super) async fn run(
    place: &Place<'_>,
    target: &LogsTarget,
    part: Part,
    style: Style,
    interrupt: &mut Interrupt,
) -> Outcome {
    let (tell, mut told) = mpsc::channel(WAITING);
    let mut following =
        Following { place, target, part, tell, known: BTreeMap::new(), first: true, said: String::new() };
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = interrupt
            .unless(async {
                tokio::select! {
                    biased;
                    told = told.recv() => told,
                    _ = looks.tick() => None,
                }
            })
            .await
            .map_err(|end| watched(place.ctx, end))?;
        match next {
            Some(Told::Line(name, line)) => {
                if place.ctx.console.write(&style.container(&name, &line))? == Reader::Gone {
                    return Ok(());
                }
            }
            Some(Told::Ended(id, last)) => following.ended(&id, last),
            None => {
                interrupt
                    .unless(Box::pin(following.look()))
                    .await
                    .map_err(|end| watched(place.ctx, end))??;
            }
        }
    }
}

struct Following<'a> {
    place: &'a Place<'a>,
    target: &'a LogsTarget,
    part: Part,
    tell: mpsc::Sender<Told>,
    known: BTreeMap<String, Known>,
    /// Nothing was seen yet: what is there is no news.
    first: bool,
    /// The last word beside the lines.
    said: String,
}

impl Following<'_> {
    fn ended(&mut self, id: &str, last: Option<Timestamp>) {
        if let Some(known) = self.known.get_mut(id) {
            known.attended = false;
            known.last = last.or(known.last);
        }
    }

    /// Sees which containers there are, and attends those that nobody attends.
    async fn look(&mut self) -> Result<(), Failure> {
        let found = match self.place.find(self.target).await {
            Ok(found) => found,
            Err(failure) if self.first => return Err(failure),
            // What is followed goes on; a proxy that restarts, or a container between two lives, comes back.
            Err(failure) => {
                self.say(&format!("waiting: {}", failure.message));
                return Ok(());
            }
        };
        self.forget(&found);
        for container in &found {
            match self.known.get(&container.id) {
                None => self.begin(container),
                Some(known) if !known.attended => self.again(container),
                Some(_) => {}
            }
        }
        if found.is_empty() {
            self.say(&format!("nothing is in {}; waiting for a container", words(self.target)));
        }
        self.first = false;
        Ok(())
    }

    /// Containers that are not there any more, once their logs have come to an end.
    fn forget(&mut self, found: &[Container]) {
        let there = |id: &String| found.iter().any(|container| container.id == *id);
        let mut gone = Vec::new();
        self.known.retain(|id, known| {
            let stays = known.attended || there(id);
            if !stays {
                gone.push(known.name.clone());
            }
            stays
        });
        for name in gone {
            self.say(&format!("{name} is gone"));
        }
    }

    fn begin(&mut self, container: &Container) {
        let part = if self.first {
            self.part
        } else {
            let version = container.labels.get(label::VERSION).map_or("of no version", String::as_str);
            self.say(&format!("{} is a new container, {version}; its log follows", container.name));
            Part { tail: None, since: None, follow: true }
        };
        let known = Known { name: container.name.clone(), attended: true, last: None, said: false };
        self.known.insert(container.id.clone(), known);
        self.attend(container, part, None);
    }

    /// One whose log came to its end, and that may run again.
    fn again(&mut self, container: &Container) {
        let Some(known) = self.known.get_mut(&container.id) else { return };
        let (name, last) = (known.name.clone(), known.last);
        match &container.state {
            ContainerState::Running { .. } => {
                known.attended = true;
                known.said = false;
                self.say(&format!("{name} runs; its log goes on"));
                self.attend(container, Part { tail: None, since: last, follow: true }, last);
            }
            ContainerState::Exited(end) if !known.said => {
                known.said = true;
                self.say(&format!("{name} ended with exit code {}", end.code));
            }
            ContainerState::Exited(_)
            | ContainerState::Created
            | ContainerState::Restarting { .. }
            | ContainerState::Other(_) => {}
        }
    }

    fn attend(&self, container: &Container, part: Part, after: Option<Timestamp>) {
        let log = Log {
            id: container.id.clone(),
            name: container.name.clone(),
            pieces: self.place.engine.pieces(&container.id, part),
            since: part.since,
            after,
        };
        tokio::spawn(log.attend(self.place.redactor.clone(), self.tell.clone()));
    }

    /// A word beside the lines; the same one is not said twice in a row.
    fn say(&mut self, text: &str) {
        let text = self.place.redactor.line(text);
        if text != self.said {
            self.place.ctx.reporter.step(&text);
            self.said = text;
        }
    }
}

/// The log of one container.
struct Log {
    id: String,
    name: String,
    pieces: Pieces,
    since: Option<Timestamp>,
    /// Lines up to then were shown already.
    after: Option<Timestamp>,
}

impl Log {
    /// Tells every line, then the end. When nobody listens any more there is nobody to tell.
    async fn attend(mut self, redactor: Redactor, tell: mpsc::Sender<Told>) {
        let mut assembler = Assembler::new(&redactor);
        let mut last = self.after;
        loop {
            let mut lines = Vec::new();
            let piece = self.pieces.next().await;
            match &piece {
                Some(Ok(piece)) => assembler.push(piece, |line| lines.push(line)),
                Some(Err(_)) | None => assembler.finish(|line| lines.push(line)),
            }
            for line in lines {
                if !wanted(&line, self.since)
                    || line.at.is_some_and(|at| self.after.is_some_and(|after| at <= after))
                {
                    continue;
                }
                last = line.at.or(last);
                if tell.send(Told::Line(self.name.clone(), line)).await.is_err() {
                    return;
                }
            }
            if !matches!(piece, Some(Ok(_))) {
                let _ = tell.send(Told::Ended(self.id, last)).await;
                return;
            }
        }
    }
}
