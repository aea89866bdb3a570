//! What the deployer remembers: who holds the lease, and whether something was cut short. Pure.

use super::Finding;
use crate::state::Verdict;

/// An operation whose journal is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What it is, such as `deploy`.
    pub operation: String,
    /// The version.
    pub version: String,
    /// How far it got.
    pub during: String,
}

/// Judges lease and journal. `unfinished` is an error when the journal cannot be understood.
#[must_use]
pub fn check(lease: &Verdict, unfinished: &Result<Option<Unfinished>, String>) -> Vec<Finding> {
    let repair = "`switcher repair` brings it to its end, and says how";
    let held = matches!(lease, Verdict::Held(_));
    let lock = match lease {
        Verdict::Free => Finding::ok("lock", "nobody holds the lease"),
        Verdict::Held(holder) => Finding::ok("lock", format!("the lease is held: {}", holder.sentence())),
        Verdict::Dead(holder) => Finding::warning(
            "lock",
            format!("the lease is stale, its owner is dead: {}", holder.sentence()),
            "the next command takes it; `switcher lock release` frees it now",
        ),
        Verdict::Expired(holder) => Finding::warning(
            "lock",
            format!("the lease is stale, its owner gave no sign of life: {}", holder.sentence()),
            "the next command takes it; `switcher lock release` frees it now",
        ),
    };
    let journal = match unfinished {
        Ok(None) => Finding::ok("journal", "nothing was cut short"),
        Ok(Some(Unfinished { operation, version, during })) if held => {
            Finding::ok("journal", format!("{operation} of {version} is at work: {during}"))
        }
        Ok(Some(Unfinished { operation, version, during })) => Finding::failed(
            "journal",
            format!("{operation} of {version} was cut short during {during}"),
            repair,
        ),
        Err(why) => Finding::failed("journal", format!("the journal cannot be understood: {why}"), repair),
    };
    vec![lock, journal]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict as Judged;
    use crate::state::record::LockRecord;

    #[test]
    fn a_cut_deployment_is_a_fault_unless_somebody_is_at_it() {
        let cut = Ok(Some(Unfinished {
            operation: "deploy".to_owned(),
            version: "v2".to_owned(),
            during: "migrate".to_owned(),
        }));
        let verdicts = |lease: &Verdict, journal: &Result<Option<Unfinished>, String>| {
            check(lease, journal).iter().map(|finding| finding.verdict).collect::<Vec<_>>()
        };
        let lock = LockRecord::default();
        assert_eq!(verdicts(&Verdict::Free, &Ok(None)), [Judged::Ok, Judged::Ok]);
        assert_eq!(verdicts(&Verdict::Held(lock.clone()), &cut), [Judged::Ok, Judged::Ok]);
        assert_eq!(verdicts(&Verdict::Dead(lock.clone()), &cut), [Judged::Warning, Judged::Failed]);
        assert_eq!(
            verdicts(&Verdict::Expired(lock), &Err("x".to_owned())),
            [Judged::Warning, Judged::Failed]
        );
    }
}
