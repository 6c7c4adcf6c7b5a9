//! What a seed asks for: the size of the world, how rough it is, and which kind of trouble it prefers.

use crate::content::Policy;
use crate::rng::Rng;
use regraft_model::config::Mode;

/// How long faults go on.
const CHAOS_MS: (i64, i64) = (80_000, 150_000);
/// How long where each fault is repaired before the next one comes.
const LONG_CHAOS_MS: (i64, i64) = (140_000, 240_000);

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) clusters: Vec<String>,
    pub(crate) applications: Vec<Planned>,
    pub(crate) policy: Policy,
    pub(crate) theme: Theme,
    /// When faults end, after the start.
    pub(crate) chaos_ms: i64,
    /// Share in percent of decisive moments at which something happens on purpose.
    pub(crate) spite: u32,
}

/// One application as it is at first.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) clusters: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) prune: bool,
    pub(crate) delete: bool,
    pub(crate) has_worker: bool,
    pub(crate) extras: usize,
}

/// Which kind of trouble a seed prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// A bit of everything.
    Mixed,
    /// Bad commits, and what goes wrong while they are repaired.
    Repairs,
    /// People: reverts, vetoes, resets, broken files.
    People,
    /// Clusters: storms, deaths, drift.
    Clusters,
    /// Pruning and broken renders.
    Pruning,
    /// Leaders, partitions, crashes.
    Members,
}

impl Scenario {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let names = ["eu", "us", "ap"];
        let clusters: Vec<String> = names
            .iter()
            .take(2 + rng.below(2))
            .map(|name| (*name).to_owned())
            .collect();
        let themes = [
            Theme::Mixed,
            Theme::Repairs,
            Theme::Repairs,
            Theme::People,
            Theme::Clusters,
            Theme::Pruning,
            Theme::Members,
        ];
        let theme = rng.pick(&themes).copied().unwrap_or(Theme::Mixed);
        let count = 2 + rng.below(2);
        let applications = ["shop", "cart", "mail"]
            .iter()
            .take(count)
            .map(|name| Planned::drawn(rng, name, &clusters))
            .collect();
        Self {
            applications,
            policy: Policy::drawn(rng),
            theme,
            chaos_ms: match theme {
                Theme::Repairs => rng.range(LONG_CHAOS_MS.0, LONG_CHAOS_MS.1),
                _ => rng.range(CHAOS_MS.0, CHAOS_MS.1),
            },
            spite: if theme == Theme::Repairs { 60 } else { 35 },
            clusters,
        }
    }
}

impl Planned {
    fn drawn(rng: &mut Rng, name: &str, clusters: &[String]) -> Self {
        let mut chosen = clusters.to_vec();
        if chosen.len() > 1 && rng.chance(15) {
            chosen.pop();
        }
        let mode = match rng.below(10) {
            0 => Mode::Observe,
            1 => Mode::Propose,
            _ => Mode::Auto,
        };
        Self {
            name: name.to_owned(),
            clusters: chosen,
            mode,
            prune: rng.chance(70),
            delete: rng.chance(50),
            has_worker: rng.chance(50),
            extras: 2 + rng.below(4),
        }
    }
}
