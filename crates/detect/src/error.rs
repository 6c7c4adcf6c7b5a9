//! What can be wrong with what detection is given.

use std::fmt;

/// What can be wrong with what detection is given.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Settings that cannot be.
    #[error("settings: {0}")]
    Settings(&'static str),
    /// A service without metrics, or with too many.
    #[error("a service of {0} metrics; there may be 1 to {max}", max = crate::metrics::METRICS_MAX)]
    Metrics(usize),
    /// A name of a metric that is longer than [`crate::metrics::NAME_BYTES_MAX`].
    #[error("a metric's name of {0} bytes; it may have {max}", max = crate::metrics::NAME_BYTES_MAX)]
    Name(usize),
    /// Two metrics of a service have this name.
    #[error("two metrics are named {0:?}")]
    SameName(String),
    /// A step of a forecast that is too short, too long, or no part of an hour; in seconds.
    #[error(
        "a step of {0} s; it has to be {min} to {max} s and to divide an hour",
        min = crate::forecast::STEP_MIN_S,
        max = crate::forecast::STEP_MAX_S
    )]
    Step(u32),
    /// Something stored that was never written like this: cut off, or changed since.
    #[error("read a stored {what}: {problem}")]
    Stored {
        /// What it should be.
        what: Stored,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something stored by a program that is newer than this one.
    #[error("read a stored {what} of format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// What it is.
        what: Stored,
        /// Its format.
        found: u32,
        /// The newest format that can be read.
        known: u32,
    },
}

/// What is stored, or reaches others as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A [`crate::metrics::Watch`].
    Watch,
    /// An entry of a [`crate::metrics::Summary`].
    Summary,
    /// A [`crate::forecast::Forecaster`].
    Forecaster,
    /// A [`crate::leak::Detector`].
    LeakDetector,
}

impl Stored {
    /// Says that a format is not the one that is known. (There is no format 0.)
    pub(crate) fn check_format(self, found: u32, known: u32) -> Result<(), Error> {
        match found {
            0 => Err(self.broken("there is no format 0")),
            found if found > known => Err(Error::NewerFormat {
                what: self,
                found,
                known,
            }),
            _ => Ok(()),
        }
    }

    /// Says what is wrong with it.
    pub(crate) fn broken(self, problem: &'static str) -> Error {
        Error::Stored {
            what: self,
            problem,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watch",
            Self::Summary => "summary",
            Self::Forecaster => "forecaster",
            Self::LeakDetector => "leak detector",
        })
    }
}
