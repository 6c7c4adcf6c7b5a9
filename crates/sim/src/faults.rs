//! What goes wrong, when, and when it ends.

use crate::kube::Trouble;
use crate::people::Deed;
use crate::scenario::Theme;
use crate::world::{EPOCH_MS, MEMBERS, Occurrence, World};
use regraft_engine::Event;

/// Something that goes wrong in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash {
        member: usize,
    },
    Isolate {
        member: usize,
        for_ms: i64,
    },
    Rejoin {
        member: usize,
    },
    Stall {
        member: usize,
        for_ms: i64,
    },
    LeaderChange,
    ClockJump {
        member: usize,
        by_ms: i64,
    },
    GitDown {
        member: Option<usize>,
        for_ms: i64,
    },
    ClusterDown {
        cluster: usize,
        for_ms: i64,
    },
    ClusterUp {
        cluster: usize,
    },
    CutLink {
        member: usize,
        cluster: usize,
        for_ms: i64,
    },
    MendLink {
        member: usize,
        cluster: usize,
    },
    BreakWatch {
        member: usize,
        cluster: usize,
    },
    ReplaceCluster {
        cluster: usize,
    },
    /// One unchanged workload crashes for a while.
    Trouble {
        for_ms: i64,
    },
    /// Many unchanged workloads crash at once.
    Storm {
        for_ms: i64,
    },
}

/// The first seconds belong to the first sync.
const START_MS: i64 = 24_000;
/// Longest quiet phase before liveness is judged.
pub(crate) const CALM_MS: i64 = 400_000;
/// After this the world is asked for the first time whether it has come to rest.
const FIRST_ASK_MS: i64 = 20_000;
/// A clock is never further off than this.
pub(crate) const MAX_SKEW_MS: i64 = 2_000;
/// A clock that jumps by more is noticed.
const CLOCK_STEP_MS: i64 = 1_000;

impl World {
    /// Draws what goes wrong in this seed.
    pub(crate) fn schedule_faults(&mut self) {
        for member in 0..MEMBERS {
            let skew = self.rng.range(-MAX_SKEW_MS / 2, MAX_SKEW_MS / 2);
            self.members[member].skew_ms = skew;
        }
        let end = self.scenario.chaos_ms;
        let mut at = START_MS;
        while at < end {
            let number = self.rng.below(100);
            self.draw_one(at, number);
            at += match self.scenario.theme {
                // A repair takes its time: what disturbs it comes by spite.
                Theme::Repairs => self.rng.range(22_000, 45_000),
                Theme::People | Theme::Clusters => self.rng.range(8_000, 35_000),
                _ => self.rng.range(1_500, 14_000),
            };
        }
        self.at(EPOCH_MS + end, Occurrence::Calm);
    }

    fn draw_one(&mut self, delay: i64, number: usize) {
        let at = EPOCH_MS + delay;
        // How much of each kind a theme has: (repairs, people, pruning, clusters, members), the rest is Git.
        let shares = match self.scenario.theme {
            Theme::Mixed => [25, 20, 15, 20, 15],
            Theme::Repairs => [82, 8, 2, 4, 2],
            Theme::People => [45, 45, 2, 4, 2],
            Theme::Clusters => [30, 3, 2, 61, 2],
            Theme::Pruning => [5, 10, 65, 10, 5],
            Theme::Members => [25, 10, 5, 10, 45],
        };
        let mut rest = number;
        for (kind, share) in shares.into_iter().enumerate() {
            if rest < share {
                match kind {
                    0 => self.draw_repair(at),
                    1 => self.draw_people(at),
                    2 => self.draw_pruning(at),
                    3 => self.draw_cluster(at),
                    _ => self.draw_member(at),
                }
                return;
            }
            rest -= share;
        }
        let member = self.rng.chance(60).then(|| self.rng.below(MEMBERS));
        let for_ms = self.rng.range(2_000, 15_000);
        self.at(at, Occurrence::Begin(Fault::GitDown { member, for_ms }));
    }

