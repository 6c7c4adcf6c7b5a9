//! The scorer's JSON, and the figures that are told of it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Part;
use super::bars;
use crate::figures::{mean, median};

/// What is told of how good the predictions are. Titles are at most 27 letters: with them, a set's name of twelve and the
/// figures, a line is no wider than a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    EventF1,
    Nab,
    LeakF1,
    LeakFalseAlarms,
    Mase,
    Pinball,
    Coverage,
    CauseFirst,
    CauseAverage,
    ColdF1,
    CleanAlarms,
    CleanSuspicions,
}

impl Measure {
    fn title(self) -> &'static str {
        match self {
            Self::EventF1 => "events, F1",
            Self::Nab => "events, NAB score",
            Self::LeakF1 => "leaks, F1",
            Self::LeakFalseAlarms => "leaks, false alarms a day",
            Self::Mase => "forecasts, MASE (median)",
            Self::Pinball => "forecasts, pinball (median)",
            Self::Coverage => "forecasts, in the 80 % band",
            Self::CauseFirst => "root causes, AC@1",
            Self::CauseAverage => "root causes, Avg@5",
            Self::ColdF1 => "first two days, F1",
            Self::CleanAlarms => "alarms a service",
            Self::CleanSuspicions => "suspicions a service",
        }
    }
}

/// One figure of one set.
#[derive(Debug, PartialEq)]
pub(super) struct Figure {
    measure: Measure,
    set: String,
    value: f64,
}

impl Figure {
    pub(super) fn new(measure: Measure, set: &str, value: f64) -> Self {
        let set = set.to_owned();
        Self {
            measure,
            set,
            value,
        }
    }
}

/// What a scorer told of one part.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Scores {
    pub(super) figures: Vec<Figure>,
    /// Series or cases of each set that were scored.
    pub(super) scored: BTreeMap<String, usize>,
}

impl Scores {
    fn tell(&mut self, measure: Measure, set: &str, value: Option<f64>) {
        self.figures
            .extend(value.map(|value| Figure::new(measure, set, value)));
    }
}

/// Reads what the scorer wrote of a part.
pub(super) fn read(part: Part, json: &str) -> Result<Scores> {
    let mut scores = Scores::default();
    match part {
        Part::Ad | Part::Leak => alarms(part, parse(json)?, &mut scores),
        Part::Fc => forecasts(&parse::<Vec<_>>(json)?, &mut scores),
        Part::Rca => causes(parse(json)?, &mut scores),
    }
    Ok(scores)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).context("read figures from JSON")
}

#[derive(Deserialize)]
struct SetOfSeries {
    dataset: String,
    series: usize,
    #[serde(rename = "F1")]
    f1: f64,
    #[serde(rename = "NAB_fixed")]
    nab: Option<f64>,
    #[serde(rename = "clean_FP_per_day")]
    clean_false_alarms: Option<f64>,
}

fn alarms(part: Part, sets: Vec<SetOfSeries>, scores: &mut Scores) {
    for set in sets {
        let f1 = match part {
            Part::Leak => Measure::LeakF1,
            _ => Measure::EventF1,
        };
        scores.tell(f1, &set.dataset, Some(set.f1));
        scores.tell(Measure::Nab, &set.dataset, set.nab);
        scores.tell(
            Measure::LeakFalseAlarms,
            &set.dataset,
            set.clean_false_alarms,
        );
        scores.scored.insert(set.dataset, set.series);
    }
}

#[derive(Deserialize)]
struct Counts {
    windows: f64,
    #[serde(rename = "TP")]
    found: f64,
    #[serde(rename = "FP")]
    wrong: f64,
}

/// Event F1 of all sets together; none where there are no events and no alarms.
pub(super) fn f1_together(json: &str) -> Result<Option<f64>> {
    let sets: Vec<Counts> = parse(json)?;
    let sum = |one: fn(&Counts) -> f64| sets.iter().map(one).sum::<f64>();
    let (events, found, wrong) = (sum(|it| it.windows), sum(|it| it.found), sum(|it| it.wrong));
    let all = events + found + wrong;
    Ok((all > 0.0).then(|| 2.0 * found / all))
}

