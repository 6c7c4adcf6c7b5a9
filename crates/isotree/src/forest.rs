//! A fitted forest: scores, anomalies, and what made a row one.

use crate::error::Error;
use crate::grow::{Rows, grow};
use crate::key::key;
use crate::params::{Cut, IsolationForestParams, IsolationForestValidParams, Threshold};
use crate::path::{count, mean_path_length, score};
use crate::stored::Stored;
use crate::tree::{LANES, LIMIT, Tree, Trees};
use linfa::Float;
use linfa::dataset::{AsTargets, DatasetBase};
use linfa::traits::{Fit, FitWith, PredictInplace};
use ndarray::{Array1, ArrayBase, Data, Ix2};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Rows that are scored beside each other: with a tree they fit into the nearest cache.
const BLOCK_ROWS: usize = 128;

/// Trees that tell how strange a row is. Serialised it carries a format version, [`crate::FORMAT`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored<F>", try_from = "Stored<F>", bound = "F: Float")]
pub struct IsolationForest<F> {
    pub(crate) columns: usize,
    /// Rows with a score above this are anomalies.
    pub(crate) threshold: F,
    /// Trees that were ever grown: the number of the next one.
    pub(crate) grown: u64,
    /// Oldest first.
    pub(crate) trees: Trees<F>,
}

/// What made a row as strange as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation<F> {
    /// How strange, as [`IsolationForest::scores`] tells it.
    pub score: F,
    /// Mean path length: cuts until the row is alone, with those that a leaf of several rows would have needed.
    pub depth: F,
    /// For each column what its cuts did to the binary logarithm of the score: above 0 made the row stranger, below 0 more
    /// usual. Their sum is the difference between this row and what is to be expected of a row of the training data, where
    /// all values are finite.
    pub columns: Vec<F>,
}

impl<F: fmt::Debug> fmt::Debug for IsolationForest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolationForest")
            .field("columns", &self.columns)
            .field("threshold", &self.threshold)
            .field("grown", &self.grown)
            .field("trees", &self.trees.trees.len())
            .field("nodes", &self.trees.nodes.len())
            .finish()
    }
}

impl<F: Float> IsolationForest<F> {
    /// What a forest is made with; `fit` of it gives one.
    #[must_use]
    pub fn params() -> IsolationForestParams<F> {
        IsolationForestParams::default()
    }

    /// How strange each row is, between 0 and 1: 0.5 is as the average, close to 1 is an anomaly (Liu et al. 2008,
    /// equation 2). NaN is a missing value; a row of which nothing is known scores as is to be expected of any.
    ///
    /// # Errors
    /// [`Error::Columns`] for a matrix with another number of columns.
    pub fn scores<D: Data<Elem = F>>(
        &self,
        records: &ArrayBase<D, Ix2>,
    ) -> Result<Array1<F>, Error> {
        self.check_columns(records.ncols())?;
        let mut scores = Array1::zeros(records.nrows());
        let rows = records.as_standard_layout();
        if let (Some(values), Some(scores)) = (rows.as_slice(), scores.as_slice_mut()) {
            self.score_into(values, scores);
        }
        Ok(scores)
    }

    /// What made one row as strange as it is.
    ///
    /// Path lengths are told apart cut by cut, by what each changed of the expected one (as Saabas does for decision
    /// trees); a slanted cut is shared out by what each column brings into it.
    ///
    /// # Errors
    /// [`Error::Columns`] for a row of another length.
    pub fn explain(&self, row: &[F]) -> Result<Explanation<F>, Error> {
        self.check_columns(row.len())?;
        let mut columns = vec![F::zero(); self.columns];
        let (mut relative, mut depth) = (0.0, 0.0);
        let mut ways = Vec::new();
        for tree in &self.trees.trees {
            let length = self.trees.path_length(*tree, row, &mut ways);
            let length = length.to_f64().unwrap_or_default();
            relative += length;
            depth += length * mean_path_length(tree.sample_rows as usize);
            self.attribute(*tree, row, &mut ways, &mut columns);
        }
        let trees = count(self.trees.trees.len());
        let per_tree = F::cast(1.0 / trees);
        columns.iter_mut().for_each(|column| *column *= per_tree);
        Ok(Explanation {
            score: F::cast(score(relative / trees)),
            depth: F::cast(depth / trees),
            columns,
        })
    }

    /// Rows with a score above this are anomalies.
    #[must_use]
    pub fn threshold(&self) -> F {
        self.threshold
    }

