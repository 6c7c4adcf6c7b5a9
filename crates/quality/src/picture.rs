//! A chart as SVG: a line for what was seen, a band for what was expected, a line down where somebody was told.

mod axis;

use std::fmt::Write as _;

use regraft_detect::metrics::{Chart, Grade, Point};
use regraft_model::Timestamp;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 290.0;
/// Room for the values at the left, half a time at the right, title and legend above, the times below.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 30.0;
/// Below the title.
const LEGEND: f64 = 36.0;
/// About so many figures stand at an axis.
const VALUES_SHOWN: usize = 5;
const TIMES_SHOWN: usize = 8;

const SEEN: &str = "fill=\"none\" stroke=\"#1f4e79\"";
const EXPECTED: &str = "fill=\"#cfe3f7\"";
const GAP: &str = "fill=\"#eeeeee\"";
const SUSPICION: &str = "stroke=\"#e08a00\" stroke-width=\"2\" stroke-dasharray=\"6 4\"";
const ALARM: &str = "stroke=\"#c00000\" stroke-width=\"2\"";

/// Draws it. What has no points is an empty picture with its title.
pub(crate) fn svg(chart: &Chart) -> String {
    let scale = Scale::new(chart.points());
    let mut svg = Svg(String::new());
    svg.line(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">"
    ));
    svg.line(&format!(
        "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"
    ));
    svg.text(LEFT, 18.0, "start", &title(chart));
    let segments: Vec<&[Point]> = chart.points().chunk_by(|_, next| !next.after_gap).collect();
    gaps(&mut svg, &scale, &segments);
    for segment in &segments {
        bands(&mut svg, &scale, segment);
    }
    axes(&mut svg, &scale);
    for told in chart.told() {
        let style = match told.grade {
            Grade::Suspicion => SUSPICION,
            Grade::Alarm => ALARM,
        };
        let x = scale.x(told.at);
        svg.stroke([x, TOP, x, HEIGHT - BOTTOM], style);
    }
    // Above the others: what was seen is where they are thickest.
    for segment in &segments {
        seen(&mut svg, &scale, segment);
    }
    legend(&mut svg);
    svg.line("</svg>");
    svg.0
}

/// With the days from the first to the last point.
fn title(chart: &Chart) -> String {
    let (Some(first), Some(last)) = (chart.points().first(), chart.points().last()) else {
        return format!("{}: no points", chart.title());
    };
    let [first, last] = [first, last].map(|point| axis::date(point.at));
    format!("{}, {first} to {last} (UTC)", chart.title())
}

fn gaps(svg: &mut Svg, scale: &Scale, segments: &[&[Point]]) {
    for pair in segments.windows(2) {
        if let [Some(before), Some(after)] = [pair[0].last(), pair[1].first()] {
            let (left, right) = (scale.x(before.at), scale.x(after.at));
            svg.area([left, TOP, right - left, HEIGHT - BOTTOM - TOP], GAP);
        }
    }
}

fn bands(svg: &mut Svg, scale: &Scale, segment: &[Point]) {
    for run in segment.chunk_by(|one, next| one.band.is_some() == next.band.is_some()) {
        let bands = || run.iter().filter_map(|it| Some((it.at, it.band?)));
        let upper = bands().map(|(at, band)| scale.place(at, band.high));
        let lower = bands().rev().map(|(at, band)| scale.place(at, band.low));
        let outline: Vec<String> = upper.chain(lower).collect();
        if !outline.is_empty() {
            let outline = outline.join(" ");
            svg.line(&format!("<polygon points=\"{outline}\" {EXPECTED}/>"));
        }
    }
}

fn seen(svg: &mut Svg, scale: &Scale, segment: &[Point]) {
    if let [alone] = segment {
        let (x, y) = (scale.x(alone.at), scale.y(alone.value));
        svg.line(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" {SEEN}/>"
        ));
        return;
    }
    let places: Vec<String> = segment
        .iter()
        .map(|it| scale.place(it.at, it.value))
        .collect();
    svg.line(&format!(
        "<polyline points=\"{}\" {SEEN}/>",
        places.join(" ")
    ));
}

