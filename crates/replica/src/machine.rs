//! The replicated machine, as the replica sees it.

use regraft_state::store::Read;
use regraft_state::{Applied, Halt};

/// Turns a log entry and the state before it into writes and an answer; pure.
pub trait Machine: Send + Sync + 'static {
    /// Applies the command at `index`. The same command, index and state give the same result on
    /// every member, for ever.
    ///
    /// # Errors
    /// [`Halt`] when the member must not go on.
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt>;

    /// The newest format of commands that it applies.
    fn format(&self) -> u32;
}

/// The machine of regraft: `regraft_state::apply`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateMachine;

impl Machine for StateMachine {
    fn apply(&self, read: &dyn Read, index: u64, command: &[u8]) -> Result<Applied, Halt> {
        regraft_state::apply(read, index, command)
    }

    fn format(&self) -> u32 {
        regraft_state::command::FORMAT
    }
}
