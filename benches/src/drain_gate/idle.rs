//! How long a promote takes when nothing else happens. Reported, never judged: a shared machine says
//! little about time.

use std::time::Instant;

use serde::Serialize;
use switcher::demo::child::Programs;
use switcher::demo::proxy::APP;
use switcher::demo::stage::Stage;
use switcher::demo::trouble::Trouble;
use switcher_config::wire::PromoteRequest;
use switcher_config::{AppName, Slot, Span};

/// The times of promotes without load.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// How many promotes were timed.
    pub samples: usize,
    /// The swap in memory, as the receipts say, in microseconds.
    pub swap_micros: Quantiles,
    /// From the question on the admin socket to its answer, the durable save included, in milliseconds.
    pub answered_millis: Quantiles,
}

/// Where most of the values lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of them are not greater.
    pub p50: f64,
    /// 99 of 100 are not greater.
    pub p99: f64,
    /// None is greater.
    pub max: f64,
}

impl Idle {
    /// Promotes to and fro.
    pub(super) async fn measure(programs: &Programs, samples: u32) -> Result<Self, Trouble> {
        let stage = Stage::open(programs, Span::millis(300)).await?;
        let admin = stage.proxy.admin();
        let app: AppName = APP.parse().map_err(|error| refused(&error))?;
        let (mut swaps, mut answers) = (Vec::new(), Vec::new());
        let mut slot = Slot::Green;
        for _ in 0..samples {
            let request = PromoteRequest::of(slot);
            let asked = Instant::now();
            let switched = admin.promote(&app, &request).await.map_err(|error| refused(&error))?;
            answers.push(asked.elapsed().as_secs_f64() * 1000.0);
            swaps.push(switched.switch_micros);
            slot = slot.other();
        }
        Ok(Self {
            samples: answers.len(),
            swap_micros: Quantiles::of(swaps),
            answered_millis: Quantiles::of(answers),
        })
    }
}

fn refused(error: &dyn std::error::Error) -> Trouble {
    Trouble::Command { command: "promote".to_owned(), code: 1, said: error.to_string() }
}

impl Quantiles {
    /// The quantiles by nearest rank; zeros for no values.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_taken_by_nearest_rank() {
        let values = (1..=1000).rev().map(f64::from).collect();
        assert_eq!(Quantiles::of(values), Quantiles { p50: 500.0, p99: 990.0, max: 1000.0 });
        assert_eq!(Quantiles::of(vec![7.0]), Quantiles { p50: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(Quantiles::of(Vec::new()), Quantiles { p50: 0.0, p99: 0.0, max: 0.0 });
    }
}
