//! The metrics in OpenMetrics text, which has room for exemplars (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! Pure. The library writes Prometheus's older format only. Called by [`super::Metrics::encode_openmetrics`].

use std::fmt::Write as _;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::exemplar::{AllExemplars, Exemplars};

/// The family whose buckets have exemplars.
pub(super) const DURATIONS: &str = "switcher_request_duration_seconds";

/// The media type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a scraper that accepts this is given OpenMetrics: it says so, and likes no other text better.
#[must_use]
pub fn wanted(accept: &str) -> bool {
    let quality = |media: &str| {
        let of = |item: &str| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media));
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            named.then(|| quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0)))
        };
        accept.split(',').filter_map(of).fold(0.0, f64::max)
    };
    let ours = quality("application/openmetrics-text");
    ours > 0.0 && ours >= quality("text/plain")
}

/// Writes all families.
pub(super) fn encode(families: &[MetricFamily], exemplars: &AllExemplars) -> String {
    let mut out = String::new();
    for family in families {
        let name = family.name();
        let (base, kind) = match family.get_field_type() {
            MetricType::COUNTER => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            MetricType::GAUGE => (name, "gauge"),
            MetricType::HISTOGRAM => (name, "histogram"),
            // There is none of these.
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {base} {}", escaped(family.help()));
        let _ = writeln!(out, "# TYPE {base} {kind}");
        for metric in family.get_metric() {
            let _ = match family.get_field_type() {
                MetricType::COUNTER => {
                    let value = metric.get_counter().get_value();
                    writeln!(out, "{base}_total{} {value}", labels(metric, None))
                }
                MetricType::HISTOGRAM => histogram(&mut out, name, metric, exemplars),
                MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                    let value = metric.get_gauge().get_value();
                    writeln!(out, "{base}{} {value}", labels(metric, None))
                }
            };
        }
    }
    out.push_str("# EOF\n");
    out
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: &AllExemplars) -> std::fmt::Result {
    let kept = if name == DURATIONS { of(metric, exemplars) } else { None };
    let histogram = metric.get_histogram();
    let bounded = histogram.get_bucket();
    for (place, bucket) in bounded.iter().enumerate() {
        let bound = bound(bucket.upper_bound());
        write!(out, "{name}_bucket{} {}", labels(metric, Some(&bound)), bucket.cumulative_count())?;
        exemplar(out, kept.as_deref(), place)?;
    }
    let count = histogram.get_sample_count();
    if bounded.last().is_none_or(|last| last.upper_bound().is_finite()) {
        write!(out, "{name}_bucket{} {count}", labels(metric, Some("+Inf")))?;
        exemplar(out, kept.as_deref(), bounded.len())?;
    }
    writeln!(out, "{name}_count{} {count}", labels(metric, None))?;
    writeln!(out, "{name}_sum{} {}", labels(metric, None), histogram.get_sample_sum())
}

fn of(metric: &Metric, exemplars: &AllExemplars) -> Option<std::sync::Arc<Exemplars>> {
    let label = |name| metric.get_label().iter().find(|pair| pair.name() == name).map(|pair| pair.value());
    exemplars.find(label("app")?, label("slot")?)
}

/// The end of a bucket's line.
fn exemplar(out: &mut String, kept: Option<&Exemplars>, bucket: usize) -> std::fmt::Result {
    match kept.and_then(|kept| kept.of_bucket(bucket)) {
        Some(one) => {
            let at = one.at.as_millisecond();
            let (seconds, millis) = (at / 1000, at % 1000);
            writeln!(out, " # {{trace_id=\"{}\"}} {} {seconds}.{millis:03}", one.trace, one.seconds)
        }
        None => writeln!(out),
    }
}

/// A bound as OpenMetrics wants it: a whole number has a decimal too.
fn bound(bound: f64) -> String {
    if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") }
}

fn labels(metric: &Metric, bound: Option<&str>) -> String {
    let pairs = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
    let pairs = pairs.chain(bound.map(|bound| ("le", bound)));
    let pairs: Vec<_> = pairs.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_to_whom_wants_it_and_likes_no_other_better() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, is_wanted) in [
            (prometheus, true),
            ("application/openmetrics-text", true),
            ("text/plain;q=0.5, application/openmetrics-text", true),
            ("text/plain, application/openmetrics-text;q=0.1", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            ("*/*", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(wanted(accept), is_wanted, "{accept}");
        }
    }

    #[test]
    fn a_whole_bound_has_a_decimal_and_texts_end_where_they_should() {
        assert_eq!([bound(1.0), bound(0.0025), bound(f64::INFINITY)], ["1.0", "0.0025", "+Inf"]);
        assert_eq!(escaped("a\"b\\c\n"), "a\\\"b\\\\c\\n");
    }
}
