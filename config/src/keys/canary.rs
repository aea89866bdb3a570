//! The keys of `deploy.canary`.

use crate::canary::OnUnjudged;
use crate::section::record;
use crate::values::{BakeSpan, CanarySteps, Limit, Positive};
use crate::{CanaryKey, Factor, Share, Span};

record! {
    /// The part of the clients that a new version gets before all of them, judged by the proxy as a bake is; when it is worse they are taken back, and the deployment fails.
    CanaryKeys, "write for example `canary: {steps: [5%, 25%, 50%], every: 10m}`" {
        /// The shares of the clients that follow each other, each larger than the one before.
        steps: CanarySteps;
        /// How long each step is judged: 1s to 24h.
        every: BakeSpan;
        /// What clients are told apart by: `client` (the address), `header NAME` or `cookie NAME`.
        by: CanaryKey = CanaryKey::Client;
        /// The largest share of requests that may fail; a live version that fails more often allows as much. Default: that of `bake`, else 1%.
        max_error_rate: Option<Share> = None;
        /// How many times slower the slowest hundredth of requests may be than in the live version. Default: that of `bake`, else 2.
        max_p99_ratio: Option<Factor> = None;
        /// How slow the slowest hundredth of requests may be at most. Default: that of `bake`, else no such limit.
        max_p99: Option<Positive> = None;
        /// How many requests to the new version a judgement of a step needs. Default: that of `bake`, else 100.
        min_requests: Option<Limit> = None;
        /// How long a step is waited for beyond its time when too few requests came, or the new version is not wholly healthy.
        hold: Span = Span::seconds(3600);
        /// What becomes of a step that too few requests reached after that: `abort` takes the clients back, `go_on` takes the next step.
        on_inconclusive: OnUnjudged = OnUnjudged::Abort;
    }
}
