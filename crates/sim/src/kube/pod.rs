//! One pod's life, as a kubelet would report it.

use super::rfc3339;
use crate::content::Flavour;
use crate::rng::Rng;
use serde_json::{Value, json};

/// Back-off after the n-th crash, in milliseconds: a kubelet's, shortened.
const BACK_OFF_MS: &[i64] = &[4_000, 8_000, 16_000, 20_000];

#[derive(Clone, Debug)]
pub(crate) struct PodLife {
    stage: Stage,
    /// When the stage ends.
    pub(crate) until: i64,
    restarts: i64,
    /// The last run, as (started, finished).
    last_run: Option<(i64, i64)>,
    started: i64,
    /// Without a readiness probe a crashing container is ready while it runs.
    probed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    NotReady,
    /// Runs, and will crash.
    Doomed,
    BackOff,
    PullError,
    PullBackOff,
    ConfigError,
}

/// How a pod behaves now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    Slow,
    Crash,
    Missing,
    NoConfig,
    Stuck,
}

impl Behaviour {
    pub(crate) fn of(flavour: Flavour, is_first_cluster: bool, set_age_ms: i64) -> Self {
        match flavour {
            Flavour::Good => Behaviour::Good,
            Flavour::Slow => Behaviour::Slow,
            Flavour::Rough if set_age_ms < ROUGH_MS => Behaviour::Crash,
            Flavour::Picky if is_first_cluster => Behaviour::Crash,
            Flavour::Rough | Flavour::Picky => Behaviour::Good,
            Flavour::Crash => Behaviour::Crash,
            Flavour::Missing => Behaviour::Missing,
            Flavour::NoConfig => Behaviour::NoConfig,
            Flavour::Stuck => Behaviour::Stuck,
        }
    }
}

/// How long a rough image crashes before it heals.
const ROUGH_MS: i64 = 9_000;

impl PodLife {
    pub(crate) fn new(now: i64, behaviour: Behaviour, rng: &mut Rng) -> Self {
        let start = match behaviour {
            Behaviour::Slow => rng.range(5_000, 8_000),
            _ => rng.range(300, 1_800),
        };
        Self {
            stage: Stage::Starting,
            until: now + start,
            restarts: 0,
            last_run: None,
            started: now,
            probed: rng.chance(60),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready || (self.stage == Stage::Doomed && !self.probed)
    }

    /// Whether only trouble from outside moves it on.
    pub(crate) fn is_steady(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// Whether a person would say that it fails.
    pub(crate) fn is_failing(&self) -> bool {
        matches!(
            self.stage,
            Stage::Doomed
                | Stage::BackOff
                | Stage::PullError
                | Stage::PullBackOff
                | Stage::ConfigError
        )
    }

    /// Moves on when its time has come.
    pub(crate) fn step(&mut self, now: i64, behaviour: Behaviour, rng: &mut Rng) {
        if self.stage == Stage::Ready && behaviour == Behaviour::Crash {
            self.crash(now);
            return;
        }
        if now < self.until {
            return;
        }
        match (self.stage, behaviour) {
            (Stage::Doomed, _) => self.crash(now),
            (Stage::Ready, _) => self.until = FOREVER,
            (stage, Behaviour::Good | Behaviour::Slow) => {
                if stage == Stage::Starting || stage == Stage::NotReady {
                    self.enter(Stage::Ready, FOREVER);
                } else {
                    self.started = now;
                    self.enter(Stage::NotReady, now + rng.range(300, 1_500));
                }
            }
            (_, Behaviour::Crash) => {
                self.started = now;
                self.enter(Stage::Doomed, now + rng.range(300, 1_500));
            }
            (Stage::PullError, Behaviour::Missing) => {
                self.enter(Stage::PullBackOff, now + rng.range(3_000, 6_000));
            }
            (_, Behaviour::Missing) => {
                self.enter(Stage::PullError, now + rng.range(500, 2_000));
            }
            (_, Behaviour::NoConfig) => self.enter(Stage::ConfigError, now + 5_000),
            (_, Behaviour::Stuck) => {
                self.started = now;
                self.enter(Stage::NotReady, now + 5_000);
            }
        }
    }

    fn enter(&mut self, stage: Stage, until: i64) {
        self.stage = stage;
        self.until = until;
    }

    fn crash(&mut self, now: i64) {
        let step = usize::try_from(self.restarts).unwrap_or(0);
        let back_off = BACK_OFF_MS[step.min(BACK_OFF_MS.len() - 1)];
        self.restarts += 1;
        self.last_run = Some((self.started, now));
        self.enter(Stage::BackOff, now + back_off);
    }

    /// The pod's `status`.
    pub(crate) fn status(&self, image: &str) -> Value {
        let ready = self.is_ready();
        let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
        let state = match self.stage {
            Stage::Starting => waiting("ContainerCreating", ""),
            Stage::Ready | Stage::NotReady | Stage::Doomed => {
                json!({"running": {"startedAt": rfc3339(self.started)}})
            }
            Stage::BackOff => waiting("CrashLoopBackOff", "back-off restarting failed container"),
            Stage::PullError => waiting("ErrImagePull", "manifest unknown"),
            Stage::PullBackOff => waiting("ImagePullBackOff", "Back-off pulling image"),
            Stage::ConfigError => waiting(
                "CreateContainerConfigError",
                "configmap \"settings\" not found",
            ),
        };
        let mut container = json!({
            "name": "main",
            "image": image,
            "ready": ready,
            "restartCount": self.restarts,
            "state": state,
        });
        if let Some((started, finished)) = self.last_run {
            container["lastState"] = json!({"terminated": {
                "exitCode": 1,
                "reason": "Error",
                "startedAt": rfc3339(started),
                "finishedAt": rfc3339(finished),
            }});
        }
        let runs = self.restarts > 0
            || matches!(self.stage, Stage::Ready | Stage::NotReady | Stage::Doomed);
        json!({
            "phase": if runs { "Running" } else { "Pending" },
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": if ready { "True" } else { "False" }},
            ],
            "containerStatuses": [container],
        })
    }
}

/// No end.
const FOREVER: i64 = i64::MAX;