    /// Columns of the data it was fitted on.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many trees it has.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.trees.trees.len()
    }

    /// Bytes it takes in memory. A forest of t trees on s rows each has at most 2 t s nodes, and one cut for every two.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.trees.heap_bytes()
    }

    fn check_columns(&self, given: usize) -> Result<(), Error> {
        match given == self.columns {
            true => Ok(()),
            false => Err(Error::Columns {
                given,
                fitted: self.columns,
            }),
        }
    }

    /// Trees of one forest all have cuts of one kind.
    fn check_cut(&self, cut: Cut) -> Result<(), Error> {
        match self.terms_per_cut(cut) == self.trees.terms_per_cut {
            true => Ok(()),
            false => Err(Error::OtherCut),
        }
    }

    fn terms_per_cut(&self, cut: Cut) -> usize {
        match cut {
            Cut::Straight => 0,
            Cut::Slanted { columns } => columns.min(self.columns),
        }
    }

    fn score_into(&self, values: &[F], scores: &mut [F]) {
        let mut keys = Vec::new();
        let mut ways = Vec::new();
        let blocks = values.chunks(BLOCK_ROWS.saturating_mul(self.columns));
        for (block, sums) in blocks.zip(scores.chunks_mut(BLOCK_ROWS)) {
            let rows = block.chunks_exact(self.columns);
            if self.trees.terms_per_cut > 0 || block.iter().any(|x| x.is_nan()) {
                for tree in &self.trees.trees {
                    for (row, sum) in rows.clone().zip(sums.iter_mut()) {
                        *sum += self.trees.path_length(*tree, row, &mut ways);
                    }
                }
                continue;
            }
            let beside = sums.len() - sums.len() % LANES;
            let (grouped, others) = sums.split_at_mut(beside);
            self.group(&block[..beside * self.columns], &mut keys);
            for tree in &self.trees.trees {
                self.add_groups(*tree, &keys, grouped);
            }
            for (row, sum) in rows.skip(beside).zip(others) {
                *sum = self.sum_of(row);
            }
        }
        let trees = count(self.trees.trees.len());
        for sum in scores {
            *sum = F::cast(score(sum.to_f64().unwrap_or_default() / trees));
        }
    }

    /// Keys of rows, column by column for each group of as many rows as there are lanes.
    fn group(&self, values: &[F], keys: &mut Vec<[u64; LANES]>) {
        keys.clear();
        for rows in values.chunks_exact(LANES * self.columns) {
            let columns = (0..self.columns)
                .map(|column| std::array::from_fn(|lane| key(rows[lane * self.columns + column])));
            keys.extend(columns);
        }
    }

    /// Adds the path lengths of groups of rows in one tree.
    fn add_groups(&self, tree: Tree, keys: &[[u64; LANES]], sums: &mut [F]) {
        let groups = keys.chunks_exact(self.columns);
        for (keys, sums) in groups.zip(sums.chunks_exact_mut(LANES)) {
            let starts = [tree.start; LANES];
            let ends = self
                .trees
                .descend(tree.depth, starts, |lane, column| keys[column][lane]);
            for (sum, end) in sums.iter_mut().zip(ends) {
                *sum += self.trees.expected[end as usize];
            }
        }
    }

    /// The path lengths of one row in all trees.
    fn sum_of(&self, row: &[F]) -> F {
        let mut sum = F::zero();
        for trees in self.trees.trees.chunks(LANES) {
            // Lanes without a tree follow the first one.
            let starts = std::array::from_fn(|lane| trees.get(lane).unwrap_or(&trees[0]).start);
            let depth = trees.iter().map(|tree| tree.depth).max();
            let ends = self
                .trees
                .descend(depth.unwrap_or_default(), starts, |_, column| {
                    key(row[column])
                });
            for end in &ends[..trees.len()] {
                sum += self.trees.expected[*end as usize];
            }
        }
        sum
    }

    /// Adds to each column what its cuts changed of the expected path length, with the sign of the score.
    fn attribute(&self, tree: Tree, row: &[F], ways: &mut Vec<(usize, F)>, columns: &mut [F]) {
        let trees = &self.trees;
        trees.each_way(tree.start as usize, row, ways, |from, at, weight| {
            let Some(from) = from else { return };
            let node = &trees.nodes[from];
            if trees.goes_left(node, row).is_none() {
                // Both ways together are what was to be expected.
                return;
            }
            let gained = weight * (trees.expected[from] - trees.expected[at]);
            if trees.terms_per_cut == 0 {
                columns[node.cut as usize] += gained;
                return;
            }
            let terms = trees.terms_of(node);
            let parts = || {
                terms.iter().filter_map(|term| {
                    let column = term.column as usize;
                    let part = (term.coefficient * (row[column] - term.centre)).abs();
                    part.is_finite().then_some((column, part))
                })
            };
            let whole: F = parts().map(|(_, part)| part).sum();
            for (column, part) in parts().filter(|_| whole > F::zero()) {
                columns[column] += gained * (part / whole);
            }
        });
    }

    /// Adds so many trees that are grown on these rows. A tree has at most two nodes for each row of its sample, and a cut
    /// for every two of those.
    fn add(
        &mut self,
        params: &IsolationForestValidParams<F>,
        rows: &Rows<'_, F>,
        trees: usize,
    ) -> Result<(), Error> {
        let cuts = trees.saturating_mul(params.sample_rows.min(rows.len()));
        let nodes = cuts
            .saturating_mul(2)
            .saturating_add(self.trees.nodes.len());
        let terms = cuts.saturating_mul(self.terms_per_cut(params.cut));
        let terms = terms.saturating_add(self.trees.terms.len());
        if nodes.max(terms) >= LIMIT {
            return Err(Error::TooLarge("the number of nodes"));
        }
        for _ in 0..trees {
            grow(params, rows, self.grown, &mut self.trees);
            self.grown = self.grown.wrapping_add(1);
        }
        self.trees.shrink_to_fit();
        self.threshold = match params.threshold {
            Threshold::Score(score) => F::cast(score),
            Threshold::Contamination(share) => {
                let mut scores = vec![F::zero(); rows.len()];
                self.score_into(rows.values, &mut scores);
                most_usual_anomaly(scores, share)
            }
        };
        Ok(())
    }
}

