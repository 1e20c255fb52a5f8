//! When a seat is to be taken.

use tallymill_storage::Sitter;

/// Looks in a row that find the same beat of the same one: with half a second between them more than four beats.
const LOOKS: u32 = 9;

/// What comes after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another look.
    Wait,
    /// The seat is to be taken.
    Take,
}

/// What the last looks at a seat have shown.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    last: Option<Sitter>,
    alike: u32,
}

impl Vigil {
    /// Notes who has the seat. An empty one is taken at once, another one when it shows no life for long enough.
    pub(super) fn look(&mut self, sitter: Option<Sitter>) -> Next {
        if sitter != self.last {
            (self.last, self.alike) = (sitter, 0);
        }
        self.alike += 1;
        match self.last {
            None => Next::Take,
            Some(_) if self.alike >= LOOKS => Next::Take,
            Some(_) => Next::Wait,
        }
    }

    /// A look that failed says nothing of the one that has the seat, which may be as blind: counting begins again.
    pub(super) fn nothing_seen(&mut self) {
        self.alike = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sitter(epoch: u64, beat: u64) -> Option<Sitter> {
        Some(Sitter { address: "http://a".to_owned(), epoch, beat })
    }

    #[test]
    fn an_empty_seat_is_taken_at_once() {
        assert_eq!(Vigil::default().look(None), Next::Take);
    }

    #[test]
    fn a_seat_is_taken_when_its_beat_stands_still() {
        let mut vigil = Vigil::default();
        for beat in 0..100 {
            // One beat in two looks, and a late one.
            for _ in 0..if beat == 50 { LOOKS - 1 } else { 2 } {
                assert_eq!(vigil.look(sitter(1, beat)), Next::Wait, "{beat}");
            }
        }
        for _ in 1..LOOKS {
            assert_eq!(vigil.look(sitter(2, 99)), Next::Wait, "a new one has its own time");
        }
        assert_eq!(vigil.look(sitter(2, 99)), Next::Take);
        assert_eq!(vigil.look(sitter(2, 99)), Next::Take, "whoever was quicker has another epoch");
    }

    #[test]
    fn while_nothing_can_be_seen_no_time_is_held_against_anybody() {
        let mut vigil = Vigil::default();
        for _ in 0..5 {
            for _ in 1..LOOKS {
                assert_eq!(vigil.look(sitter(1, 7)), Next::Wait);
            }
            vigil.nothing_seen();
        }
    }
}
