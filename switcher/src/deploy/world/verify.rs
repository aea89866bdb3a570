//! The stage `verify`: the public address is asked from here, as users ask it. When it does not answer well, traffic is
//! moved back.
//!
//! Going back may be done twice: what the proxy serves is looked at first, and nothing is moved over anybody's head.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use switcher_config::settings::VerifySettings;
use switcher_config::wire::AppStatus;
use switcher_config::{Slot, fill};
use tokio::time::{Instant, sleep};

use super::{Trouble, World};
use crate::code::Code;
use crate::deploy::machine::{Cause, Fact, Machine, Phase};
use crate::deploy::order::{Order, Stage};
use crate::deploy::site::Site;
use crate::deploy::verify::{
    Answer, Question, WayBack, kept, not_well, returns, shortened, stays, way_back, went_back,
};
use crate::environment::word;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupted;
use crate::runtime::Readiness;
use crate::switch::{Move, Options, Switch};
use crate::web;

/// How long one answer may take at most; it is asked again after that.
const ONE: Duration = Duration::from_secs(10);
/// How long the last answer may take at least: one that is cut short says nothing.
const LEAST: Duration = Duration::from_secs(2);
/// How much of a body is read, in bytes.
const READ: usize = 64 << 10;
/// How often the proxy is looked at anew when somebody was faster than we were.
const LOOKS: u32 = 3;
/// Somebody else acted in between.
const OVERTAKEN: [Code; 2] = [Code::GenerationMoved, Code::GenerationLost];
/// The slot that was left cannot serve.
const UNFIT: [Code; 3] = [Code::HealthBad, Code::HealthUnknown, Code::SlotEmpty];

impl World<'_> {
    /// The public address answers with the new version.
    pub(super) async fn verify(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let site = self.site;
        let Some(settings) = &site.deploy.verify else { return Ok(None) };
        if self.haste {
            let warning = "the public address was not asked: traffic is to go back anyway".to_owned();
            return Ok(Some(Fact::Warning { warning }));
        }
        let words = site.words(&machine.order, machine.order.slot, 0);
        let filled = |text: &str| fill(text, |name| word(&words, name));
        let question = Question::new(settings, machine.order.slot, filled);
        let deadline = Instant::now() + settings.timeout.0;
        loop {
            let patience = deadline.duration_since(Instant::now()).clamp(LEAST, ONE);
            let answer = match self.unless_interrupted(ask(site, settings, &question, patience)).await {
                Ok(answer) => answer,
                Err(Interrupted) => return Err(unasked(machine)),
            };
            let wrong = question.wrong(&answer);
            let mut verified = question.record(&answer, wrong.is_none(), Timestamp::now());
            verified.url = site.redactor.line(&verified.url);
            let Some(wrong) = wrong else { return Ok(Some(Fact::Verified { verified })) };
            let wrong = site.redactor.line(&format!("GET {}: {wrong}", question.shown()));
            if Instant::now() + settings.interval.0 >= deadline {
                let returns = returns(machine.order.purpose, settings);
                let what = format!("{wrong} (asked for {})", settings.timeout);
                let cause = if returns { not_well(machine, &what) } else { kept(machine, &what) };
                return Ok(Some(Fact::Unverified { verified, cause, returns }));
            }
            site.ctx.reporter.waiting(&format!("asking again: {wrong}"));
            if self.unless_interrupted(sleep(settings.interval.0)).await.is_err() {
                return Err(unasked(machine));
            }
        }
    }

    /// Traffic moves back to the slot that was left.
    pub(super) async fn go_back(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let (Some(moved), Phase::Undoing { cause, .. }) = (&machine.facts.switched, &machine.phase) else {
            return Ok(None);
        };
        for _ in 0..LOOKS {
            let status = self.seen().await?;
            match way_back(&status, moved.from, machine.expected()) {
                WayBack::Back(generation) => {
                    let cause = went_back(cause, moved.from, generation);
                    return Ok(Some(Fact::WentBack { generation, cause }));
                }
                WayBack::Closed(why) => return Ok(Some(Fact::Stays { cause: stays(machine, cause, &why) })),
                WayBack::Open => {}
            }
            if let Some(fact) = self.try_back(machine, moved.from, status, cause).await? {
                return Ok(Some(fact));
            }
        }
        let message = format!("{} changes all the time, so traffic was not moved back", self.site.app);
        Err(Trouble::Unknown(super::cause(Code::GenerationMoved, message)))
    }

    /// Asks the proxy for it once; none when it is to be looked at again.
    async fn try_back(
        &self,
        machine: &Machine,
        to: Slot,
        status: AppStatus,
        why: &Cause,
    ) -> Result<Option<Fact>, Trouble> {
        let stay = |hindrance: &str| {
            let cause = stays(machine, why, &self.site.redactor.line(hindrance));
            Ok(Some(Fact::Stays { cause }))
        };
        if let Some(gone) = self.gone(to).await {
            return stay(&gone);
        }
        let site = self.site;
        let options = Options {
            fence: Some(self.fence()),
            expected: Some(machine.expected()),
            drain_timeout: machine.order.drain,
            unstoppable: true,
            at_once: true,
            ..Options::default()
        };
        let interrupt = self.interrupt.clone();
        let mut switch =
            Switch { ctx: site.ctx, admin: &site.admin, app: &site.app, slot: to, options, interrupt };
        match Box::pin(switch.make_live(status)).await {
            Ok(Move::Moved(switched)) => {
                let generation = switched.generation;
                Ok(Some(Fact::WentBack { generation, cause: went_back(why, to, generation) }))
            }
            Ok(Move::NothingToDo(_)) => Ok(None),
            Err(failure) if OVERTAKEN.contains(&failure.code) => Ok(None),
            Err(failure) if UNFIT.contains(&failure.code) => stay(&failure.message),
            Err(failure) => Err(Trouble::of(&failure)),
        }
    }

    /// Why what was live before cannot serve any more, as the engine knows it before the proxy's probes do. None also
    /// when the engine cannot say.
    async fn gone(&self, slot: Slot) -> Option<String> {
        let site = self.site;
        let before = site.store.read().ok()?.current_deployment?;
        if before.active_slot != slot || before.image.is_empty() {
            return None;
        }
        let runtime = site.runtime().ok()?;
        let running = runtime.running().await.ok()?;
        let Some(inside) = running.get(slot) else {
            return Some(format!("the containers of {} are gone", before.version));
        };
        match runtime.ready(slot, &inside.deployment).await.ok()? {
            Readiness::Failed(why) => Some(why),
            Readiness::Ready | Readiness::Waiting(_) => None,
        }
    }
}