    fn some_application(&mut self) -> String {
        let names = self.application_names();
        self.rng.pick(&names).cloned().unwrap_or_default()
    }

    fn draw_repair(&mut self, at: i64) {
        let application = self.some_application();
        self.at(
            at,
            Occurrence::Do(Deed::BreakImage {
                application: application.clone(),
            }),
        );
        let later = at + self.rng.range(500, 25_000);
        match self.rng.below(8) {
            0 => self.at(later, Occurrence::Do(Deed::FixImage { application })),
            1 => self.at(
                later,
                Occurrence::Do(Deed::TouchOther { than: application }),
            ),
            2 => self.at(later, Occurrence::Do(Deed::TouchConfig { application })),
            3 => self.at(later, Occurrence::Do(Deed::BreakImage { application })),
            4 => {
                // Every cluster is lost while the failure is not yet confirmed or just is.
                for cluster in 0..self.clusters.len() {
                    let for_ms = self.rng.range(10_000, 40_000);
                    let begin = at + self.rng.range(3_000, 8_000);
                    self.at(
                        begin,
                        Occurrence::Begin(Fault::ClusterDown { cluster, for_ms }),
                    );
                }
            }
            _ => {}
        }
    }

    fn draw_people(&mut self, at: i64) {
        let application = self.some_application();
        let deed = match self.rng.below(17) {
            0 | 1 | 14..=16 => Deed::UndoLatest,
            2 => Deed::ReleaseGood { application },
            3 => Deed::TouchConfig { application },
            4 => Deed::Reset {
                commits: 1 + self.rng.below(2),
            },
            5 => Deed::Rewrite,
            6 => Deed::BreakConfiguration,
            7 => Deed::MakeReadable,
            8 => Deed::SyncNow { application },
            9 => Deed::Approve,
            10 => Deed::Forbid,
            11 => Deed::ResumeAll,
            12 => {
                let resume = at + self.rng.range(2_000, 20_000);
                self.at(resume, Occurrence::Do(Deed::ResumeAll));
                Deed::SuspendAll
            }
            _ => Deed::ConfirmDeletions,
        };
        if matches!(deed, Deed::Rewrite | Deed::Reset { .. }) {
            let resume = at + self.rng.range(5_000, 20_000);
            self.at(resume, Occurrence::Do(Deed::ResumeAll));
        }
        self.at(at, Occurrence::Do(deed));
    }

    fn draw_pruning(&mut self, at: i64) {
        let application = self.some_application();
        let most = 1 + self.rng.below(4);
        let deed = match self.rng.below(10) {
            0 | 1 => Deed::AddExtra { application },
            2 | 3 => Deed::RemoveExtras { application, most },
            4 => Deed::MakeUnreadable { application },
            5 => {
                // One commit after another: a spoiled file, then files that leave.
                let later = at + self.rng.range(500, 6_000);
                let remove = Deed::RemoveExtras {
                    application: application.clone(),
                    most: 1,
                };
                self.at(later, Occurrence::Do(remove));
                Deed::MakeUnreadable { application }
            }
            6 => Deed::MakeReadable,
            7 => Deed::DeleteApplication { application },
            8 => Deed::RestoreApplications,
            _ => Deed::ConfirmDeletions,
        };
        self.at(at, Occurrence::Do(deed));
    }

    fn draw_cluster(&mut self, at: i64) {
        let cluster = self.rng.below(self.clusters.len());
        let member = self.rng.below(MEMBERS);
        let for_ms = self.rng.range(2_000, 40_000);
        let occurrence = match self.rng.below(14) {
            0 | 1 => Occurrence::Begin(Fault::ClusterDown { cluster, for_ms }),
            2 => Occurrence::Begin(Fault::CutLink {
                member,
                cluster,
                for_ms,
            }),
            3 => Occurrence::Begin(Fault::BreakWatch { member, cluster }),
            4 | 5 => Occurrence::Begin(Fault::Trouble { for_ms }),
            6..=8 => self.draw_storm(at, for_ms + 20_000),
            9 | 10 => Occurrence::Do(Deed::EditByHand { cluster }),
            11 => Occurrence::Do(Deed::DeleteByHand { cluster }),
            12 if self.rng.chance(30) => Occurrence::Begin(Fault::ReplaceCluster { cluster }),
            _ => Occurrence::Do(Deed::EditByHand { cluster }),
        };
        self.at(at, occurrence);
    }

