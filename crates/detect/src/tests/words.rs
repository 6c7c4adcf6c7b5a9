//! What is said, as a person reads it.

use crate::forecast::{Ahead, Forecast, ScaleHint, Season, Withheld};
use crate::leak;
use crate::metrics::compare::{Comparison, Difference};
use crate::metrics::{Unknown, Verdict};
use regraft_model::Timestamp;
use std::fmt::Display;

const AT: Timestamp = Timestamp(1_780_000_000_000);

/// Appends what something says below its name.
fn check(said: &mut String, name: &str, what: impl Display) {
    said.push_str(&format!(
        "{name}\n  {}\n",
        what.to_string().replace('\n', "\n  ")
    ));
}

#[test]
fn every_answer_reads_as_a_person_would_say_it() {
    let difference = Difference {
        effect: 0.5,
        probability: 0.001,
        medians: [97.0, 115.2],
    };
    let ahead = |step: i64, point: f64| Ahead {
        at: Timestamp(AT.0 + step * 300_000),
        point,
        bounds: [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4].map(|share| share * point),
    };
    let forecast = |season, steps| Forecast {
        origin: AT,
        step_s: 300,
        season,
        steps,
    };
    let have = [30, 3];
    let gap = Unknown::Gap { settling: 4 };
    let hint = ScaleHint {
        replicas: 3,
        load: 125.25,
        at: AT,
    };
    let rising = vec![
        ahead(1, 90.0),
        ahead(2, 120.0),
        ahead(3, 120.0),
        ahead(4, 80.0),
    ];
    let mut said = String::new();
    let it = &mut said;
    check(it, "unknown", Verdict::Unknown(gap));
    check(it, "usual", Verdict::Usual { surprise: 3.0 });
    check(
        it,
        "small groups",
        Comparison::TooLittleData { have, need: 8 },
    );
    check(it, "same groups", Comparison::NoDifference(difference));
    check(it, "other groups", Comparison::Different(difference));
    let (hours, needed) = (7, 24);
    check(
        it,
        "young pod",
        leak::Verdict::TooLittleData { hours, needed },
    );
    check(it, "silent pod", leak::Verdict::Stale { last: AT });
    check(it, "sound pod", leak::Verdict::Nothing);
    check(it, "forecast", forecast(Season::Week, rising));
    check(
        it,
        "forecast of nothing",
        forecast(Season::None, Vec::new()),
    );
    check(it, "young series", Withheld::TooLittle { ready: 2 });
    check(it, "silent series", Withheld::Stale { last: AT });
    check(it, "interrupted series", Withheld::Gap { missing: 5 });
    check(it, "hint", hint);
    insta::assert_snapshot!(said);
}
