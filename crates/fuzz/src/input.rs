//! How an input is read as parts.

/// Stands between the parts of an input. No UTF-8 has it, so no JSON does.
pub const SEPARATOR: [u8; 2] = [0xff, b'\n'];
/// Parts that are read of one input; more would only be slow.
pub const PARTS_MAX: usize = 64;

/// Makes one input of parts that have no [`SEPARATOR`] in them.
pub fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.join(&SEPARATOR[..])
}

/// The parts of an input.
pub(crate) fn split(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while parts.len() < PARTS_MAX {
        let end = rest.windows(2).position(|two| two == SEPARATOR);
        parts.push(&rest[..end.unwrap_or(rest.len())]);
        match end {
            Some(end) => rest = &rest[end + 2..],
            None => break,
        }
    }
    parts
}

/// Small numbers from the front of a part; zeros when there is nothing left.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many as there are, at most.
    pub(crate) fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