#[derive(Deserialize)]
struct CleanMonth {
    false_alarms: f64,
    suspicions: f64,
}

/// Reads what was counted on a month in which nothing is wrong.
pub(super) fn clean_month(json: &str) -> Result<[Figure; 2]> {
    let month: CleanMonth = parse(json)?;
    let set = "clean month";
    Ok([
        Figure::new(Measure::CleanAlarms, set, month.false_alarms),
        Figure::new(Measure::CleanSuspicions, set, month.suspicions),
    ])
}

#[derive(Deserialize)]
struct Forecast {
    #[serde(rename = "MASE")]
    mase: Option<f64>,
    pinball: Option<f64>,
    cov80: Option<f64>,
}

fn forecasts(series: &[Forecast], scores: &mut Scores) {
    let set = Part::Fc.name();
    let of =
        |one: fn(&Forecast) -> Option<f64>| -> Vec<f64> { series.iter().filter_map(one).collect() };
    scores.tell(Measure::Mase, set, median(of(|it| it.mase)));
    scores.tell(Measure::Pinball, set, median(of(|it| it.pinball)));
    scores.tell(Measure::Coverage, set, mean(&of(|it| it.cov80)));
    scores.scored.insert(set.to_owned(), series.len());
}

#[derive(Deserialize)]
struct Case {
    dataset: String,
    /// Place of the faulty service in the list, from 1; far below when it is not in it.
    rank: u64,
}

/// Places that the average of root causes looks at.
const PLACES: u64 = 5;

fn causes(cases: Vec<Case>, scores: &mut Scores) {
    let mut sets: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for case in cases {
        sets.entry(case.dataset).or_default().push(case.rank);
    }
    for (set, ranks) in sets {
        let within = |place: u64| {
            let hits = ranks.iter().map(|rank| f64::from(u8::from(*rank <= place)));
            mean(&hits.collect::<Vec<_>>())
        };
        let places: Vec<f64> = (1..=PLACES).filter_map(within).collect();
        scores.tell(Measure::CauseFirst, &set, within(1));
        scores.tell(Measure::CauseAverage, &set, mean(&places));
        scores.scored.insert(set, ranks.len());
    }
}

