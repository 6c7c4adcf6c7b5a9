//! Entries of the log: any bytes in the place of a command, alone and one after another.

use crate::input::{Bytes, split};
use crate::model::{Machine, rejection};
use bytes::Bytes as Buffer;
use prost::Message;
use regraft_state::Halt;
use regraft_state::command::{COMMAND_FORMAT, Command, Envelope, FORMAT, RejectionReason, Stamped};
use regraft_state::operation::{Operation, Request, Wait};

/// Milliseconds between two entries: the square of a byte, times this.
const STEP_MS: i64 = 100;

/// Applies entries to two small states.
///
/// A part is one entry: `J` client, sequence, time and a command as JSON; `O` actor, time and an operation; `E` time and an
/// envelope; anything else is the entry itself.
///
/// Promises: an entry halts the machine exactly when a newer version made it, and nothing else does; equal states stay equal;
/// what is refused writes nothing of its own; a request that is repeated does nothing and is answered as before; what was
/// decoded is the same when it was encoded.
pub fn commands(input: &[u8]) {
    let mut machine = Machine::default();
    for part in split(input) {
        let entry = entry(&mut machine, part);
        check_entry(&mut machine, &entry);
    }
    machine.check();
}

fn entry(machine: &mut Machine, part: &[u8]) -> Vec<u8> {
    let Some((kind, rest)) = part.split_first() else {
        return Vec::new();
    };
    let mut bytes = Bytes(rest);
    match kind {
        b'J' => {
            let (client, sequence, step) = (bytes.u8(), bytes.u8(), bytes.u8());
            let envelope = Envelope {
                client: format!("client-{client}"),
                sequence: sequence.into(),
                actor: format!("member/{client}"),
                format: COMMAND_FORMAT,
                command: bytes.0.to_vec(),
                operation: None,
            };
            machine.stamped(step_ms(step), envelope.encode_to_vec())
        }
        b'O' => {
            let (actor, step) = (bytes.u8(), bytes.u8());
            let Ok(mut operation) = Operation::decode(bytes.0) else {
                return part.to_vec();
            };
            if operation.session == 0 && is_slotted(&operation) {
                operation.session = machine.session;
            }
            let envelope = Envelope::of_operation(format!("user/{actor}"), operation);
            machine.stamped(step_ms(step), envelope.encode_to_vec())
        }
        b'E' => {
            let step = bytes.u8();
            machine.stamped(step_ms(step), bytes.0.to_vec())
        }
        _ => part.to_vec(),
    }
}

fn step_ms(step: u8) -> i64 {
    i64::from(step) * i64::from(step) * STEP_MS
}

fn check_entry(machine: &mut Machine, entry: &[u8]) {
    let read = Read::of(entry);
    let before = machine.clone();
    let applied = match machine.apply(entry) {
        Ok(applied) => applied,
        Err(Halt::Unknown { index, .. }) => {
            assert_eq!(index, machine.index);
            assert_eq!(machine.store, before.store);
            assert!(read.is_none(), "an entry that this version knows");
            return;
        }
        Err(halt) => panic!("a whole state halts: {halt}"),
    };
    let read = read.expect("what this version does not know halts the machine");
    match read {
        Read::Command => {
            let again = machine.repeat(entry);
            let stale = rejection(&again)
                .is_some_and(|rejection| rejection.reason == RejectionReason::StaleSequence);
            assert!(again == applied.response || stale);
        }
        Read::Operation(operation) if is_slotted(&operation) => {
            assert_eq!(machine.repeat(entry), applied.response);
        }
        Read::Operation(_) => {}
    }
}

/// What an entry asks for, read apart from the machine.
enum Read {
    Command,
    Operation(Operation),
}

impl Read {
    fn of(entry: &[u8]) -> Option<Self> {
        let stamped: Stamped = stable(entry)?;
        let envelope: Envelope = stable(&stamped.command)?;
        let Some(operation) = envelope.operation else {
            let command: Command = serde_json::from_slice(&envelope.command).ok()?;
            let text = serde_json::to_vec(&command).expect("a command has a text");
            let again = serde_json::from_slice(&text);
            let again: Command = again.expect("what is written can be read");
            assert_eq!(again, command);
            return (envelope.format <= FORMAT).then_some(Read::Command);
        };
        let is_known = envelope.format == FORMAT
            && match operation.request.as_ref()? {
                Request::Acquire(acquire) => Wait::try_from(acquire.wait).is_ok(),
                Request::RaiseFormat(raise) => raise.format <= FORMAT,
                _ => true,
            };
        is_known.then_some(Read::Operation(operation))
    }
}

/// Decodes a message, and checks that it is the same again when it was encoded, from bytes that are shared, too.
pub(crate) fn stable<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let read = M::decode(bytes);
    let shared = M::decode(Buffer::copy_from_slice(bytes));
    assert!(read == shared, "shared bytes are read alike");
    let message = read.ok()?;
    let written = message.encode_to_vec();
    assert_eq!(written.len(), message.encoded_len());
    let again = M::decode(written.as_slice()).expect("what is written can be read");
    assert!(again == message, "what is written is read as it was");
    Some(message)
}

fn is_slotted(operation: &Operation) -> bool {
    matches!(
        operation.request,
        Some(Request::Put(_) | Request::Delete(_) | Request::Acquire(_) | Request::Release(_))
    )
}
