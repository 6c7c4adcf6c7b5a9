//! What people do: commit, revert, reset, break files, edit by hand, suspend, approve, forbid.

mod by_hand;
mod commits;
mod words;

use crate::content::Flavour;
use crate::world::World;
use regraft_model::id::{ApplicationName, IncidentId};
use regraft_state::command::Command;

/// One thing a person does. What does not fit the moment is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    ReleaseGood { application: String },
    BreakImage { application: String },
    FixImage { application: String },
    TouchConfig { application: String },
    TouchOther { than: String },
    AddExtra { application: String },
    RemoveExtras { application: String, most: usize },
    MakeUnreadable { application: String },
    MakeReadable,
    BreakConfiguration,
    DeleteApplication { application: String },
    RestoreApplications,
    Reset { commits: usize },
    Rewrite,
    UndoOurs { incident: IncidentId },
    UndoLatest,
    EditByHand { cluster: usize },
    DeleteByHand { cluster: usize },
    SuspendAll,
    ResumeAll,
    SyncNow { application: String },
    Approve,
    Forbid,
    ForbidIncident { incident: IncidentId },
    ConfirmDeletions,
    ForgetChangedClusters,
    MakeAllGood,
}

impl Deed {
    /// Whether it belongs to the quiet phase.
    fn puts_in_order(&self) -> bool {
        matches!(
            self,
            Deed::MakeAllGood
                | Deed::ResumeAll
                | Deed::ForgetChangedClusters
                | Deed::ConfirmDeletions
        )
    }
}

impl World {
    pub(crate) fn carry_out(&mut self, deed: Deed) {
        if self.is_calm && !deed.puts_in_order() {
            return;
        }
        match deed {
            Deed::ReleaseGood { application } | Deed::FixImage { application } => {
                self.set_image(&application, Flavour::Good);
            }
            Deed::BreakImage { application } => self.break_image(&application),
            Deed::TouchConfig { application } => self.touch_config(&application),
            Deed::TouchOther { than } => self.touch_other(&than),
            Deed::AddExtra { application } => self.add_extra(&application),
            Deed::RemoveExtras { application, most } => self.remove_extras(&application, most),
            Deed::MakeUnreadable { application } => self.make_unreadable(&application),
            Deed::MakeReadable => self.make_readable(),
            Deed::BreakConfiguration => self.break_configuration(),
            Deed::DeleteApplication { application } => self.delete_application(&application),
            Deed::RestoreApplications => self.restore_applications(),
            Deed::Reset { commits } => self.reset(commits),
            Deed::Rewrite => self.rewrite(),
            Deed::UndoOurs { incident } => self.undo(Some(&incident)),
            Deed::UndoLatest => self.undo(None),
            Deed::EditByHand { cluster } => self.edit_by_hand(cluster),
            Deed::DeleteByHand { cluster } => self.delete_by_hand(cluster),
            Deed::SuspendAll => self.suspend_all(),
            Deed::ResumeAll => self.resume_all(),
            Deed::SyncNow { application } => self.say(Command::SyncNow {
                application: ApplicationName(application),
            }),
            Deed::Approve => self.approve_or_forbid(true),
            Deed::Forbid => self.approve_or_forbid(false),
            Deed::ForbidIncident { incident } => self.forbid(incident),
            Deed::ConfirmDeletions => self.confirm_deletions(),
            Deed::ForgetChangedClusters => self.forget_changed_clusters(),
            Deed::MakeAllGood => self.make_all_good(),
        }
    }
}
