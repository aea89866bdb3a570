//! The sections of balancing turned into settings, and back.

use crate::keys::{OutlierKeys, QueueKeys, RetriesKeys};
use crate::settings::{Outliers, Queue, Retries};
use crate::values::{Count, Limit, Positive};

impl From<QueueKeys> for Queue {
    fn from(QueueKeys { requests, max }: QueueKeys) -> Self {
        Self { requests, max: max.0 }
    }
}

impl From<Queue> for QueueKeys {
    fn from(Queue { requests, max }: Queue) -> Self {
        Self { requests, max: Positive(max) }
    }
}

impl From<OutlierKeys> for Outliers {
    fn from(OutlierKeys { failures, window, ejection, share }: OutlierKeys) -> Self {
        Self { failures: failures.0, window: window.0, ejection: ejection.0, share }
    }
}

impl From<Outliers> for OutlierKeys {
    fn from(Outliers { failures, window, ejection, share }: Outliers) -> Self {
        Self { failures: Limit(failures), window: Positive(window), ejection: Positive(ejection), share }
    }
}

impl From<RetriesKeys> for Retries {
    fn from(RetriesKeys { attempts, budget, on }: RetriesKeys) -> Self {
        Self { attempts: attempts.0, budget, on }
    }
}

impl From<Retries> for RetriesKeys {
    fn from(Retries { attempts, budget, on }: Retries) -> Self {
        Self { attempts: Count(attempts), budget, on }
    }
}
