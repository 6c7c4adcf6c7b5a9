//! What a forest tells, of all kinds of data.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]

use isotree::{Cut, Error, IsolationForest, IsolationForestParams, Threshold};
use linfa::traits::{Fit, FitWith, Predict};
use linfa::{DatasetBase, Float, ParamGuard};
use ndarray::{Array1, Array2, Axis, array};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SLANTED: Cut = Cut::Slanted { columns: 2 };

/// Rows around a centre, as sums of uniform numbers.
fn cloud(rows: usize, centre: [f64; 2], seed: u64) -> Array2<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((rows, 2), |(_, column)| {
        let around: f64 = (0..6).map(|_| random.gen_range(-0.5..0.5)).sum();
        centre[column] + around
    })
}

fn fitted<F: Float>(params: &IsolationForestParams<F>, rows: Array2<F>) -> IsolationForest<F> {
    params.fit(&DatasetBase::from(rows)).unwrap()
}

fn params() -> IsolationForestParams<f64> {
    IsolationForest::params().seed(1)
}

#[test]
fn what_is_far_from_all_others_scores_highest() {
    for cut in [Cut::Straight, SLANTED] {
        let mut rows = cloud(500, [0.0, 0.0], 1);
        rows.row_mut(123).assign(&array![8.0, -8.0]);
        let forest = fitted(&params().cut(cut), rows.clone());
        let scores = forest.scores(&rows).unwrap();
        let most = (0..500).max_by(|one, other| scores[*one].total_cmp(&scores[*other]));
        assert_eq!(most, Some(123));
        assert!(scores[123] > 0.7, "{}", scores[123]);
        let mean = scores.sum() / 500.0;
        assert!((0.3..0.55).contains(&mean), "{mean}");
    }
}

#[test]
fn single_precision_finds_the_same() {
    let mut rows = cloud(500, [0.0, 0.0], 1).mapv(|x| x as f32);
    rows.row_mut(7).assign(&array![8.0, -8.0]);
    let forest = fitted(&IsolationForest::params().seed(1), rows.clone());
    let strange: Array1<bool> = forest.predict(&rows);
    assert!(strange[7]);
    assert!(strange.iter().filter(|it| **it).count() < 20);
}

/// Scores take other ways through the trees than explanations, and whole groups of rows other ones than single rows.
#[test]
fn a_row_scores_the_same_alone_among_others_and_explained() {
    let mut rows = cloud(203, [0.0, 0.0], 1).mapv(|x| (x * 4.0).round() / 4.0);
    rows[[5, 0]] = f64::INFINITY;
    rows[[6, 1]] = f64::NEG_INFINITY;
    rows[[7, 0]] = -0.0;
    let forest = fitted(&params(), rows.clone());
    let scores = forest.scores(&rows).unwrap();
    for (at, row) in rows.rows().into_iter().enumerate() {
        let alone = forest.scores(&row.insert_axis(Axis(0))).unwrap()[0];
        let explained = forest.explain(row.as_slice().unwrap()).unwrap().score;
        assert_eq!(scores[at], alone, "row {at}");
        assert_eq!(scores[at], explained, "row {at}");
    }
    // One row that lacks a value sends its block the slow way.
    rows[[0, 0]] = f64::NAN;
    let others = forest.scores(&rows).unwrap();
    assert_eq!(
        others.iter().skip(1).collect::<Vec<_>>(),
        scores.iter().skip(1).collect::<Vec<_>>()
    );
}

/// The same bits everywhere: a platform that gives others has another arithmetic, or the algorithm changed.
#[test]
fn one_seed_gives_one_forest_on_every_platform() {
    let rows = cloud(300, [1.0, -1.0], 2);
    let bits = |cut| {
        let forest = fitted(&params().trees(10).cut(cut), rows.clone());
        forest
            .scores(&rows.select(Axis(0), &[0, 1]))
            .unwrap()
            .mapv(f64::to_bits)
            .to_vec()
    };
    assert_eq!(bits(Cut::Straight), STRAIGHT_BITS);
    assert_eq!(bits(SLANTED), SLANTED_BITS);
}

