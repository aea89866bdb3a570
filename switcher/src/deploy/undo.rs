//! How a deployment that failed before traffic moved leaves no trace, and how traffic goes back after it. Pure.

use serde::{Deserialize, Serialize};

use super::order::{Order, Purpose, Stage};

/// One thing that is undone. Each may be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Who is on the canary's side is taken back.
    EndCanary,
    /// The new slot's workers stop again.
    DeactivateNew,
    /// The old slot's workers start again.
    ActivateOld,
    /// Traffic moves back to the slot that was left.
    Return,
    /// The old slot's workers stop again: traffic could not move back.
    DeactivateOld,
    /// The new slot's workers start again: traffic could not move back.
    ActivateNew,
    /// The proxy forgets the new slot's addresses.
    Withdraw,
    /// What this deployment started in the slot is stopped and removed.
    Remove,
    /// The hook `post_rollback`: the proxy took traffic back.
    PostRollback,
    /// The hook `on_failure`.
    OnFailure,
    /// The failure is written into state and history.
    Record,
}

impl Undo {
    /// Whether it runs a command of the user's, which is never run a second time by itself.
    #[must_use]
    pub const fn is_hook(self) -> bool {
        match self {
            Self::DeactivateNew
            | Self::ActivateOld
            | Self::DeactivateOld
            | Self::ActivateNew
            | Self::PostRollback
            | Self::OnFailure => true,
            Self::EndCanary | Self::Return | Self::Withdraw | Self::Remove | Self::Record => false,
        }
    }

    /// The word in journals and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndCanary => "end_canary",
            Self::DeactivateNew => "deactivate_new",
            Self::ActivateOld => "activate_old",
            Self::Return => "return",
            Self::DeactivateOld => "deactivate_old",
            Self::ActivateNew => "activate_new",
            Self::Withdraw => "withdraw",
            Self::Remove => "remove",
            Self::PostRollback => "post_rollback",
            Self::OnFailure => "on_failure",
            Self::Record => "record_failure",
        }
    }
}

/// What is to be undone when a stage failed: of that stage, which may have been half done, and of all before it.
#[must_use]
pub fn of(order: &Order, failed: Stage) -> Vec<Undo> {
    let place = |stage: Stage| order.stages.iter().position(|s| *s == stage);
    let begun = |stage: Stage| match (place(stage), place(failed)) {
        (Some(stage), Some(failed)) => stage <= failed,
        (_, _) => false,
    };
    let mut undo = Vec::new();
    // First: whoever is there is served worse, and a slot with clients is not taken apart.
    if begun(Stage::Canary) {
        undo.push(Undo::EndCanary);
    }
    if begun(Stage::Activate) {
        undo.push(Undo::DeactivateNew);
    }
    if begun(Stage::Deactivate) {
        undo.push(Undo::ActivateOld);
    }
    // What waits in the slot from before is neither this deployment's to withdraw nor to remove.
    let fills = matches!(order.purpose, Purpose::Deploy | Purpose::Prepare | Purpose::Redeploy);
    if fills && begun(Stage::Register) {
        undo.push(Undo::Withdraw);
    }
    if fills && begun(Stage::Start) {
        undo.push(Undo::Remove);
    }
    undo.push(Undo::OnFailure);
    undo.push(Undo::Record);
    undo
}

/// What is left to do when the proxy has taken traffic back: what it knows nothing of. The release that was worse stays in
/// its slot, for its logs.
#[must_use]
pub fn after_going_back(order: &Order) -> Vec<Undo> {
    let has = |stage: Stage| order.stages.contains(&stage);
    [
        (has(Stage::Activate), Undo::DeactivateNew),
        (has(Stage::Deactivate), Undo::ActivateOld),
        (true, Undo::PostRollback),
        (true, Undo::OnFailure),
        (true, Undo::Record),
    ]
    .into_iter()
    .filter_map(|(wanted, undo)| wanted.then_some(undo))
    .collect()
}

/// What is left to do when traffic is to go back by our own doing. Workers of which only one version may run at a time are
/// the old ones again before traffic returns to them; others change after it, for it may turn out to stay.
#[must_use]
pub fn going_back(order: &Order) -> Vec<Undo> {
    let left = after_going_back(order);
    let one_at_a_time = order.stages.contains(&Stage::Deactivate);
    let workers = |undo: &Undo| one_at_a_time && matches!(undo, Undo::DeactivateNew | Undo::ActivateOld);
    let (first, then): (Vec<Undo>, Vec<Undo>) = left.into_iter().partition(workers);
    first.into_iter().chain([Undo::Return]).chain(then).collect()
}

/// What is left to do when traffic could not go back: the workers are the new ones again.
#[must_use]
pub fn after_staying(order: &Order) -> Vec<Undo> {
    let has = |stage: Stage| order.stages.contains(&stage);
    let exchanged = has(Stage::Deactivate);
    [(exchanged, Undo::DeactivateOld), (exchanged && has(Stage::Activate), Undo::ActivateNew)]
        .into_iter()
        .filter_map(|(wanted, undo)| wanted.then_some(undo))
        .collect()
}
