//! Stored and read back: nothing changes. Changed or cut off: refused, or a watch that works.

use super::series::{Noise, minute, noisy, observe_all, watch};
use crate::metrics::{
    BYTES_PER_METRIC_MAX, FORMAT, Learning, METRICS_MAX, NAME_BYTES_MAX, Settings, Threshold, Watch,
};
use crate::{Error, Stored};
use proptest::prelude::*;
use regraft_model::Timestamp;

/// A watch of two metrics that has seen a day.
fn grown() -> Watch {
    let mut watch = watch(2);
    observe_all(&mut watch, &noisy(2, 1440, 1));
    watch
}

/// Reads bytes; a watch that comes of it has to work, and to stay sound.
#[track_caller]
fn check_refused_or_sound(bytes: &[u8]) {
    let Ok(mut watch) = Watch::from_bytes(bytes) else {
        return;
    };
    assert!(watch.is_sound());
    let mut noise = Noise::new(2);
    let now = watch.cadence.last_ms().unwrap_or_default();
    for index in 1..=150 {
        let at = Timestamp(now.saturating_add(index * 60_000));
        let row: Vec<f64> = (0..4).map(|_| noise.around_100()).collect();
        watch.observe(at, &row, Learning::On);
    }
    assert!(watch.is_sound(), "{watch:?}");
}

#[test]
fn what_was_read_back_goes_on_as_if_nothing_had_been() {
    let rows = noisy(3, 600, 5);
    for cut in [0, 1, 50, 99, 100, 101, 199, 200, 201, 350, 599] {
        let mut unbroken = watch(3);
        observe_all(&mut unbroken, &rows[..cut]);
        let bytes = unbroken.to_bytes();
        let mut read = Watch::from_bytes(&bytes).unwrap();
        assert_eq!(read, unbroken);
        assert_eq!(read.to_bytes(), bytes);
        let said = observe_all(&mut read, &rows[cut..]);
        assert_eq!(said, observe_all(&mut unbroken, &rows[cut..]));
        assert_eq!(read.to_bytes(), unbroken.to_bytes());
    }
}

#[test]
fn settings_are_kept() {
    let settings = Settings {
        threshold: Threshold::Contamination(0.01),
        history_days: 3.5,
    };
    let watch = Watch::new(settings, vec!["a".to_owned()]).unwrap();
    let read = Watch::from_bytes(&watch.to_bytes()).unwrap();
    assert_eq!(read, watch);
}

#[test]
fn bytes_cut_off_anywhere_and_bytes_that_follow_are_refused() {
    let mut bytes = grown().to_bytes();
    for length in 0..bytes.len() {
        let read = Watch::from_bytes(&bytes[..length]);
        assert!(matches!(read, Err(Error::Stored { .. })), "{length}");
    }
    bytes.push(0);
    let read = Watch::from_bytes(&bytes);
    assert!(matches!(read, Err(Error::Stored { .. })));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut bytes = grown().to_bytes();
    bytes[0] = FORMAT + 1;
    let expected = Error::NewerFormat {
        what: Stored::Watch,
        found: u32::from(FORMAT) + 1,
        known: u32::from(FORMAT),
    };
    assert_eq!(Watch::from_bytes(&bytes), Err(expected));
    bytes[0] = 0;
    let read = Watch::from_bytes(&bytes);
    assert!(matches!(read, Err(Error::Stored { .. })));
}

#[test]
fn numbers_that_no_samples_lead_to_are_refused() {
    let sound = grown();
    let harms: [fn(&mut Watch); 7] = [
        |watch| watch.names.push("one too many".to_owned()),
        |watch| watch.names.clear(),
        |watch| watch.names[0] = "n".repeat(NAME_BYTES_MAX + 1),
        |watch| watch.names[0] = watch.names[1].clone(),
        |watch| watch.settings.history_days = f64::NAN,
        |watch| watch.settings.threshold = Threshold::Contamination(1.0),
        |watch| watch.baselines.truncate(1),
    ];
    for harm in harms {
        let mut watch = sound.clone();
        harm(&mut watch);
        let read_back = Watch::from_bytes(&watch.to_bytes());
        assert!(matches!(read_back, Err(Error::Stored { .. })));
    }
}