/// The score that at most this share of the rows is above.
fn most_usual_anomaly<F: Float>(mut scores: Vec<F>, share: f64) -> F {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of rows"
    )]
    let above = (count(scores.len()) * share) as usize;
    scores
        .sort_unstable_by(|one, other| other.partial_cmp(one).unwrap_or(std::cmp::Ordering::Equal));
    scores.get(above).copied().unwrap_or_else(F::one)
}

impl<F: Float, D: Data<Elem = F>, T> Fit<ArrayBase<D, Ix2>, T, Error>
    for IsolationForestValidParams<F>
where
    T: AsTargets,
{
    type Object = IsolationForest<F>;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Self::Object, Error> {
        self.fit_with(None, dataset)
    }
}

/// A fitted forest lets the oldest of its trees go, and has as many new ones grown on these data.
impl<'a, F: Float, D: Data<Elem = F>, T> FitWith<'a, ArrayBase<D, Ix2>, T, Error>
    for IsolationForestValidParams<F>
where
    T: AsTargets,
{
    type ObjectIn = Option<IsolationForest<F>>;
    type ObjectOut = IsolationForest<F>;

    fn fit_with(
        &self,
        forest: Self::ObjectIn,
        dataset: &'a DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Self::ObjectOut, Error> {
        let records = &dataset.records;
        let (row_count, columns) = records.dim();
        if row_count == 0 || columns == 0 {
            return Err(Error::NoData {
                rows: row_count,
                columns,
            });
        }
        if row_count.max(columns) >= LIMIT {
            return Err(Error::TooLarge("the number of rows or columns"));
        }
        let layout = records.as_standard_layout();
        let rows = Rows {
            values: layout.as_slice().unwrap_or_default(),
            columns,
            weights: weights_of(dataset)?,
        };
        let Some(mut forest) = forest else {
            let mut forest = IsolationForest {
                columns,
                threshold: F::one(),
                grown: 0,
                trees: Trees::default(),
            };
            forest.trees.terms_per_cut = forest.terms_per_cut(self.cut);
            forest.add(self, &rows, self.trees)?;
            return Ok(forest);
        };
        forest.check_columns(columns)?;
        forest.check_cut(self.cut)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of trees"
        )]
        let renewed = (count(forest.trees()) * self.renewed).ceil() as usize;
        forest.trees.forget(renewed);
        forest.add(self, &rows, renewed)?;
        Ok(forest)
    }
}

fn weights_of<R: linfa::dataset::Records, T>(
    dataset: &DatasetBase<R, T>,
) -> Result<Option<&[f32]>, Error> {
    let Some(weights) = dataset.weights.as_slice().filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    if weights.len() != dataset.records.nsamples() {
        return Err(Error::Weights("there is not one weight for each row"));
    }
    if weights
        .iter()
        .any(|weight| !weight.is_finite() || *weight < 0.0)
    {
        return Err(Error::Weights("a weight is negative or no number"));
    }
    match weights.iter().any(|weight| *weight > 0.0) {
        true => Ok(Some(weights)),
        false => Err(Error::Weights("no weight is above 0")),
    }
}

/// True where a row is stranger than the threshold.
impl<F: Float, D: Data<Elem = F>> PredictInplace<ArrayBase<D, Ix2>, Array1<bool>>
    for IsolationForest<F>
{
    /// # Panics
    /// When the matrix has another number of columns than the one it was fitted on.
    fn predict_inplace<'a>(&'a self, records: &'a ArrayBase<D, Ix2>, strange: &mut Array1<bool>) {
        let scores = self
            .scores(records)
            .expect("as many columns as the forest was fitted on");
        strange.assign(&scores.mapv(|score| score > self.threshold));
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array1<bool> {
        Array1::from_elem(records.nrows(), false)
    }
}