fn axes(svg: &mut Svg, scale: &Scale) {
    let faint = "stroke=\"#dddddd\"";
    for (value, label) in axis::values(scale.low, scale.high, VALUES_SHOWN) {
        let y = scale.y(value);
        svg.stroke([LEFT, y, WIDTH - RIGHT, y], faint);
        svg.text(LEFT - 6.0, y + 4.0, "end", &label);
    }
    for (at, label) in axis::times(scale.first, scale.last, TIMES_SHOWN) {
        let (x, bottom) = (scale.x(at), HEIGHT - BOTTOM);
        svg.stroke([x, bottom, x, bottom + 5.0], "stroke=\"#888888\"");
        svg.text(x, HEIGHT - 10.0, "middle", &label);
    }
}

fn legend(svg: &mut Svg) {
    let (y, sample) = (LEGEND - 4.0, 22.0);
    let mut left = LEFT;
    // How wide a text is, nobody knows who does not draw it.
    for (label, width) in [
        ("seen", 70.0),
        ("expected (99 of 100)", 160.0),
        ("suspicion", 100.0),
        ("alarm", 76.0),
        ("no samples", 100.0),
    ] {
        let stroke = [left, y, left + sample, y];
        let area = [left, y - 6.0, sample, 12.0];
        match label {
            "seen" => svg.stroke(stroke, "stroke=\"#1f4e79\""),
            "suspicion" => svg.stroke(stroke, SUSPICION),
            "alarm" => svg.stroke(stroke, ALARM),
            "no samples" => svg.area(area, GAP),
            _ => svg.area(area, EXPECTED),
        }
        svg.text(left + sample + 6.0, LEGEND, "start", label);
        left += sample + width;
    }
}

/// A picture that grows.
struct Svg(String);

impl Svg {
    fn line(&mut self, line: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.line(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// From one place to another.
    fn stroke(&mut self, [x1, y1, x2, y2]: [f64; 4], style: &str) {
        self.line(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
        ));
    }

    /// From the left upper corner.
    fn area(&mut self, [x, y, width, height]: [f64; 4], style: &str) {
        self.line(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {style}/>"
        ));
    }
}

/// Where things are on the picture.
struct Scale {
    first: Timestamp,
    last: Timestamp,
    low: f64,
    high: f64,
}

impl Scale {
    fn new(points: &[Point]) -> Self {
        let values = points.iter().map(|it| it.value);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        // Of one value alone, and of none.
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let room = match (high - low) / 10.0 {
            room if room > 0.0 => room,
            _ if high == 0.0 => 1.0,
            _ => (high.abs() / 10.0).max(f64::MIN_POSITIVE),
        };
        let at = |point: Option<&Point>| point.map_or(Timestamp(0), |it| it.at);
        Self {
            first: at(points.first()),
            last: at(points.last()),
            low: low - room,
            high: high + room,
        }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let all_ms = self.last.millis_since(self.first).max(1) as f64;
        let share = at.millis_since(self.first) as f64 / all_ms;
        LEFT + (WIDTH - LEFT - RIGHT) * share.clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }

    fn place(&self, at: Timestamp, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(at), self.y(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_detect::metrics::Verdict;

    #[track_caller]
    fn check(values: &[f64]) -> String {
        let mut chart = Chart::new("a<b & c".to_owned());
        for (second, value) in (0..).zip(values) {
            let verdict = Verdict::Usual { surprise: 1.0 };
            chart.push(Timestamp(second * 60_000), *value, None, &verdict);
        }
        let picture = svg(&chart);
        assert!(
            picture.contains("a&lt;b &amp; c") && !picture.contains("NaN"),
            "{picture}"
        );
        picture
    }

    #[test]
    fn constants_and_extremes_have_places_too() {
        check(&[5.0; 4]);
        check(&[0.0; 4]);
        check(&[f64::MIN_POSITIVE; 4]);
        check(&[f64::NAN; 4]);
        check(&[1.0]);
        check(&[]);
        check(&[-1e150, 1e150]);
    }

    #[test]
    fn a_gap_parts_the_line() {
        let mut values = vec![1.0; 40];
        let lines = |picture: &str| picture.matches("<polyline").count();
        assert_eq!(lines(&check(&values)), 1);
        values[20..30].fill(f64::NAN);
        assert_eq!(lines(&check(&values)), 2);
    }
}