    /// A bad commit just before or in the middle of a storm: of failures that nobody's commit brought, or of releases
    /// that all go wrong, each by a commit of its own.
    fn draw_storm(&mut self, at: i64, for_ms: i64) -> Occurrence {
        let bad = at + self.rng.range(-2_000, 12_000);
        let application = self.some_application();
        if self.rng.chance(50) {
            for (nth, application) in (1..).zip(self.application_names()) {
                let next = bad + nth * self.rng.range(100, 600);
                self.at(next, Occurrence::Do(Deed::BreakImage { application }));
            }
            return Occurrence::Do(Deed::BreakImage { application });
        }
        self.at(bad, Occurrence::Do(Deed::BreakImage { application }));
        Occurrence::Begin(Fault::Storm { for_ms })
    }

    fn draw_member(&mut self, at: i64) {
        let member = self.rng.below(MEMBERS);
        let for_ms = self.rng.range(1_000, 20_000);
        let fault = match self.rng.below(6) {
            0 => Fault::Crash { member },
            1 => Fault::Isolate { member, for_ms },
            2 => Fault::Stall {
                member,
                for_ms: for_ms.min(12_000),
            },
            3 => Fault::LeaderChange,
            4 => Fault::ClockJump {
                member,
                by_ms: self.rng.range(-MAX_SKEW_MS, MAX_SKEW_MS),
            },
            _ => Fault::GitDown {
                member: Some(member),
                for_ms,
            },
        };
        self.at(at, Occurrence::Begin(fault));
    }

    pub(crate) fn begin(&mut self, fault: Fault) {
        if self.is_calm
            && !matches!(
                fault,
                Fault::Rejoin { .. } | Fault::ClusterUp { .. } | Fault::MendLink { .. }
            )
        {
            return;
        }
        self.note(format!("{fault:?}"));
        match fault {
            Fault::Crash { member } => {
                self.crash(member);
                let delay = self.rng.range(500, 12_000);
                self.after(delay, Occurrence::Restart { member });
            }
            Fault::Isolate { member, for_ms } => {
                self.raft.isolated.insert(member);
                self.watch_leader();
                self.after(for_ms, Occurrence::End(Fault::Rejoin { member }));
            }
            Fault::Stall { member, for_ms } => {
                self.members[member].stalled_until = self.now + for_ms;
                self.watch_leader();
            }
            Fault::LeaderChange => self.elect(),
            Fault::ClockJump { member, by_ms } => self.jump_clock(member, by_ms),
            Fault::GitDown { member, for_ms } => {
                for other in 0..MEMBERS {
                    if member.is_none_or(|member| member == other) {
                        self.members[other].git_down_until = self.now + for_ms;
                    }
                }
            }
            Fault::ClusterDown { cluster, for_ms } => {
                self.clusters[cluster].up = false;
                self.doubt_links(cluster);
                self.after(for_ms, Occurrence::End(Fault::ClusterUp { cluster }));
            }
            Fault::CutLink {
                member,
                cluster,
                for_ms,
            } => {
                self.links.entry((member, cluster)).or_default().is_cut = true;
                self.doubt_link(member, cluster);
                self.after(for_ms, Occurrence::End(Fault::MendLink { member, cluster }));
            }
            Fault::BreakWatch { member, cluster } => self.doubt_link(member, cluster),
            Fault::ReplaceCluster { cluster } => {
                self.clusters[cluster].replace();
                self.doubt_links(cluster);
            }
            Fault::Trouble { for_ms } => self.begin_trouble(for_ms, 1),
            Fault::Storm { for_ms } => self.begin_trouble(for_ms, usize::MAX),
            Fault::Rejoin { .. } | Fault::ClusterUp { .. } | Fault::MendLink { .. } => {
                self.end(fault)
            }
        }
    }

