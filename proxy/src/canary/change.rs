//! May a canary begin, change or end? Pure decisions over the routing state: no clock, no socket, no file.

use jiff::Timestamp;
use switcher_config::canary::steps as growing;
use switcher_config::wire::{
    BakeFigures, Canary, CanaryAbortRequest, CanaryPlan, CanaryRequest, CanaryResult, CanarySteps, Health,
    RefusalReason,
};
use switcher_config::{CanaryRules, Share};

use super::{ended, going, renewed};
use crate::decide::{Denied, fenced, healthy, same_generation, standby};
use crate::routing::{AppRouting, SavedCanary};

/// The most headers, and the most cookies, that are looked for: each request is held against all of them.
const RULES: usize = 16;

/// The most networks.
const NETWORKS: usize = 256;

/// What a decision knows of the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// The health of the slot.
    pub health: Health,
    /// Why it is not healthy.
    pub reason: Option<&'a str>,
    /// A random number, for a canary that begins.
    pub salt: u64,
    /// Now.
    pub at: Timestamp,
}

/// The routing after a canary began or was changed, or why there is none.
///
/// # Errors
/// When the lease was lost, the generation moved, the slot is live, has no upstreams or is not healthy and not forced, or
/// the request makes no sense.
pub(super) fn canary(
    now: &AppRouting,
    request: &CanaryRequest,
    moment: Moment<'_>,
) -> Result<AppRouting, Denied> {
    let fence = fenced(now, request.fence.as_ref())?;
    same_generation(now, request.expected_generation)?;
    standby(now, request.slot)?;
    let before = going(now);
    let first = request.steps.as_ref().map(|steps| first(now, request, steps)).transpose()?;
    let rules = rules(now, request, first, before.map(|canary| &canary.shown.rules))?;
    let smaller = before.is_some_and(|canary| rules.share <= canary.shown.rules.share);
    // Fewer clients are always better there than more.
    if !(request.force || smaller) {
        healthy(now, request.slot, moment.health, moment.reason)?;
    }
    let generation = now.generation.next();
    let narrows = before.is_some_and(|canary| narrows(&canary.shown.rules, &rules));
    let SavedCanary { salt, narrowed, shown } = before.cloned().unwrap_or_else(|| SavedCanary {
        salt: moment.salt,
        narrowed: None,
        shown: Canary {
            slot: request.slot,
            release: now.slots.get(request.slot).release.clone(),
            generation,
            rules: rules.clone(),
            began_at: moment.at,
            share_since: moment.at,
            limits: Default::default(),
            baseline: BakeFigures::default(),
            seen: BakeFigures::default(),
            steps: None,
            outcome: None,
        },
    });
    let limits = request.limits.clone().unwrap_or_else(|| shown.limits.clone());
    let kept = shown.steps.clone().filter(|_| request.share.is_none());
    let steps = request.steps.as_ref().map(plan).or(kept);
    let shown = renewed(Canary { rules, limits, steps, ..shown }, moment.at);
    let narrowed = if narrows { Some(generation) } else { narrowed };
    let canary = Some(SavedCanary { salt, narrowed, shown });
    // After a restart the live release is told from the canary by its generation.
    let since = now.since.or(Some(now.generation));
    Ok(AppRouting { generation, fence, canary, since, left: None, ..now.clone() })
}

/// Whether somebody who was on the canary's side by the rules before may not be there by these.
fn narrows(before: &CanaryRules, rules: &CanaryRules) -> bool {
    fn keeps<T: PartialEq>(before: &[T], now: &[T]) -> bool {
        before.iter().all(|rule| now.contains(rule))
    }
    rules.share < before.share
        || rules.by != before.by
        || !keeps(&before.headers, &rules.headers)
        || !keeps(&before.cookies, &rules.cookies)
        || !keeps(&before.clients, &rules.clients)
}

/// The first of steps that make sense.
fn first(now: &AppRouting, request: &CanaryRequest, steps: &CanarySteps) -> Result<Share, Denied> {
    let bad = |what: &str| Denied::new(RefusalReason::BadRequest, now, what);
    if request.share.is_some() {
        return Err(bad("a canary has either a share or steps"));
    }
    if steps.every.0.as_secs() == 0 {
        return Err(bad("a step of a canary takes a second or more"));
    }
    let shares = growing(steps.shares.clone()).map_err(|wrong| bad(&wrong.to_string()))?;
    Ok(shares.first().copied().unwrap_or_default())
}

fn plan(steps: &CanarySteps) -> CanaryPlan {
    let left = steps.shares.iter().skip(1).copied().collect();
    CanaryPlan { left, every: steps.every, then: steps.then, waits: None, passed: false }
}

/// The rules after the request: what it leaves out stays as it is.
fn rules(
    now: &AppRouting,
    request: &CanaryRequest,
    first: Option<Share>,
    before: Option<&CanaryRules>,
) -> Result<CanaryRules, Denied> {
    let before = before.cloned().unwrap_or_default();
    let rules = CanaryRules {
        share: first.or(request.share).unwrap_or(before.share),
        by: request.by.clone().unwrap_or(before.by),
        headers: request.headers.clone().unwrap_or(before.headers),
        cookies: request.cookies.clone().unwrap_or(before.cookies),
        clients: request.clients.clone().unwrap_or(before.clients),
    };
    let bad = |what: &str| Err(Denied::new(RefusalReason::BadRequest, now, what));
    if rules.headers.len() > RULES || rules.cookies.len() > RULES {
        return bad(&format!("a canary looks for at most {RULES} headers and {RULES} cookies"));
    }
    if rules.clients.len() > NETWORKS {
        return bad(&format!("a canary takes at most {NETWORKS} networks"));
    }
    if rules.reach_nobody() {
        return bad("a canary with 0% of the clients and no header, cookie or network gets nobody");
    }
    Ok(rules)
}

/// The routing after a canary was ended by somebody, or why there is none.
///
/// # Errors
/// When the lease was lost, the generation moved, or none goes on.
pub(super) fn abort(
    now: &AppRouting,
    request: &CanaryAbortRequest,
    at: Timestamp,
) -> Result<AppRouting, Denied> {
    let fence = fenced(now, request.fence.as_ref())?;
    same_generation(now, request.expected_generation)?;
    if going(now).is_none() {
        return Err(none_goes_on(now));
    }
    let next = AppRouting { generation: now.generation.next(), fence, ..now.clone() };
    Ok(ended(next, CanaryResult::Aborted, Vec::new(), at))
}

/// There is no canary to change.
pub(super) fn none_goes_on(now: &AppRouting) -> Denied {
    Denied::new(RefusalReason::UnknownCanary, now, "no canary goes on")
}

/// The routing after a canary has got its next share by itself.
pub(super) fn raised(now: &AppRouting, share: Share, at: Timestamp) -> AppRouting {
    let mut next = AppRouting { generation: now.generation.next(), ..now.clone() };
    next.canary = next.canary.map(|SavedCanary { salt, narrowed, mut shown }| {
        shown.rules.share = share;
        if let Some(steps) = &mut shown.steps {
            steps.left.retain(|left| *left > share);
            steps.waits = None;
        }
        SavedCanary { salt, narrowed, shown: renewed(shown, at) }
    });
    next
}

#[cfg(test)]
mod tests;