/// That the question can be asked at all is known before traffic moves.
pub(crate) fn askable(site: &Site<'_>, order: &Order) -> Result<(), Failure> {
    let Some(settings) = site.deploy.verify.as_ref().filter(|_| order.stages.contains(&Stage::Verify)) else {
        return Ok(());
    };
    let unusable = |why: String| {
        let message = format!("`deploy.verify.ca_file` cannot be used: {why}");
        Failure::new(Code::ConfigBad, message, Live::Unchanged, site.ctx.command("config check"))
    };
    web::client(ONE, roots(site, settings).as_deref()).map(drop).map_err(unusable)
}

fn roots(site: &Site<'_>, settings: &VerifySettings) -> Option<PathBuf> {
    settings.ca_file.as_ref().map(|file| site.folder.join(file))
}

/// Somebody did not want to wait.
fn unasked(machine: &Machine) -> Trouble {
    let message =
        format!("whether {} is seen at the public address was not waited for", machine.order.release.version);
    Trouble::interrupted(Code::InterruptedDrain, message)
}

/// Asks once. Each time anew from the lookup of the name on, as the next user does.
async fn ask(site: &Site<'_>, settings: &VerifySettings, question: &Question, patience: Duration) -> Answer {
    let silent = |error: String| Answer { error: Some(error), ..Answer::default() };
    let client = match web::client(patience, roots(site, settings).as_deref()) {
        Ok(client) => client,
        Err(error) => return silent(error),
    };
    let mut response = match client.get(&question.url).send().await {
        Ok(response) => response,
        Err(error) => return silent(web::reason(&error)),
    };
    let headers = response.headers();
    let said =
        |name: &str| headers.get(name).map(|text| shortened(&String::from_utf8_lossy(text.as_bytes())));
    let status = response.status().as_u16();
    let mut answer = Answer {
        status: Some(status),
        slot: site.marks.slot.as_deref().and_then(said),
        release: site.marks.release.as_deref().and_then(said),
        location: said("location").filter(|_| (300..400).contains(&status)),
        ..Answer::default()
    };
    let mut body = Vec::new();
    while body.len() < READ {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => {
                answer.error = Some(format!("an answer ({status}) that broke off: {}", web::reason(&error)));
                break;
            }
        }
    }
    body.truncate(READ);
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}
