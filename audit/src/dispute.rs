//! Two hosts that disagree about a segment: which step tells them apart, and what differs after it.
//!
//! Both begin from an agreed snapshot, so their roots are equal before the first step. Asked for the root after some step,
//! a host either says what running it gives or something else; halving the steps finds one before which a claim is right
//! and after which it is wrong. Running that single step from the state before it is proof enough for anybody.

use tallymill_protocol::Digest;
use tallymill_protocol::snapshot::{Part, Snapshot, difference};

/// What a host says of its own run of a segment.
pub trait Claims {
    /// Why a question was not answered.
    type Error;

    /// The state root after this many steps of the segment.
    ///
    /// # Errors
    /// When there is no answer; who does not answer has no claim.
    fn root_after(&mut self, steps: u64) -> Result<Digest, Self::Error>;
}

/// The step at which a claim leaves what running it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Steps of the segment before it, after which both roots are equal.
    pub step: u64,
    /// The root after it, as claimed.
    pub claimed: Digest,
    /// The root after it, as found by running it.
    pub found: Digest,
}

/// Where `claim` leaves `truth` within a segment of `steps` steps; `None` when both end with the same root. Asks each about
/// log₂ `steps` times.
///
/// # Errors
/// The first question that was not answered.
pub fn first_turn<E>(
    steps: u64,
    claim: &mut impl Claims<Error = E>,
    truth: &mut impl Claims<Error = E>,
) -> Result<Option<Turn>, E> {
    let (mut equal, mut apart) = (0, steps);
    let mut roots = (claim.root_after(steps)?, truth.root_after(steps)?);
    if roots.0 == roots.1 {
        return Ok(None);
    }
    while apart - equal > 1 {
        let middle = equal + (apart - equal) / 2;
        let (claimed, found) = (claim.root_after(middle)?, truth.root_after(middle)?);
        if claimed == found {
            equal = middle;
        } else {
            (apart, roots) = (middle, (claimed, found));
        }
    }
    Ok(Some(Turn { step: equal, claimed: roots.0, found: roots.1 }))
}

/// What is wrong with the state that a host shows for the end of a disputed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the state whose root the host claimed.
    Unfounded,
    /// The first part in which it differs from what running the step gives.
    Differs(Part),
    /// It is what running the step gives: the host was right.
    Right,
}

/// Judges the state that a host shows for the end of the step, against the one that running it gives.
#[must_use]
pub fn judge(turn: &Turn, shown: &Snapshot<'_>, found: &Snapshot<'_>) -> Verdict {
    if shown.root() != turn.claimed {
        return Verdict::Unfounded;
    }
    difference(shown, found).map_or(Verdict::Right, Verdict::Differs)
}
