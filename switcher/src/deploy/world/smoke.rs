//! The stage `smoke`: the proxy asks, [`crate::deploy::smoke`] judges, and what is bad is asked again as often as allowed.

use std::time::Duration;

use switcher_config::fill;
use switcher_config::wire::{SmokeAnswer, SmokeRequest, Smoked};
use tokio::time::sleep;

use super::{Trouble, World, cause, stopped};
use crate::code::Code;
use crate::deploy::machine::{Cause, Fact, Machine};
use crate::deploy::smoke::Question;
use crate::environment::word;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

impl World<'_> {
    /// The new version answers well, through the proxy's own listener.
    pub(super) async fn smoke(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let site = self.site;
        let words = site.words(&machine.order, machine.order.slot, 0);
        let filled = |text: &str| fill(text, |name| word(&words, name));
        let questions = site.deploy.smoke.iter().map(|test| Question::new(test, filled));
        let mut left: Vec<Question> =
            questions.collect::<Result<_, _>>().map_err(|why| self.unaskable(&why))?;
        let mut asked = 0;
        loop {
            let answers = self.ask(machine, &left).await?;
            asked += 1;
            let mut wrong = Vec::new();
            let judged = left.into_iter().zip(&answers);
            left = judged
                .filter_map(|(question, answer)| {
                    wrong.push(question.wrong(answer)?);
                    Some(question)
                })
                .collect();
            if left.is_empty() {
                return Ok(None);
            }
            if !left.iter().all(|question| question.again(asked)) {
                return Err(self.bad_smoke(&wrong, machine));
            }
            site.ctx.reporter.waiting(&site.redactor.line(&format!("asking again: {}", wrong.join("; "))));
            self.unless_interrupted(sleep(PAUSE)).await.map_err(stopped)?;
        }
    }

    async fn ask(&mut self, machine: &Machine, questions: &[Question]) -> Result<Vec<SmokeAnswer>, Trouble> {
        let asks = questions.iter().map(|question| question.ask.clone()).collect();
        let request = SmokeRequest { slot: machine.order.slot, asks };
        let site = self.site;
        let asked = self.unless_interrupted(site.admin.smoke(&site.app, &request)).await.map_err(stopped)?;
        let Smoked { generation, answers } = asked.map_err(|error| self.no_proxy(error))?;
        if generation != machine.expected() {
            return Err(self.moved(&self.seen().await?, machine.expected()));
        }
        Ok(answers)
    }

    fn unaskable(&self, why: &str) -> Trouble {
        let message = self.site.redactor.line(&format!("a smoke test cannot be asked: {why}"));
        Trouble::Failed(cause(Code::SmokeFailed, message))
    }

    /// What was expected and what came, of each test that is bad.
    fn bad_smoke(&self, wrong: &[String], machine: &Machine) -> Trouble {
        let clean = |line: &String| self.site.redactor.line(line);
        let message = format!(
            "{} in {} did not answer {} of {} smoke tests well: {}",
            machine.order.release.version,
            machine.order.slot,
            wrong.len(),
            self.site.deploy.smoke.len(),
            wrong.join("; ")
        );
        Trouble::Failed(Cause {
            code: Code::SmokeFailed.as_str().to_owned(),
            message: self.site.redactor.line(&message),
            evidence: wrong.iter().map(clean).collect(),
        })
    }
}