const STRAIGHT_BITS: [u64; 2] = [4_602_694_622_889_547_381, 4_601_325_719_764_736_375];
const SLANTED_BITS: [u64; 2] = [4_602_931_901_326_418_298, 4_601_467_847_572_182_884];

#[test]
fn slanted_cuts_have_no_ghosts_beside_two_clouds() {
    let rows = ndarray::concatenate![
        Axis(0),
        cloud(500, [0.0, 10.0], 3),
        cloud(500, [10.0, 0.0], 4)
    ];
    let places = array![[0.0, 0.0], [0.0, 10.0]];
    let ghost = |cut| {
        let scores = fitted(&params().cut(cut), rows.clone())
            .scores(&places)
            .unwrap();
        scores[0] - scores[1]
    };
    // Where the shadows of both clouds cross nothing ever was (Hariri et al. 2019).
    let (slanted, straight) = (ghost(SLANTED), ghost(Cut::Straight));
    assert!(slanted > straight + 0.03, "{slanted} {straight}");
}

#[test]
fn data_that_tell_nothing_are_no_anomalies_and_no_panics() {
    let nan = f64::NAN;
    for rows in [
        Array2::from_elem((50, 3), 4.0),
        Array2::from_elem((50, 3), nan),
        Array2::from_elem((50, 3), f64::INFINITY),
        Array2::from_elem((1, 1), 1.0),
    ] {
        for cut in [Cut::Straight, SLANTED] {
            let params = params().cut(cut).threshold(Threshold::Contamination(0.1));
            let forest = fitted(&params, rows.clone());
            let scores = forest.scores(&rows).unwrap();
            assert!(
                scores.iter().all(|score| (score - 0.5).abs() < 1e-12),
                "{scores}"
            );
            let strange: Array1<bool> = forest.predict(&rows);
            assert!(!strange.iter().any(|it| *it));
        }
    }
}

#[test]
fn what_cannot_be_fitted_is_told() {
    let rows = || DatasetBase::from(cloud(10, [0.0, 0.0], 1));
    let told = |params: IsolationForestParams<f64>| params.fit(&rows()).unwrap_err().to_string();
    assert_eq!(told(params().trees(0)), "the number of trees is 0");
    assert_eq!(
        told(params().sample_rows(1)),
        "the sample of a tree is 1 rows; at least 2 are needed"
    );
    assert_eq!(
        told(params().cut(Cut::Slanted { columns: 0 })),
        "a cut along 0 columns divides nothing"
    );
    assert_eq!(
        told(params().threshold(Threshold::Contamination(0.6))),
        "the contamination is 0.6; it has to be above 0 and at most 0.5"
    );
    assert_eq!(
        told(params().threshold(Threshold::Score(f64::NAN))),
        "the threshold is NaN; scores are between 0 and 1"
    );
    assert_eq!(
        told(params().renewed(1.5)),
        "the share of renewed trees is 1.5; it has to be above 0 and at most 1"
    );
    for shape in [(0, 3), (3, 0)] {
        let empty = DatasetBase::from(Array2::<f64>::zeros(shape));
        assert!(matches!(params().fit(&empty), Err(Error::NoData { .. })));
    }
    let weighted = |weights: Array1<f32>| params().fit(&rows().with_weights(weights)).unwrap_err();
    assert!(matches!(weighted(Array1::ones(3)), Error::Weights(_)));
    assert!(matches!(weighted(Array1::zeros(10)), Error::Weights(_)));
    assert!(matches!(
        weighted(Array1::from_elem(10, -1.0)),
        Error::Weights(_)
    ));
    let forest = fitted(&params(), cloud(10, [0.0, 0.0], 1));
    let other = forest.scores(&Array2::zeros((1, 3))).unwrap_err();
    assert_eq!(
        other.to_string(),
        "the data have 3 columns, the forest was fitted on 2"
    );
}