    fn jump_clock(&mut self, member: usize, by_ms: i64) {
        let before = self.members[member].skew_ms;
        let skew = (before + by_ms).clamp(-MAX_SKEW_MS, MAX_SKEW_MS);
        self.members[member].skew_ms = skew;
        if (skew - before).abs() > CLOCK_STEP_MS && self.members[member].is_running(self.now) {
            self.feed(member, Event::ClockSet);
        }
    }

    #[expect(
        clippy::collapsible_match,
        reason = "a guard must not change the world"
    )]
    pub(crate) fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Rejoin { member } => {
                if self.raft.isolated.remove(&member) {
                    self.note(format!("member {} is joined again", member + 1));
                    self.watch_leader();
                }
            }
            Fault::ClusterUp { cluster } => {
                if !std::mem::replace(&mut self.clusters[cluster].up, true) {
                    self.note(format!("{} is back", self.clusters[cluster].name));
                    self.wake_controllers(cluster, self.now + 50);
                    // What was missed can only be told by a new list.
                    self.doubt_links(cluster);
                }
            }
            Fault::MendLink { member, cluster } => {
                let link = self.links.entry((member, cluster)).or_default();
                if std::mem::take(&mut link.is_cut) {
                    self.doubt_link(member, cluster);
                }
            }
            _ => {}
        }
    }

    fn doubt_links(&mut self, cluster: usize) {
        for member in 0..MEMBERS {
            self.doubt_link(member, cluster);
        }
    }

    fn begin_trouble(&mut self, for_ms: i64, most: usize) {
        let names: Vec<String> = self
            .application_names()
            .into_iter()
            .flat_map(|name| [format!("{name}-worker"), name])
            .collect();
        let (from, until) = (self.now, self.now + for_ms);
        let start = self.rng.below(names.len());
        let workloads: Vec<_> = names
            .iter()
            .cycle()
            .skip(start)
            .take(names.len().min(most))
            .cloned()
            .collect();
        let first = self.rng.below(self.clusters.len());
        let count = if most == 1 { 1 } else { self.clusters.len() };
        for offset in 0..count {
            let cluster = (first + offset) % self.clusters.len();
            let workloads = workloads.clone();
            self.clusters[cluster].troubles.push(Trouble {
                from,
                until,
                workloads,
            });
            self.wake_controllers(cluster, self.now + 1);
        }
    }

    /// Faults end; people put everything in order; from here on the trio must come to rest.
    pub(crate) fn calm_down(&mut self) {
        self.note("calm".to_owned());
        self.is_calm = true;
        self.calm_since = self.now;
        self.raft.isolated.clear();
        for member in 0..MEMBERS {
            self.members[member].stalled_until = 0;
            self.members[member].git_down_until = 0;
            if self.members[member].engine.is_none() {
                self.restart(member);
            }
        }
        for link in self.links.values_mut() {
            link.is_cut = false;
        }
        for cluster in 0..self.clusters.len() {
            let now = self.now;
            for trouble in &mut self.clusters[cluster].troubles {
                trouble.until = trouble.until.min(now);
            }
            self.end(Fault::ClusterUp { cluster });
            self.doubt_links(cluster);
            self.wake_controllers(cluster, self.now + 1);
        }
        self.watch_leader();
        self.after(1_000, Occurrence::Do(Deed::MakeAllGood));
        let mut delay = 2_000;
        while delay < CALM_MS - 60_000 {
            // People keep saying yes until nothing asks any more.
            for deed in [
                Deed::ResumeAll,
                Deed::ForgetChangedClusters,
                Deed::ConfirmDeletions,
            ] {
                self.after(delay, Occurrence::Do(deed));
            }
            delay += 8_000;
        }
        self.after(FIRST_ASK_MS, Occurrence::Rest);
    }
}