#[test]
fn a_name_is_bounded() {
    let name = |bytes: usize| vec!["n".repeat(bytes)];
    assert!(Watch::new(Settings::default(), name(NAME_BYTES_MAX)).is_ok());
    let refused = Watch::new(Settings::default(), name(NAME_BYTES_MAX + 1));
    assert_eq!(refused, Err(Error::Name(NAME_BYTES_MAX + 1)));
}

#[test]
fn no_two_metrics_have_the_same_name() {
    let names = ["requests", "errors", "requests"].map(str::to_owned);
    let refused = Watch::new(Settings::default(), names.to_vec());
    assert_eq!(refused, Err(Error::SameName("requests".to_owned())));
}

/// Bytes of each metric, in memory and stored, once everything is known that can be.
#[track_caller]
fn check_size(metrics: usize, name_bytes: usize) {
    let names = (0..metrics)
        .map(|index| format!("{index:0>name_bytes$}"))
        .collect();
    let mut watch = Watch::new(Settings::default(), names).unwrap();
    let mut noise = Noise::new(1);
    for index in 0..400 {
        // Numbers of all sizes: as stored, small ones take fewer bytes.
        let row: Vec<f64> = (0..metrics).map(|_| noise.normal() * 1e149).collect();
        watch.observe(minute(index * 30), &row, Learning::On);
    }
    let in_memory = watch.size_bytes();
    let stored = watch.to_bytes();
    let read = Watch::from_bytes(&stored).unwrap();
    for bytes in [in_memory, stored.len(), read.size_bytes()] {
        let each = bytes.div_ceil(metrics);
        assert!(
            each <= BYTES_PER_METRIC_MAX,
            "{each} bytes for each of {metrics}"
        );
        // What is not counted cannot be bounded: day and week alone are more than this.
        assert!(each > 2000, "{each} bytes for each of {metrics}");
    }
}

#[test]
fn a_metric_takes_at_most_four_kilobytes_in_memory_and_stored() {
    check_size(1, NAME_BYTES_MAX);
    check_size(8, NAME_BYTES_MAX);
    check_size(METRICS_MAX, NAME_BYTES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_leaves_verdicts_and_bytes_as_they_are(
        seed in any::<u64>(), rows in 0_usize..500, cut in 0.0..=1.0_f64, missing in 0.0..0.5_f64,
    ) {
        let mut noise = Noise::new(seed);
        let mut rows = noisy(2, rows, seed);
        for value in rows.iter_mut().flat_map(|row| &mut row.1) {
            if noise.even() < missing {
                *value = f64::NAN;
            }
        }
        let (before, after) = rows.split_at((rows.len() as f64 * cut) as usize);
        let mut unbroken = watch(2);
        observe_all(&mut unbroken, before);
        let mut read = Watch::from_bytes(&unbroken.to_bytes()).unwrap();
        prop_assert_eq!(observe_all(&mut read, after), observe_all(&mut unbroken, after));
        prop_assert_eq!(read.to_bytes(), unbroken.to_bytes());
    }

    #[test]
    fn random_bytes_are_refused_or_sound(mut bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        check_refused_or_sound(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = FORMAT;
        }
        check_refused_or_sound(&bytes);
    }

    #[test]
    fn changed_bytes_are_refused_or_sound(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = grown().to_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        check_refused_or_sound(&bytes);
    }

    /// Damage that decodes: eight bytes in a row, so that whole numbers become others.
    #[test]
    fn changed_numbers_are_refused_or_sound(
        place in any::<prop::sample::Index>(), number in prop::num::f64::ANY,
    ) {
        let mut bytes = grown().to_bytes();
        let index = place.index(bytes.len() - 8);
        bytes[index..index + 8].copy_from_slice(&number.to_le_bytes());
        check_refused_or_sound(&bytes);
    }
}