#[test]
fn a_row_that_lacks_a_column_is_judged_by_the_others() {
    for cut in [Cut::Straight, SLANTED] {
        let rows = cloud(500, [0.0, 0.0], 1);
        let forest = fitted(&params().cut(cut), rows);
        let scores = forest
            .scores(&array![
                [9.0, f64::NAN],
                [0.0, f64::NAN],
                [f64::NAN, f64::NAN]
            ])
            .unwrap();
        assert!(scores[0] > scores[1] + 0.1, "{scores}");
        assert!((0.3..0.6).contains(&scores[2]), "{scores}");
    }
}

#[test]
fn what_is_below_everything_scores_as_the_least_where_columns_are_few() {
    // One column varies, so that planes through two are filled up. High values thin out, so they are usual there.
    let value = |row: usize, column: usize| {
        if column == 0 {
            (row as f64).sqrt()
        } else {
            7.0
        }
    };
    let forest = fitted(
        &params().cut(SLANTED),
        Array2::from_shape_fn((400, 2), |at| value(at.0, at.1)),
    );
    let score = |x: f64| forest.scores(&array![[x, 7.0]]).unwrap()[0];
    assert_eq!(score(f64::NEG_INFINITY), score(-1e9));
    assert_eq!(score(f64::INFINITY), score(1e9));
    assert_ne!(score(f64::NEG_INFINITY), score(f64::INFINITY));
}

#[test]
fn holes_in_the_training_data_hide_no_anomaly() {
    let mut rows = cloud(500, [0.0, 0.0], 1);
    rows.iter_mut().step_by(3).for_each(|x| *x = f64::NAN);
    rows.row_mut(40).assign(&array![8.0, -8.0]);
    let forest = fitted(&params(), rows.clone());
    let scores = forest.scores(&rows).unwrap();
    assert!(scores.iter().all(|score| *score <= scores[40]));
}

#[test]
fn a_row_without_weight_is_not_learned_from() {
    let mut rows = cloud(400, [0.0, 0.0], 1);
    // Half of the rows are somewhere else, and count for nothing.
    rows.iter_mut().take(400).for_each(|x| *x += 30.0);
    let mut weights = Array1::ones(400);
    weights.iter_mut().take(200).for_each(|it| *it = 0.0);
    let dataset = DatasetBase::from(rows.clone()).with_weights(weights);
    let weighted = params().fit(&dataset).unwrap().scores(&rows).unwrap();
    let equal = fitted(&params(), rows.clone()).scores(&rows).unwrap();
    assert!(
        weighted[0] > 0.6 && equal[0] < 0.6,
        "{} {}",
        weighted[0],
        equal[0]
    );
}

#[test]
fn no_more_than_the_contamination_are_anomalies_in_the_training_data() {
    let rows = cloud(1000, [0.0, 0.0], 5);
    for share in [0.001, 0.01, 0.05, 0.5] {
        let forest = fitted(
            &params().threshold(Threshold::Contamination(share)),
            rows.clone(),
        );
        let strange: Array1<bool> = forest.predict(&rows);
        let found = strange.iter().filter(|it| **it).count() as f64;
        assert!(
            found <= 1000.0 * share && found >= 900.0 * share,
            "{share}: {found}"
        );
    }
}

#[test]
fn the_column_that_made_a_row_strange_is_named() {
    for cut in [Cut::Straight, SLANTED] {
        let forest = fitted(&params().cut(cut), cloud(500, [0.0, 0.0], 1));
        let why = forest.explain(&[0.1, 7.0]).unwrap();
        assert!(
            why.columns[1] > 0.2 && why.columns[1] > 4.0 * why.columns[0],
            "{why:?}"
        );
        let usual = forest.explain(&[0.1, 0.0]).unwrap();
        assert!(why.depth < usual.depth);
        // What is to be expected of a row is what one scores of which nothing is known.
        let unknown = forest.explain(&[f64::NAN, f64::NAN]).unwrap();
        assert!(unknown.columns.iter().all(|it| *it == 0.0));
        let sum: f64 = why.columns.iter().sum();
        let difference = why.score.log2() - unknown.score.log2();
        assert!((sum - difference).abs() < 1e-9, "{sum} {difference}");
        let alone = forest.scores(&array![[0.1, 7.0]]).unwrap()[0];
        assert!((why.score - alone).abs() < 1e-12);
    }
}

