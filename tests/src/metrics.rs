//! What a proxy counts, as its `/metrics` says it, and the one way in which tests look at that.
//!
//! A request is counted when it is over for the proxy, which may be after its client has read the last byte. So a figure
//! that an action leads to is waited for, never read once. That something was not counted is looked at behind a barrier:
//! something that is known to be counted later.

use crate::proxy::Proxy;
use crate::until::{PATIENCE, until_seen};

/// The value of a series in the text of `/metrics`; its name is given with all its labels.
///
/// # Panics
/// When the value is no whole number.
#[must_use]
pub fn value(text: &str, series: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(rest.trim().parse().unwrap_or_else(|e| panic!("{series} {rest}: {e}")))
}

impl Proxy {
    /// All that is counted, as text.
    pub async fn metrics(&self) -> String {
        self.admin().get("/metrics").await.text()
    }

    /// The value of a series now: for figures of which nothing is awaited any more, and to compare with later.
    ///
    /// # Panics
    /// When there is no such series.
    pub async fn metric(&self, series: &str) -> u64 {
        let text = self.metrics().await;
        value(&text, series).unwrap_or_else(|| panic!("no {series} in\n{text}"))
    }

    /// Waits until a series has this value.
    ///
    /// # Panics
    /// When it does not get it; the message shows all that was counted.
    pub async fn wait_metric(&self, series: &str, wanted: u64) {
        let what = format!("{series} {wanted}");
        until_seen(PATIENCE, &what, || self.metrics(), |text| value(text, series) == Some(wanted)).await;
    }

    /// Waits until a series has at least this value.
    ///
    /// # Panics
    /// When it does not get so far; the message shows all that was counted.
    pub async fn wait_metric_at_least(&self, series: &str, least: u64) {
        let what = format!("{series} {least} or more");
        let enough = |text: &String| value(text, series).is_some_and(|value| value >= least);
        until_seen(PATIENCE, &what, || self.metrics(), enough).await;
    }

    /// Waits until a limit has acted so often.
    ///
    /// # Panics
    /// When it does not, or more often.
    pub async fn wait_limit(&self, limit: &str, times: u64) {
        self.wait_metric(&format!("switcher_limits_total{{limit=\"{limit}\"}}"), times).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let text = "# TYPE a counter\na{b=\"c\"} 7\na{b=\"cd\"} 8\nab 9\n";
        assert_eq!(
            (value(text, "a{b=\"c\"}"), value(text, "ab"), value(text, "a")),
            (Some(7), Some(9), None)
        );
    }
}
