use crate::error::Error;
use linfa::{Float, ParamGuard};
use std::marker::PhantomData;

/// Trees of a forest: path lengths have settled well before that many (Liu et al. 2008).
const TREES: usize = 100;
/// Rows of a tree's sample (Liu et al. 2008).
const SAMPLE_ROWS: usize = 256;
/// Share of the trees that a renewal replaces: ten renewals forget the first data.
const RENEWED: f64 = 0.1;
/// Where a score begins to tell an anomaly, when nothing is known of the data: a point that is no stranger than the
/// average has 0.5 (Liu et al. 2008).
const SCORE: f64 = 0.6;
/// Most rows that can be anomalies: more of them would be what is usual.
const CONTAMINATION_MAX: f64 = 0.5;

/// How a node divides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At a value of one column: the isolation forest of Liu, Ting and Zhou (2008).
    Straight,
    /// Along a slanted plane through this many columns: the extended isolation forest of Hariri, Carrasco Kind and
    /// Brunner (2019). Columns are scaled by their range in the node, so that units do not matter. More columns than there
    /// are is all of them.
    Slanted {
        /// Columns a plane takes part of.
        columns: usize,
    },
}

/// Which rows are anomalies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// Those with a score above this.
    Score(f64),
    /// As strange as this share of the training rows, at most: equal ones are none. When a forest is renewed, the share
    /// is of the newer rows.
    Contamination(f64),
}

/// What a forest is made with, checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IsolationForestValidParams<F> {
    pub(crate) trees: usize,
    pub(crate) sample_rows: usize,
    pub(crate) depth_max: Option<usize>,
    pub(crate) cut: Cut,
    pub(crate) threshold: Threshold,
    pub(crate) renewed: f64,
    pub(crate) seed: u64,
    float: PhantomData<F>,
}

/// What a forest is made with: 100 trees of 256 rows each, straight cuts, anomalies above a score of 0.6.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IsolationForestParams<F>(IsolationForestValidParams<F>);

impl<F> Default for IsolationForestParams<F> {
    fn default() -> Self {
        Self(IsolationForestValidParams {
            trees: TREES,
            sample_rows: SAMPLE_ROWS,
            depth_max: None,
            cut: Cut::Straight,
            threshold: Threshold::Score(SCORE),
            renewed: RENEWED,
            seed: 0,
            float: PhantomData,
        })
    }
}

impl<F: Float> IsolationForestParams<F> {
    /// How many trees.
    #[must_use]
    pub fn trees(mut self, trees: usize) -> Self {
        self.0.trees = trees;
        self
    }

    /// How many rows each tree is grown on, drawn without replacement; all when there are fewer.
    #[must_use]
    pub fn sample_rows(mut self, rows: usize) -> Self {
        self.0.sample_rows = rows;
        self
    }

    /// The deepest a tree grows; without it the depth of a balanced tree of its sample, as anomalies are shallow.
    #[must_use]
    pub fn depth_max(mut self, depth: usize) -> Self {
        self.0.depth_max = Some(depth);
        self
    }

    /// How nodes divide their rows.
    #[must_use]
    pub fn cut(mut self, cut: Cut) -> Self {
        self.0.cut = cut;
        self
    }

    /// Which rows are anomalies.
    #[must_use]
    pub fn threshold(mut self, threshold: Threshold) -> Self {
        self.0.threshold = threshold;
        self
    }

    /// Which share of the trees, the oldest, is grown anew when a fitted forest is given newer data; at least one of them.
    /// 0.1 unless it is set.
    #[must_use]
    pub fn renewed(mut self, share: f64) -> Self {
        self.0.renewed = share;
        self
    }

    /// Where randomness begins; 0 unless it is set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.0.seed = seed;
        self
    }
}

impl<F: Float> ParamGuard for IsolationForestParams<F> {
    type Checked = IsolationForestValidParams<F>;
    type Error = Error;

    fn check_ref(&self) -> Result<&Self::Checked, Error> {
        let params = &self.0;
        if params.trees == 0 {
            return Err(Error::NoTrees);
        }
        if params.sample_rows < 2 {
            return Err(Error::SampleTooSmall(params.sample_rows));
        }
        if params.cut == (Cut::Slanted { columns: 0 }) {
            return Err(Error::FlatCut);
        }
        check_share("the share of renewed trees", params.renewed, 1.0)?;
        match params.threshold {
            Threshold::Score(score) if (0.0..=1.0).contains(&score) => Ok(params),
            Threshold::Score(score) => Err(Error::Threshold(score)),
            Threshold::Contamination(share) => {
                check_share("the contamination", share, CONTAMINATION_MAX).map(|()| params)
            }
        }
    }

    fn check(self) -> Result<Self::Checked, Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

fn check_share(what: &'static str, value: f64, most: f64) -> Result<(), Error> {
    if value > 0.0 && value <= most {
        Ok(())
    } else {
        Err(Error::Share { what, value, most })
    }
}
