//! The last quarter of an hour of one application: requests, errors and p99 by slot, with a line at every switch.
//!
//! Drawn by the server as SVG, so it needs no script. Slots differ by colour and by dashes, and everything that is drawn
//! stands in a table too.

use std::collections::VecDeque;
use std::fmt::Write as _;

use jiff::Timestamp;
use maud::{Markup, html};
use switcher_config::{AppName, PerSlot, Slot};

use super::app::{mark, milliseconds};
use super::page::{clock, time};
use super::scene::Scene;
use crate::history::{POINTS, Point, STEP, Series};

/// The area that is drawn on, in units of the drawing.
const LEFT: f64 = 2.0;
const RIGHT: f64 = 358.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 96.0;

/// How wide the word at a switch is.
const WORD: f64 = 46.0;

/// How many points are one line of the table: a minute.
const MINUTE: usize = 12;

/// One of the three drawings.
#[derive(Clone, Copy)]
enum Figure {
    Requests,
    Errors,
    P99,
}

impl Figure {
    const ALL: [Self; 3] = [Self::Requests, Self::Errors, Self::P99];

    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::P99 => "p99",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Requests => "Requests a second",
            Self::Errors => "Errors a second",
            Self::P99 => "p99",
        }
    }

    fn value(self, point: &Point) -> Option<f64> {
        match self {
            Self::Requests => Some(f64::from(point.requests) / STEP.as_secs_f64()),
            Self::Errors => Some(f64::from(point.errors) / STEP.as_secs_f64()),
            Self::P99 => point.p99.map(f64::from),
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::P99 => milliseconds(value * 1e3),
            Self::Requests | Self::Errors if value >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
            Self::Requests | Self::Errors => format!("{value:.1}"),
        }
    }

    /// The end of the scale: a round number that nothing exceeds.
    fn most(self, points: &VecDeque<PerSlot<Point>>) -> f64 {
        let values = points
            .iter()
            .flat_map(|both| Slot::ALL.map(|slot| self.value(both.get(slot)).unwrap_or_default()));
        round(values.fold(0.0, f64::max)).max(match self {
            Self::Requests | Self::Errors => 1.0,
            Self::P99 => 0.001,
        })
    }
}

/// The next number that begins with 1, 2 or 5 and goes on with zeros.
fn round(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= value * 0.999_999);
    digit.unwrap_or(10.0) * power
}

/// The three drawings and the table, or that there is nothing to draw.
pub(super) fn figures(scene: &Scene, name: &AppName) -> Markup {
    let Some(series) = scene.series(name) else {
        return html! { p.quiet.calm id={ (name) "-figures" } { "No requests in the last 15 minutes, or since this process began." } };
    };
    html! {
        div.figures-of id={ (name) "-figures" } {
            div.charts { @for figure in Figure::ALL { (drawing(figure, scene, name, series)) } }
            details id={ (name) "-table" } {
                summary { "The same as a table" span.unseen { " for " (name) } }
                (table(scene, name, series))
            }
        }
    }
}

fn drawing(figure: Figure, scene: &Scene, name: &AppName, series: &Series) -> Markup {
    let (id, most) = (format!("{name}-{}", figure.name()), figure.most(&series.points));
    let at = if series.points.is_empty() { scene.now } else { scene.seen.at };
    let newest = |slot| series.points.back().and_then(|both| figure.value(both.get(slot)));
    let shown = |slot| newest(slot).map_or_else(|| "–".to_owned(), |value| figure.shown(value));
    let grid = format!("M{LEFT} {TOP}H{RIGHT}M{LEFT} {}H{RIGHT}", (TOP + BOTTOM) / 2.0);
    html! {
        figure.chart id=(id) {
            figcaption {
                strong { (figure.title()) }
                @for slot in Slot::ALL { span.key { (mark(slot)) " " span.unseen { (slot) " " } span.value { (shown(slot)) } } }
            }
            svg viewBox="0 0 360 112" role="img" aria-labelledby={ (id) "-title " (id) "-desc" } {
                title id={ (id) "-title" } { (figure.title()) " of " (name) " in the last 15 minutes" }
                desc id={ (id) "-desc" } { (description(figure, at, series)) }
                path.grid d=(grid) {}
                path.axis d=(format!("M{LEFT} {BOTTOM}H{RIGHT}")) {}
                text.scale x=(LEFT) y=(TOP - 4.0) { (figure.shown(most)) }
                text.scale x=(LEFT) y="109" { "−15 min" }
                text.scale.end x=(RIGHT) y="109" { "now" }
                (switch_lines(series, at))
                @for slot in Slot::ALL {
                    @if series.points.iter().any(|both| both.get(slot).requests > 0) {
                        path.line.(slot.as_str()) d=(line(figure, slot, &series.points, most)) {}
                    }
                }
            }
        }
    }
}

/// Where a moment is, so long before the end.
fn place(seconds: f64) -> f64 {
    let whole = STEP.as_secs_f64() * (POINTS - 1) as f64;
    RIGHT - (RIGHT - LEFT) * (seconds / whole).clamp(0.0, 1.0)
}

