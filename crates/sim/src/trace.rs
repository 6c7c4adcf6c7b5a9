//! What happened, as lines: the last ones are shown when something breaks, all of them make the hash by which two
//! runs of one seed are compared.

use std::collections::VecDeque;

/// Lines kept for the report.
pub(crate) const RECENT_LINES: usize = 60;

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    recent: VecDeque<String>,
    hash: u64,
    pub(crate) lines: u64,
    keep: usize,
}

impl Trace {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            recent: VecDeque::new(),
            // Offset basis of FNV-1a, 64 bit.
            hash: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            keep,
        }
    }

    pub(crate) fn add(&mut self, now: i64, line: String) {
        for byte in now.to_le_bytes().iter().chain(line.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.recent.len() >= self.keep {
            self.recent.pop_front();
        }
        let (seconds, millis) = (now / 1000, now % 1000);
        self.recent
            .push_back(format!("{seconds:>5}.{millis:03}  {line}"));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn recent(&self) -> Vec<String> {
        self.recent.iter().cloned().collect()
    }
}
