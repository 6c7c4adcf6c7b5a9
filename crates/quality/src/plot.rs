//! A stretch of one metric as a picture: what was seen, what was expected, when somebody was told.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use regraft_detect::metrics::{Band, Learning, Verdict};
use regraft_model::Timestamp;

use crate::ad;
use crate::alarms::Alarm;
use crate::suite::{self, Table};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
/// Room for the axis at the left, the title above, the times below.
const LEFT: f64 = 70.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 30.0;
/// Most points of a line: more cannot be told apart at this width.
const POINTS_MAX: usize = 1500;

/// What is drawn for one row.
struct Point {
    at: Timestamp,
    value: f64,
    band: Option<Band>,
    alarm: Alarm,
}

/// What was made of a row: the band of each metric before it was learned, and what was said.
struct Judged {
    at: Timestamp,
    bands: Vec<Option<Band>>,
    verdict: Verdict,
}

/// Draws rows `from..to` of the metric that was strangest when somebody was told first; the first metric when nobody was.
pub(crate) fn run(series: &Path, from: usize, to: usize, out: &Path) -> Result<()> {
    let table = suite::table(&series.join("data.csv"))?;
    let to = to.min(table.times.len());
    if from >= to || table.names.is_empty() {
        bail!(
            "{} has {} rows of {} columns: there is nothing from {from} to {to}",
            series.display(),
            table.times.len(),
            table.names.len()
        );
    }
    let judged = walk(series, &table, from, to)?;
    let metric = strangest(&table, &judged);
    let values = &table.columns[metric][from..to];
    let points: Vec<Point> = judged
        .iter()
        .zip(values)
        .map(|(row, value)| Point {
            at: row.at,
            value: *value,
            band: row.bands[metric],
            alarm: ad::alarm(&row.verdict),
        })
        .collect();
    let title = format!("{} {}", suite::name(series), table.names[metric]);
    std::fs::write(out, svg(&title, &points)).with_context(|| format!("write {}", out.display()))
}

/// Judges all rows up to `to`, and tells of those from `from` on.
fn walk(series: &Path, table: &Table, from: usize, to: usize) -> Result<Vec<Judged>> {
    let mut watch = ad::watch(series, table)?;
    let mut judged = Vec::new();
    for row in 0..to {
        let at = table.at(row);
        let bands = (0..table.names.len()).map(|metric| watch.band(metric, at));
        let bands = bands.collect();
        let verdict = watch.observe(at, &table.row(row), Learning::On);
        if row >= from {
            judged.push(Judged { at, bands, verdict });
        }
    }
    Ok(judged)
}

/// The first metric of the first evidence.
fn strangest(table: &Table, judged: &[Judged]) -> usize {
    let evidence = judged.iter().find_map(|row| match &row.verdict {
        Verdict::Strange(anomaly) => anomaly.metrics.first(),
        Verdict::Usual { .. } | Verdict::Unknown(_) => None,
    });
    evidence
        .and_then(|evidence| table.names.iter().position(|name| *name == evidence.metric))
        .unwrap_or_default()
}

fn svg(title: &str, points: &[Point]) -> String {
    let scale = Scale::new(points);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{}</text>\n",
        escaped(title)
    );
    let every = points.len().div_ceil(POINTS_MAX);
    let drawn = || points.iter().enumerate().step_by(every);
    let bands: Vec<_> = drawn()
        .filter_map(|(index, it)| Some((index, it.band?)))
        .collect();
    let upper = bands
        .iter()
        .map(|(index, band)| scale.place(*index, band.high));
    let lower = bands
        .iter()
        .rev()
        .map(|(index, band)| scale.place(*index, band.low));
    let outline: Vec<String> = upper.chain(lower).collect();
    let values: Vec<String> = drawn()
        .filter(|(_, it)| it.value.is_finite())
        .map(|(index, it)| scale.place(index, it.value))
        .collect();
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "<polygon points=\"{}\" fill=\"#cfe3f7\"/>",
        outline.join(" ")
    );
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f4e79\"/>",
        values.join(" ")
    );
    for (index, _) in points
        .iter()
        .enumerate()
        .filter(|(_, it)| it.alarm == Alarm::Told)
    {
        let x = scale.x(index);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#c00000\" stroke-width=\"2\"/>",
            HEIGHT - BOTTOM
        );
    }
    for value in [scale.low, scale.high] {
        let y = scale.y(value) + 4.0;
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.3e}</text>",
            LEFT - 6.0
        );
    }
    let ends = [
        points.first().map(|it| (it, LEFT, "start")),
        points.last().map(|it| (it, WIDTH, "end")),
    ];
    for (point, x, anchor) in ends.into_iter().flatten() {
        let time = point.at.to_rfc3339();
        let _ = writeln!(
            text,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - 10.0,
            time.get(..16).unwrap_or(&time)
        );
    }
    text.push_str("</svg>\n");
    text
}

/// A text as it may stand in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Where things are on the picture.
struct Scale {
    count: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn new(points: &[Point]) -> Self {
        let values = points.iter().map(|it| it.value).filter(|it| it.is_finite());
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        // Of one value alone, and of none.
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let room = if high > low {
            high / 10.0 - low / 10.0
        } else {
            (high.abs() / 10.0).max(f64::MIN_POSITIVE)
        };
        Self {
            count: (points.len().max(2) - 1) as f64,
            low: (low - room).max(f64::MIN / 4.0),
            high: (high + room).min(f64::MAX / 4.0),
        }
    }

    fn x(&self, index: usize) -> f64 {
        LEFT + (WIDTH - LEFT) * index as f64 / self.count
    }

    fn y(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }

    fn place(&self, index: usize, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(index), self.y(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64]) {
        let point = |(second, value): (i64, &f64)| Point {
            at: Timestamp(second * 1000),
            value: *value,
            band: None,
            alarm: Alarm::Told,
        };
        let points: Vec<_> = (0..).zip(values).map(point).collect();
        let picture = svg("a<b & c", &points);
        assert!(
            picture.contains("a&lt;b &amp; c") && !picture.contains("NaN"),
            "{picture}"
        );
    }

    #[test]
    fn constants_gaps_and_extremes_have_places_too() {
        check(&[5.0; 4]);
        check(&[0.0; 4]);
        check(&[f64::NAN; 4]);
        check(&[1.0]);
        check(&[-1e308, 1e308]);
        check(&[f64::MAX; 2]);
    }
}
