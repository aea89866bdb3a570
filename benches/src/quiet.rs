//! Whether the machine is quiet: figures taken beside other work are no figures for a README.

use std::time::Duration;

use switcher::demo::trouble::Trouble;

/// The most that others may do, of the whole machine, for a run that is written down.
pub const QUIET: f64 = 0.05;
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(1);

/// How busy the machine is now with whatever it does, from 0 to 1.
///
/// # Errors
/// When the kernel does not count.
pub fn busy() -> Result<f64, Trouble> {
    let first = Ticks::now()?;
    std::thread::park_timeout(WATCH);
    Ok(first.busy_until(Ticks::now()?))
}

/// Time of all cores since the start of the machine.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Result<Self, Trouble> {
        let cannot = || Trouble::system("read /proc/stat");
        let text = std::fs::read_to_string("/proc/stat").map_err(cannot())?;
        Self::parse(&text).ok_or_else(|| cannot()(std::io::ErrorKind::InvalidData.into()))
    }

    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(text: &str) -> Option<Self> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let ticks: Vec<u64> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        Some(Self { idle: ticks.get(3)? + ticks.get(4)?, all: ticks.iter().sum() })
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks of a second")]
    fn busy_until(self, later: Self) -> f64 {
        let (idle, all) = (later.idle.saturating_sub(self.idle), later.all.saturating_sub(self.all));
        if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_idle_is_busy() {
        let at = |text| Ticks::parse(text).expect("ticks");
        let (first, then) = (at("cpu  10 0 10 100 0 0 0 0 9 9\n"), at("cpu  30 5 15 130 20 0 5 15 9 9\n"));
        assert!((first.busy_until(then) - 0.5).abs() < 1e-9);
        assert!(first.busy_until(first).abs() < 1e-9);
        assert!(Ticks::parse("cpu0 1 2 3").is_none());
    }
}