/// The figures beside floors and bars, a row each, the titles first.
pub(super) fn table(figures: &[Figure]) -> Vec<Vec<String>> {
    let titles = ["", "", "ours", "floor", "bar", ""].map(str::to_owned);
    let rows = figures.iter().map(|figure| {
        let beside = bars::beside(figure.measure, &figure.set);
        let (floor, bar) = beside.map_or_else(Default::default, |(floor, bar)| (floor, bar.text()));
        let verdict = match beside {
            Some((_, bar)) if bar.holds(figure.value) => "reached",
            Some(_) => "missed",
            None => "",
        };
        let (title, ours) = (figure.measure.title(), format!("{:.3}", figure.value));
        [title, &figure.set, &ours, floor, &bar, verdict].map(str::to_owned)
    });
    std::iter::once(titles).chain(rows).map(Vec::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures;

    fn check(part: Part, json: &str, expected: &[&str]) -> Scores {
        let scores = read(part, json).expect("it can be read");
        let lines = figures::lines(&table(&scores.figures));
        // Runs of spaces say nothing here.
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = lines.iter().skip(1).map(words).collect();
        assert_eq!(lines, expected);
        scores
    }

    #[test]
    fn sets_stand_beside_their_floors_and_bars() {
        let json = r#"[
            {"dataset":"nab","series":31,"F1":0.61,"NAB_fixed":66.5,"NAB_opt":70.1,"delay_rows_med":null},
            {"dataset":"wsd","series":13,"F1":0.8499,"NAB_fixed":null,"NAB_opt":null,"delay_rows_med":2.0},
            {"dataset":"unheard_of","series":2,"F1":0.5,"NAB_fixed":null,"NAB_opt":null,"delay_rows_med":2.0}]"#;
        let scores = check(
            Part::Ad,
            json,
            &[
                "events, F1 nab 0.610 0.46 ≥ 0.6 reached",
                "events, NAB score nab 66.500 57.6 ≥ 70 missed",
                "events, F1 wsd 0.850 0.77 ≥ 0.85 missed",
                "events, F1 unheard_of 0.500",
            ],
        );
        assert_eq!(scores.scored["wsd"], 13);
    }

    #[test]
    fn few_false_alarms_reach_their_bar() {
        check(
            Part::Leak,
            r#"[{"dataset":"leak","series":38,"F1":0.7,"clean_FP_per_day":0.02}]"#,
            &[
                "leaks, F1 leak 0.700 0.70 ≥ 0.92 missed",
                "leaks, false alarms a day leak 0.020 0.12 ≤ 0.02 reached",
            ],
        );
    }

    #[test]
    fn forecasts_are_told_by_medians_and_coverage_by_its_mean() {
        let json = r#"[
            {"series":"a","n":9,"MASE":0.5,"pinball":0.2,"cov80":0.7},
            {"series":"b","n":9,"MASE":0.6,"pinball":0.3,"cov80":0.8},
            {"series":"c","n":9,"MASE":9.0,"pinball":3.0,"cov80":0.9}]"#;
        check(
            Part::Fc,
            json,
            &[
                "forecasts, MASE (median) fc 0.600 0.71 ≤ 0.62 reached",
                "forecasts, pinball (median) fc 0.300 0.28 ≤ 0.24 missed",
                "forecasts, in the 80 % band fc 0.800 0.67–0.78 0.78–0.82 reached",
            ],
        );
    }

    #[test]
    fn a_cause_that_is_not_in_the_list_counts_as_missed() {
        let json = r#"[
            {"dataset":"petshop","case":"a","fault":"x","rank":1,"mrank":null},
            {"dataset":"petshop","case":"b","fault":"x","rank":1000000000,"mrank":2.0},
            {"dataset":"petshop","case":"c","fault":"x","rank":5,"mrank":null},
            {"dataset":"petshop","case":"d","fault":"x","rank":1,"mrank":null}]"#;
        check(
            Part::Rca,
            json,
            &[
                "root causes, AC@1 petshop 0.500 0.31 ≥ 0.41 reached",
                "root causes, Avg@5 petshop 0.550 0.79 ≥ 0.89 missed",
            ],
        );
    }

    #[test]
    fn all_sets_together_are_one_figure() {
        let json = r#"[
            {"dataset":"nab","windows":8,"TP":3,"FP":2,"FN":5},
            {"dataset":"smd","windows":2,"TP":2,"FP":0,"FN":0}]"#;
        let f1 = f1_together(json).expect("it can be read");
        assert_eq!(f1, Some(10.0 / 17.0));
        assert_eq!(f1_together("[]").expect("it can be read"), None);
    }

    #[test]
    fn a_clean_month_has_a_bar_for_alarms_only() {
        let figures = clean_month(r#"{"false_alarms":1.5,"suspicions":9.25}"#);
        let rows = table(&figures.expect("it can be read"));
        let words = rows.iter().skip(1).map(|row| row[1..].join(" "));
        assert_eq!(
            words.collect::<Vec<_>>(),
            ["clean month 1.500 240 ≤ 1 missed", "clean month 9.250   "]
        );
    }

    #[test]
    fn what_the_scorer_does_not_write_is_no_score() {
        assert!(read(Part::Ad, r#"[{"dataset":"nab","series":1}]"#).is_err());
        assert!(read(Part::Rca, "").is_err());
    }
}
