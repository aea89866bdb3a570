//! The last word of a deployment: what is live now, what it took, what to do next. Pure.

use serde::Serialize;
use serde_json::{Value, json};
use switcher_config::AppName;
use switcher_config::wire::{DrainReceipt, Kind, Receipt};

use super::machine::{Machine, Phase};
use super::order::Purpose;
use crate::code::Code;
use crate::failure::{Failure, Live};
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::state::record::DeploymentRecord;

/// What a deployment that went well says with `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Conclusion {
    /// The application.
    pub app: AppName,
    /// What it was for.
    pub purpose: Purpose,
    /// Its record, as state and history have it.
    pub deployment: DeploymentRecord,
    /// The deployment before, which is warm until its deadline.
    pub previous: Option<DeploymentRecord>,
    /// The switch; none when traffic was left where it is.
    pub receipt: Option<Receipt>,
    /// What this command brought to its end before: an earlier deployment that was cut short.
    pub recovered: Option<String>,
}

/// Gathers it.
#[must_use]
pub fn conclusion(
    machine: &Machine,
    drain: Option<DrainReceipt>,
    deployment: DeploymentRecord,
    previous: Option<DeploymentRecord>,
    recovered: Option<String>,
) -> Conclusion {
    let order = &machine.order;
    let receipt = machine.facts.switched.as_ref().map(|moved| Receipt {
        app: order.app.clone(),
        from: moved.from,
        to: order.slot,
        generation: moved.generation,
        switched_at: moved.switched_at,
        switch_micros: moved.switch_micros.unwrap_or(f64::NAN),
        drain,
    });
    Conclusion { app: order.app.clone(), purpose: order.purpose, deployment, previous, receipt, recovered }
}

impl Conclusion {
    /// What `--json` prints. A promotion prints the fields of its receipt, as the contract has them, and the rest
    /// beside them.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn value(&self) -> serde_json::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        if let (Purpose::Promote, Some(receipt), Value::Object(fields)) =
            (self.purpose, &self.receipt, &mut value)
        {
            fields.remove("receipt");
            if let Value::Object(receipt) = serde_json::to_value(receipt)? {
                fields.extend(receipt);
            }
        }
        Ok(value)
    }
}

/// The conclusion for people; `rollback` is the command that goes back, `promote` the one that goes on.
#[must_use]
pub fn page(conclusion: &Conclusion, rollback: &str, promote: &str) -> Page {
    let deployment = &conclusion.deployment;
    let mut page = Page::default();
    let head = page.line("", Tone::Plain, 0);
    head.words(&format!("{}:", conclusion.app), Tone::Strong);
    match &conclusion.receipt {
        Some(receipt) => {
            head.words(&format!("{} is live in {},", deployment.version, receipt.to), Tone::Good)
                .words(&format!("generation {},", receipt.generation), Tone::Plain)
                .words(&swapped(receipt), Tone::Plain);
        }
        None => {
            head.words(
                &format!("{} is ready in {};", deployment.version, deployment.active_slot),
                Tone::Good,
            )
            .words("traffic was left where it is", Tone::Plain);
        }
    }
    fact(&mut page, "deployment", deployment.id.as_str());
    if !deployment.image.is_empty() {
        fact(&mut page, "image", &format!("{} ({})", deployment.image, deployment.platform));
    }
    if let Some(schema) = schema(deployment) {
        fact(&mut page, "schema", &schema);
    }
    if let Some(drain) = conclusion.receipt.as_ref().and_then(|receipt| receipt.drain.as_ref()) {
        drained(&mut page, drain);
    }
    if let Some(previous) = conclusion.previous.as_ref().filter(|_| conclusion.receipt.is_some()) {
        let until =
            previous.warm_until.map(|at| format!(" until {}", phrase::moment(at))).unwrap_or_default();
        fact(
            &mut page,
            "warm",
            &format!("{} in {}{until}: `{rollback}` is instant", previous.version, previous.active_slot),
        );
    }
    if let Some(verified) = &deployment.verified {
        fact(&mut page, "verified", &phrase::verified(verified));
    }
    for warning in &deployment.warnings {
        page.line("  warning", Tone::Warn, 14).words(warning, Tone::Plain);
    }
    if let Some(recovered) = &conclusion.recovered {
        fact(&mut page, "before that", recovered);
    }
    if conclusion.receipt.is_none() {
        fact(&mut page, "next", promote);
    }
    page
}