#[test]
fn newer_data_replace_the_oldest_trees() {
    let old = cloud(300, [0.0, 0.0], 1);
    let new = DatasetBase::from(cloud(300, [20.0, 20.0], 2));
    for cut in [Cut::Straight, SLANTED] {
        let params = params().trees(20).renewed(0.25).cut(cut);
        let mut forest = fitted(&params, old.clone());
        let size_bytes = forest.size_bytes();
        let place = array![[20.0, 20.0]];
        let mut before = forest.scores(&place).unwrap()[0];
        for _ in 0..4 {
            forest = params.fit_with(Some(forest), &new).unwrap();
            let now = forest.scores(&place).unwrap()[0];
            assert!(now < before, "{now} {before}");
            assert_eq!(forest.trees(), 20);
            before = now;
        }
        assert!(forest.size_bytes() < size_bytes * 2);
        // Nothing is left of the first one.
        assert!(forest.scores(&array![[0.0, 0.0]]).unwrap()[0] > 0.6);
    }
    let forest = fitted(&params(), old);
    let slanted = params().cut(SLANTED).fit_with(Some(forest.clone()), &new);
    assert!(matches!(slanted, Err(Error::OtherCut)));
    let narrow = DatasetBase::from(Array2::<f64>::zeros((5, 1)));
    let narrow = params().fit_with(Some(forest), &narrow);
    assert!(matches!(narrow, Err(Error::Columns { .. })));
}

/// As the README promises.
#[test]
fn a_forest_takes_no_more_memory_than_its_bound() {
    let (trees, sample_rows) = (20, 64);
    for (cut, terms) in [(Cut::Straight, 0), (SLANTED, 2)] {
        let params = params().trees(trees).sample_rows(sample_rows).cut(cut);
        let params = params.depth_max(usize::MAX);
        let mut forest = fitted(&params, cloud(300, [0.0, 0.0], 1));
        let nodes = 2 * trees * sample_rows;
        let most = nodes * 32 + nodes / 2 * terms * 24 + trees * 16 + 256;
        for seed in 0..5 {
            let size_bytes = forest.size_bytes();
            assert!(
                (most / 2..=most).contains(&size_bytes),
                "{size_bytes} of {most}"
            );
            let more = DatasetBase::from(cloud(300, [1.0, 0.0], seed));
            forest = params.fit_with(Some(forest), &more).unwrap();
        }
    }
}

/// Texts keep the last bit too: a score that is off by one would move a row over a threshold.
fn check_stored<F: Float>(cut: Cut) {
    let as_f = |rows: Array2<f64>| rows.mapv(F::cast);
    let params = IsolationForest::<F>::params().seed(1).cut(cut);
    let forest = fitted(&params, as_f(cloud(300, [0.0, 0.0], 1)));
    let stored = serde_json::to_string(&forest).unwrap();
    let read: IsolationForest<F> = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, forest);
    let more = DatasetBase::from(as_f(cloud(300, [1.0, 0.0], 2)));
    assert_eq!(
        params.fit_with(Some(read), &more).unwrap(),
        params.fit_with(Some(forest), &more).unwrap()
    );
}

#[test]
fn a_stored_forest_is_read_back_and_renewed_as_the_first_would_have_been() {
    for cut in [Cut::Straight, SLANTED] {
        check_stored::<f64>(cut);
        check_stored::<f32>(cut);
    }
}

