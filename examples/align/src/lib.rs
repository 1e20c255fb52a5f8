//! Where does a window of one genome fit best in another? Smith–Waterman local alignment with
//! affine gaps, one window per task, the other genome as the named input file [`REFERENCE`].

use bio::alignment::pairwise::Aligner;
use bio::alignment::{Alignment, AlignmentOperation};
use bio::io::fasta;
use serde::{Deserialize, Serialize};

/// Name of the input file with the genome the windows are aligned against, in FASTA.
pub const REFERENCE: &str = "mt-orang.fa";

/// Longest window. The trace takes two bytes for each pair of bases, so the longest window and
/// the longest reference need 80 MB, which the default memory limit of 256 MiB allows.
pub const MAX_WINDOW: usize = 2_000;
/// Longest reference; see [`MAX_WINDOW`].
pub const MAX_REFERENCE: usize = 20_000;

// The scores of NCBI's blastn for somewhat similar sequences (task "blastn"): reward 2,
// penalty −3, a gap costs 5 to open and 2 for each base. `bio` has the first base of a gap
// cost the opening alone, so it stands in there.
const MATCH: i32 = 2;
const MISMATCH: i32 = -3;
const GAP_OPEN: i32 = -7;
const GAP_EXTEND: i32 = -2;

/// One task: a stretch of the query genome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Position of the first base in the query genome, counted from 0.
    pub start: u64,
    /// The bases, upper case.
    pub sequence: String,
}

/// The best local alignment of a window; all positions count from 0, ends are exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Smith–Waterman score, 0 when nothing fits.
    pub score: i32,
    /// Aligned part of the query genome: start.
    pub query_start: u64,
    /// Aligned part of the query genome: end.
    pub query_end: u64,
    /// Aligned part of the reference: start.
    pub target_start: usize,
    /// Aligned part of the reference: end.
    pub target_end: usize,
    /// Columns of the alignment in which both bases are equal.
    pub matches: usize,
    /// Columns of the alignment in all.
    pub columns: usize,
}

/// Why a window cannot be aligned.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    /// The window is empty, too long or holds something other than bases.
    #[error("window of {length} bytes: expected 1 to {MAX_WINDOW} of A, C, G, T or N")]
    Window {
        /// Its length in bytes.
        length: usize,
    },
    /// The reference file cannot be read.
    #[error("{0}; {source}", source = std::error::Error::source(.0).map_or_else(String::new, ToString::to_string))]
    File(tallymill_guest::InputFileError),
    /// The reference is not FASTA.
    #[error("read the reference as FASTA: {0}")]
    Fasta(String),
    /// The reference has not exactly one sequence of acceptable length.
    #[error(
        "reference has {records} sequences of {length} bases in all: expected one of 1 to {MAX_REFERENCE}"
    )]
    Reference {
        /// Sequences in the file.
        records: usize,
        /// Bases in all of them.
        length: usize,
    },
}

/// Aligns a window with the reference file of the job.
///
/// # Errors
/// [`AlignError`] when the window or the file is not what the job expects.
pub fn align_with_file(window: &Window) -> Result<Hit, AlignError> {
    let file = tallymill_guest::input_file(REFERENCE).map_err(AlignError::File)?;
    align(window, &parse_reference(&file)?)
}

/// The single sequence of a FASTA file.
///
/// # Errors
/// [`AlignError`] when the bytes are not FASTA with one sequence of 1 to [`MAX_REFERENCE`] bases.
pub fn parse_reference(file: &[u8]) -> Result<Vec<u8>, AlignError> {
    let records = fasta::Reader::new(file)
        .records()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| AlignError::Fasta(e.to_string()))?;
    match records.as_slice() {
        [record] if (1..=MAX_REFERENCE).contains(&record.seq().len()) => Ok(record.seq().to_vec()),
        _ => Err(AlignError::Reference {
            records: records.len(),
            length: records.iter().map(|record| record.seq().len()).sum(),
        }),
    }
}

/// The best local alignment of `window` with `reference`.
///
/// # Errors
/// [`AlignError::Window`] when the window is empty, longer than [`MAX_WINDOW`] or not of bases.
pub fn align(window: &Window, reference: &[u8]) -> Result<Hit, AlignError> {
    let query = window.sequence.as_bytes();
    let bases = query.iter().all(|base| b"ACGTN".contains(base));
    if !(1..=MAX_WINDOW).contains(&query.len()) || !bases {
        return Err(AlignError::Window { length: query.len() });
    }
    let (m, n) = (query.len(), reference.len());
    let mut aligner = Aligner::with_capacity(m, n, GAP_OPEN, GAP_EXTEND, score);
    Ok(hit(window.start, &aligner.local(query, reference)))
}

fn score(a: u8, b: u8) -> i32 {
    if a == b { MATCH } else { MISMATCH }
}

fn hit(start: u64, alignment: &Alignment) -> Hit {
    let columns = || {
        let operations = alignment.operations.iter();
        operations
            .filter(|op| !matches!(op, AlignmentOperation::Xclip(_) | AlignmentOperation::Yclip(_)))
    };
    Hit {
        score: alignment.score,
        query_start: start + alignment.xstart as u64,
        query_end: start + alignment.xend as u64,
        target_start: alignment.ystart,
        target_end: alignment.yend,
        matches: columns().filter(|op| **op == AlignmentOperation::Match).count(),
        columns: columns().count(),
    }
}

#[cfg(test)]
mod tests;