/// A line at every switch. Where they are close together, only the last one of them has a word.
fn switch_lines(series: &Series, at: Timestamp) -> Markup {
    let x = |when: Timestamp| place(at.duration_since(when).as_secs_f64());
    let switches: Vec<_> = series.lately(at).collect();
    html! {
        @for (index, (when, to)) in switches.iter().enumerate() {
            @let (x, next) = (x(*when), switches.get(index + 1).map(|(when, _)| x(*when)));
            g.switch.(to.as_str()) {
                path d=(format!("M{x:.1} {}V{BOTTOM}", TOP - 12.0)) {}
                @if next.is_none_or(|next| next - x > WORD) {
                    @if x > RIGHT - WORD { text x=(format!("{:.1}", x - 3.0)) y=(TOP - 4.0) text-anchor="end" { "→ " (to) } }
                    @else { text x=(format!("{:.1}", x + 3.0)) y=(TOP - 4.0) { "→ " (to) } }
                }
            }
        }
    }
}

/// The line of a slot; it has gaps where there is no value.
fn line(figure: Figure, slot: Slot, points: &VecDeque<PerSlot<Point>>, most: f64) -> String {
    let (mut path, mut pen) = (String::new(), 'M');
    for (index, both) in points.iter().enumerate() {
        let Some(value) = figure.value(both.get(slot)) else {
            pen = 'M';
            continue;
        };
        let x = place((points.len() - 1 - index) as f64 * STEP.as_secs_f64());
        let y = BOTTOM - (BOTTOM - TOP) * (value / most).clamp(0.0, 1.0);
        // A text takes everything. A move alone draws nothing, so a lone point is a line of no length.
        let _ = write!(path, "{pen}{x:.1} {y:.1}");
        if pen == 'M' {
            path.push_str("h0");
        }
        pen = 'L';
    }
    path
}

fn description(figure: Figure, at: Timestamp, series: &Series) -> String {
    let mut text = String::new();
    for slot in Slot::ALL {
        let values = || series.points.iter().filter_map(|both| figure.value(both.get(slot)));
        let told = match (values().next_back(), values().reduce(f64::max)) {
            (Some(last), Some(most)) => {
                format!("{slot}: now {}, at most {}. ", figure.shown(last), figure.shown(most))
            }
            (None, _) | (_, None) => format!("{slot}: nothing. "),
        };
        text.push_str(&told);
    }
    let switches: Vec<String> =
        series.lately(at).map(|(when, to)| format!("{to} at {}", clock(*when))).collect();
    if !switches.is_empty() {
        text.push_str(&format!("Switches: {}.", switches.join(", ")));
    }
    text.trim_end().to_owned()
}

/// What a slot did in a minute.
fn minute(points: &[&PerSlot<Point>], slot: Slot) -> (u64, u64, Option<f64>) {
    let of = || points.iter().map(|both| both.get(slot));
    let slowest = of().filter_map(|point| point.p99).map(f64::from).reduce(f64::max);
    (
        of().map(|point| u64::from(point.requests)).sum(),
        of().map(|point| u64::from(point.errors)).sum(),
        slowest,
    )
}

fn table(scene: &Scene, name: &AppName, series: &Series) -> Markup {
    let newest: Vec<&PerSlot<Point>> = series.points.iter().rev().collect();
    html! {
        div.wide tabindex="0" role="group" aria-label={ "Figures of " (name) } {
            table {
                thead {
                    tr { th scope="col" { "Minute to" } @for slot in Slot::ALL { th.number scope="col" { (slot) " requests" } th.number scope="col" { (slot) " errors" } th.number scope="col" { (slot) " p99, slowest" } } }
                }
                tbody {
                    @for (index, points) in newest.chunks(MINUTE).enumerate() {
                        @let end = scene.seen.at - STEP * u32::try_from(index * MINUTE).unwrap_or_default();
                        tr {
                            th scope="row" { (time(end)) }
                            @for slot in Slot::ALL {
                                @let (requests, errors, p99) = minute(points, slot);
                                td.number { (requests) }
                                td.number { (errors) }
                                td.number { @if let Some(p99) = p99 { (milliseconds(p99 * 1e3)) } @else { "–" } }
                            }
                        }
                    }
                }
            }
        }
        @if series.lately(scene.seen.at).next().is_some() {
            p { "Switches: " @for (when, slot) in series.lately(scene.seen.at) { span.key { (time(*when)) " to " (slot) " " } } }
        }
        p.quiet { "Figures are of whole exchanges, estimated from the histogram of " code { "/metrics" } "; they begin with this process." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, wanted) in
            [(0.0, 0.0), (1.0, 1.0), (1.1, 2.0), (37.0, 50.0), (51.0, 100.0), (0.003, 0.005)]
        {
            assert!((round(value) - wanted).abs() < 1e-9, "{value}: {}", round(value));
        }
    }

    #[test]
    fn a_line_has_gaps_where_nothing_was_asked() {
        let point = |p99| PerSlot { blue: Point { requests: 1, errors: 0, p99 }, green: Point::default() };
        let points = VecDeque::from([point(Some(0.5)), point(None), point(Some(1.0))]);
        let path = line(Figure::P99, Slot::Blue, &points, 1.0);
        assert_eq!(path, "M354.0 56.0h0M358.0 16.0h0");
        assert_eq!(line(Figure::P99, Slot::Green, &points, 1.0), "");
    }
}
