//! A stretch of one metric as data for a picture: what was seen, what was expected, when somebody was told.

use super::baseline::{Band, is_number};
use super::cadence::{Arrival, Cadence};
use super::verdict::{Grade, Verdict};
use regraft_model::Timestamp;
use serde::Serialize;

/// Most points: on a screen more cannot be told apart.
pub const CHART_POINTS_MAX: usize = 512;
/// Most tellings: more would be a wall of lines.
pub const CHART_TOLD_MAX: usize = 64;
/// Points that stand for a stretch: its lowest and its highest.
const PAIR: usize = 2;

/// What is drawn of one metric. Memory is bounded by [`CHART_POINTS_MAX`] and [`CHART_TOLD_MAX`], however much is pushed.
///
/// As JSON, with times in milliseconds since 1970 and values in the metric's unit:
///
/// ```text
/// { "title": "shop latency",
///   "points": [{ "at": 0, "value": 1.5, "band": { "low": 1.0, "middle": 1.2, "high": 1.6 }, "afterGap": true }, …],
///   "told": [{ "at": 60000, "grade": "alarm" }, …] }
/// ```
///
/// `band` is null where nothing was expected yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    title: String,
    points: Vec<Point>,
    told: Vec<Told>,
    #[serde(skip)]
    cadence: Cadence,
    /// Samples that a pair of points stands for.
    #[serde(skip)]
    stretch: usize,
    /// Samples that the newest pair stands for so far.
    #[serde(skip)]
    newest: usize,
    /// Whether there was a gap at points that were thinned out, and none was kept since.
    #[serde(skip)]
    was_gap: bool,
}

/// One sample that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// What was seen.
    pub value: f64,
    /// Where it would have been no news; none while too little was known.
    pub band: Option<Band>,
    /// Whether nothing came for longer than a few steps before it, so that no line leads to it. The first point has one.
    pub after_gap: bool,
}

/// Somebody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// How strong it was. A suspicion that rises to an alarm is told twice.
    pub grade: Grade,
}

impl Chart {
    /// A chart without points.
    #[must_use]
    pub fn new(title: String) -> Self {
        Self {
            title,
            points: Vec::new(),
            told: Vec::new(),
            cadence: Cadence::default(),
            stretch: PAIR,
            newest: 0,
            was_gap: false,
        }
    }

    /// Adds a sample of the metric: its time, its value, its [band](super::Watch::band) before it was learned, and what
    /// was said of the service then.
    ///
    /// When it is full, pairs of points stand for longer stretches, by their lowest and their highest value. A value that
    /// is no number is left out, a doubled or late sample too. A clock that was set back begins the chart anew.
    pub fn push(&mut self, at: Timestamp, value: f64, band: Option<Band>, verdict: &Verdict) {
        if is_number(value) {
            match self.cadence.arrive(at.0) {
                Arrival::Late => return,
                Arrival::AfterGap => self.was_gap = true,
                Arrival::Next => {}
            }
            if self.points.last().is_some_and(|last| last.at >= at) {
                self.points.clear();
                self.told.clear();
                self.newest = 0;
            }
            let after_gap = std::mem::take(&mut self.was_gap);
            self.add(Point {
                at,
                value,
                band,
                after_gap,
            });
        }
        if let Some(grade) = verdict.told() {
            self.tell(Told { at, grade });
        }
    }

    /// What it is about.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What is drawn, in the order of time.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// When somebody was told, in the order of time: the newest, and the oldest suspicions go first.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    fn add(&mut self, point: Point) {
        let begins = self.newest == 0 || self.newest == self.stretch;
        if begins && self.points.len() == CHART_POINTS_MAX {
            self.thin();
        }
        match self.newest {
            newest if newest == 0 || newest == self.stretch => {
                self.newest = 1;
                self.points.push(point);
            }
            1 => {
                self.newest = 2;
                self.points.push(point);
            }
            _ => {
                self.newest += 1;
                let pair = self.points.split_off(self.points.len() - PAIR);
                let stretch = [pair[0], pair[1], point];
                self.points
                    .extend(extremes(&stretch, &mut self.was_gap).into_iter().flatten());
            }
        }
    }

    /// Leaves half of the points: of two pairs one.
    fn thin(&mut self) {
        let mut was_gap = false;
        let kept = self
            .points
            .chunks(2 * PAIR)
            .flat_map(|stretch| extremes(stretch, &mut was_gap))
            .flatten()
            .collect();
        self.points = kept;
        self.was_gap |= was_gap;
        self.stretch *= 2;
        self.newest = self.stretch;
    }

    fn tell(&mut self, told: Told) {
        if self.told.len() == CHART_TOLD_MAX {
            let mut grades = self.told.iter().map(|it| it.grade);
            let oldest = grades.position(|it| it == Grade::Suspicion);
            self.told.remove(oldest.unwrap_or(0));
        }
        self.told.push(told);
    }
}

/// The lowest and the highest point of a stretch in the order of time. A gap before one that is left out is one before the
/// next that is kept.
fn extremes(stretch: &[Point], was_gap: &mut bool) -> [Option<Point>; PAIR] {
    let by_value = |one: &usize, other: &usize| {
        let [one, other] = [*one, *other].map(|it| stretch[it].value);
        one.total_cmp(&other)
    };
    // Of equal ones the first is the lowest and the last the highest, so that two are two.
    let lowest = (0..stretch.len()).min_by(by_value);
    let highest = (0..stretch.len()).max_by(by_value);
    let mut kept = [None; PAIR];
    let mut place = 0;
    for (index, point) in stretch.iter().enumerate() {
        *was_gap |= point.after_gap;
        if Some(index) == lowest || Some(index) == highest {
            let after_gap = std::mem::take(was_gap);
            kept[place] = Some(Point {
                after_gap,
                ..*point
            });
            place += 1;
        }
    }
    kept
}