#[test]
fn what_is_no_stored_forest_is_refused() {
    let forest = fitted(&params().trees(2), cloud(50, [0.0, 0.0], 1));
    let good = serde_json::to_value(&forest).unwrap();
    let refused = |path: &str, value: serde_json::Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        serde_json::from_value::<IsolationForest<f64>>(bad)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused("/format", 2.into()),
        "not a stored forest: its format is 2, this version reads 1"
    );
    // A forest whose ways cross: each node leads to the next two.
    let mut crossing = good.clone();
    let inner = crossing["nodes"].as_array_mut().unwrap().iter_mut();
    for node in inner.filter(|node| node["below"] != 0) {
        node["below"] = 1.into();
    }
    let told = serde_json::from_value::<IsolationForest<f64>>(crossing).unwrap_err();
    assert!(told.to_string().contains("two parents"), "{told}");
    for (path, value) in [
        ("/columns", 0.into()),
        ("/columns", 1.into()),
        ("/trees/1/start", 0.into()),
        ("/trees/1/end", 1_000_000.into()),
        ("/nodes/0/below", 0.into()),
        ("/nodes/0/below", 1_000_000.into()),
        ("/nodes/0/left", 2.0_f64.to_bits().into()),
        ("/nodes/0/value", f64::NAN.to_bits().into()),
        ("/threshold", f64::INFINITY.to_bits().into()),
        ("/terms_per_cut", 3.into()),
        ("/terms_per_cut", usize::MAX.into()),
    ] {
        assert!(
            refused(path, value).starts_with("not a stored forest: "),
            "{path}"
        );
    }
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -1e3..1e3,
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::MAX), Just(f64::MIN), Just(5e-324)],
        2 => Just(0.0),
    ]
}

/// All numbers of a stored form.
fn numbers(stored: &mut serde_json::Value) -> Vec<&mut serde_json::Value> {
    match stored {
        serde_json::Value::Array(parts) => parts.iter_mut().flat_map(numbers).collect(),
        serde_json::Value::Object(parts) => parts.values_mut().flat_map(numbers).collect(),
        serde_json::Value::Number(_) => vec![stored],
        _ => Vec::new(),
    }
}

fn any_number() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        (-2_i64..40).prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(|number| number.to_bits().into()),
        prop::sample::select(vec![f64::MAX, f64::MIN, 5e-324])
            .prop_map(|number| number.to_bits().into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_stored_forest_with_changed_numbers_is_refused_or_tells_numbers(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_number()), 1..4),
        slanted in any::<bool>(),
        row in prop::collection::vec(any_value(), 2),
    ) {
        let params = params().trees(4).sample_rows(16).cut(if slanted { SLANTED } else { Cut::Straight });
        let forest = fitted(&params, cloud(40, [0.0, 0.0], 1));
        let mut stored = serde_json::to_value(&forest).unwrap();
        let mut numbers = numbers(&mut stored);
        for (place, number) in changes {
            let place = place.index(numbers.len());
            *numbers[place] = number;
        }
        let Ok(forest) = serde_json::from_value::<IsolationForest<f64>>(stored) else {
            return Ok(());
        };
        if let Ok(why) = forest.explain(&row) {
            prop_assert!((0.0..=1.0).contains(&why.score), "{:?}", why);
            prop_assert!(why.depth.is_finite(), "{:?}", why);
            prop_assert!(why.columns.iter().all(|it| it.is_finite()), "{:?}", why);
        }
        let more = DatasetBase::from(cloud(40, [1.0, 0.0], 2));
        if let Ok(renewed) = params.fit_with(Some(forest), &more) {
            let again = serde_json::from_value::<IsolationForest<f64>>(serde_json::to_value(&renewed).unwrap());
            prop_assert_eq!(again.unwrap(), renewed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_the_data_are_scores_are_between_zero_and_one(
        values in prop::collection::vec(any_value(), 3..120),
        slanted in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let rows = Array2::from_shape_vec((values.len() / 3, 3), values[..values.len() / 3 * 3].to_vec()).unwrap();
        let cut = if slanted { SLANTED } else { Cut::Straight };
        let params = IsolationForest::params().seed(seed).trees(8).sample_rows(16).cut(cut);
        prop_assert!(params.check_ref().is_ok());
        let forest = fitted(&params, rows.clone());
        for score in forest.scores(&rows).unwrap() {
            prop_assert!((0.0..=1.0).contains(&score), "{}", score);
        }
        let why = forest.explain(&rows.row(0).to_vec()).unwrap();
        prop_assert!(why.columns.iter().all(|it| it.is_finite()), "{:?}", why);
    }
}