fn fact(page: &mut Page, label: &str, text: &str) {
    page.line(&format!("  {label}"), Tone::Faint, 14).words(text, Tone::Plain);
}

fn swapped(receipt: &Receipt) -> String {
    if receipt.switch_micros.is_finite() {
        format!("swapped in {}", phrase::duration(receipt.switch_micros / 1e6))
    } else {
        "confirmed by the proxy's status".to_owned()
    }
}

fn schema(deployment: &DeploymentRecord) -> Option<String> {
    let name = |version: &Option<String>| version.clone().unwrap_or_else(|| "nothing".to_owned());
    let moved = deployment.schema_before.is_some() || deployment.schema_after.is_some();
    let snapshot = deployment.snapshot.as_ref().map(|id| format!("snapshot {id}"));
    let change = moved.then(|| {
        let run = match deployment.migrations_run {
            0 => "no migration was due".to_owned(),
            1 => "1 migration".to_owned(),
            several => format!("{several} migrations"),
        };
        format!("{} to {} ({run})", name(&deployment.schema_before), name(&deployment.schema_after))
    });
    match (change, snapshot) {
        (Some(change), Some(snapshot)) => Some(format!("{change}, {snapshot}")),
        (change, snapshot) => change.or(snapshot),
    }
}

fn drained(page: &mut Page, drain: &DrainReceipt) {
    fact(page, "drained", &format!("{} in {}", drain.slot, phrase::duration(drain.seconds)));
    fact(page, "finished", &phrase::counts(&drain.finished));
    let cut = phrase::lengths(&drain.cut);
    let tone = if cut.total() == 0 { Tone::Plain } else { Tone::Warn };
    page.line("  cut", Tone::Faint, 14).words(&phrase::counts(&cut), tone);
    for exchange in Kind::ALL.into_iter().flat_map(|kind| drain.cut.get(kind)) {
        page.line("", Tone::Plain, 14)
            .words(phrase::singular(exchange.kind), Tone::Plain)
            .words(&exchange.route, Tone::Strong)
            .words(&format!("after {}", phrase::duration(exchange.age_seconds)), Tone::Plain);
    }
}

/// What a deployment that failed says; none when it went well. `next` leads on, `history` shows what happened.
#[must_use]
pub fn failure(machine: &Machine, live: Live, next: &str) -> Option<Failure> {
    let order = &machine.order;
    let (at, cause) = match &machine.phase {
        Phase::Failed { at, cause } => (*at, cause),
        Phase::Done if machine.facts.stays.is_some() => {
            let cause = machine.facts.stays.as_ref()?;
            let code = Code::find(&cause.code).unwrap_or(Code::BakeStays);
            let failure = Failure::new(code, cause.message.clone(), live, next);
            return Some(with_evidence(failure, &cause.evidence));
        }
        Phase::Done if machine.facts.interrupted => {
            let message = format!(
                "interrupted, but traffic HAS moved: {} is live in {}, and it is recorded",
                order.release.version, order.slot
            );
            return Some(Failure::new(Code::InterruptedDrain, message, live, next));
        }
        Phase::Done | Phase::Working { .. } | Phase::Undoing { .. } => return None,
    };
    let code = Code::find(&cause.code).unwrap_or(Code::DeployOpen);
    let message = format!(
        "{} of {} ({}) failed at {}: {}",
        order.purpose.as_str(),
        order.release.version,
        order.id,
        at.as_str(),
        cause.message
    );
    Some(with_evidence(Failure::new(code, message, live, next), &cause.evidence))
}

/// A failure with the last answers and log lines in front.
#[must_use]
pub fn with_evidence(mut failure: Failure, evidence: &[String]) -> Failure {
    if !evidence.is_empty() {
        let value: Value = json!({ "evidence": evidence });
        failure.report = Some(Box::new((evidence.join("\n"), value)));
    }
    failure
}
