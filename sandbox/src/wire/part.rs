//! What a parent tells a child of a segment.

use std::sync::Arc;

use tallymill_protocol::cbor::{Decoder, Encoder, Field as _};
use tallymill_protocol::{DecodeError, Digest, Steps, TaskIndex};

use super::put;

/// What of a task a segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The module as metered.
    pub(crate) metered: Digest,
    pub(crate) steps: Steps,
    /// The snapshot it begins from.
    pub(crate) from: Option<Arc<[u8]>>,
    /// Steps after which it pauses, instead of where it ends.
    pub(crate) pause_after: Option<u64>,
}

impl Part {
    fn put(&self, e: &mut Encoder) {
        self.metered.encode(e);
        self.steps.encode(e);
        e.array(usize::from(self.from.is_some()));
        self.from.iter().for_each(|from| e.bytes(from));
        e.array(usize::from(self.pause_after.is_some()));
        self.pause_after.iter().for_each(|steps| e.uint(*steps));
    }

    pub(super) fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            metered: Digest::decode(d)?,
            steps: Steps::decode(d)?,
            from: d.array(1, |d| d.bytes(usize::MAX).map(Arc::from))?.pop(),
            pause_after: d.array(1, Decoder::uint)?.pop(),
        })
    }
}

/// A segment to run, sent to a child that runs.
pub(crate) fn put_segment(
    number: u32,
    (index, input): (TaskIndex, &[u8]),
    part: &Part,
    out: &mut Vec<u8>,
) {
    put(5, out, |e| {
        number.encode(e);
        index.encode(e);
        e.bytes(input);
        part.put(e);
    });
}
