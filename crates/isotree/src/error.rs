use thiserror::Error;

/// Why there is no forest, or no score.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A forest needs at least one tree.
    #[error("the number of trees is 0")]
    NoTrees,
    /// A tree needs at least two rows to cut between.
    #[error("the sample of a tree is {0} rows; at least 2 are needed")]
    SampleTooSmall(usize),
    /// A share is above 0 and at most 1 (of renewal) or .5 (of contamination).
    #[error("{what} is {value}; it has to be above 0 and at most {most}")]
    Share {
        /// Which parameter.
        what: &'static str,
        /// What was given.
        value: f64,
        /// The most it may be.
        most: f64,
    },
    /// A score is between 0 and 1.
    #[error("the threshold is {0}; scores are between 0 and 1")]
    Threshold(f64),
    /// A slanted cut is along at least one column.
    #[error("a cut along 0 columns divides nothing")]
    FlatCut,
    /// There is nothing to learn from.
    #[error("the data have {rows} rows and {columns} columns")]
    NoData {
        /// Rows there are.
        rows: usize,
        /// Columns there are.
        columns: usize,
    },
    /// More than can be counted.
    #[error("{0} is more than a forest can hold")]
    TooLarge(&'static str),
    /// There is one weight for each row, none negative, and some above 0.
    #[error("{0}")]
    Weights(&'static str),
    /// The forest was fitted on another number of columns.
    #[error("the data have {given} columns, the forest was fitted on {fitted}")]
    Columns {
        /// Columns of the data.
        given: usize,
        /// Columns of the forest.
        fitted: usize,
    },
    /// Trees of one forest are all cut in the same way.
    #[error("the forest was fitted with another kind of cut")]
    OtherCut,
    /// What was stored is no forest of this format.
    #[error("not a stored forest: {0}")]
    Stored(String),
    /// An error of linfa's own.
    #[error(transparent)]
    Linfa(#[from] linfa::error::Error),
}
