//! What a parent and its child say to each other: length-prefixed frames of canonical CBOR over a stream.
//!
//! A frame is its length (u32, big-endian) and that many bytes: an array of a kind and the kind's fields. Both sides refuse a frame
//! that is longer than what they can expect at that moment, before any of it is stored.

mod part;

use std::io::{self, Read};
use std::sync::Arc;

use tallymill_meter::{Extent, ModuleInfo, StepExports};
use tallymill_protocol::cbor::{Decoder, Encoder, Field};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{DecodeError, Digest, Limits, Outcome, TaskIndex};

pub(crate) use part::{Part, put_segment};

use crate::confine::{Layer, Strength};
use crate::segment::SegmentResult;
use crate::task::{InputFile, JobSpec, TaskResult, Void};

/// Room in a frame for everything but the bytes that a limit of the manifest counts.
pub(crate) const OVERHEAD: u64 = 4096;
/// Most bytes of one frame, whatever the limits of the manifest say.
pub(crate) const MAX_FRAME: u64 = u32::MAX as u64;
/// Longest text within a frame, bytes.
const MAX_TEXT: usize = 65_536;
/// Most items of a list.
const MAX_ITEMS: usize = 4096;
/// Most names in a list of imports: two for each of at most 20,000 functions.
const MAX_IMPORT_TEXTS: usize = 40_000;

/// Why a frame is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame of {found} bytes, at most {limit} expected")]
    TooLong { found: u64, limit: u64 },
    #[error("a frame that does not decode: {0}")]
    Decode(#[from] DecodeError),
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
}

/// Appends a frame of `kind` to `out`; `fields` writes what follows the kind.
fn put(kind: u64, out: &mut Vec<u8>, fields: impl FnOnce(&mut Encoder)) {
    let mut e = Encoder::default();
    e.uint(kind);
    fields(&mut e);
    let bytes = e.finish();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// The length that `head` announces, when it is within `limit`.
fn announced(head: [u8; 4], limit: u64) -> Result<usize, WireError> {
    let length = u32::from_be_bytes(head);
    if u64::from(length) > limit {
        return Err(WireError::TooLong { found: length.into(), limit });
    }
    Ok(length as usize)
}

/// Takes the first frame off `buffer`, if it is there as a whole; answers it and the bytes it used.
pub(crate) fn split(buffer: &[u8], limit: u64) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = announced(*head, limit)?;
    Ok(rest.get(..length).map(|body| (body, length + 4)))
}

/// Reads one frame; `None` at the end of the stream.
pub(crate) fn read(stream: &mut impl Read, limit: u64) -> Result<Option<Vec<u8>>, WireError> {
    let mut head = [0; 4];
    if stream.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..])?;
    let length = announced(head, limit)?;
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(body))
}

/// Reads the kind of a frame and then, by `fields`, all that follows it.
fn open<'b, T>(
    body: &'b [u8],
    fields: impl FnOnce(u64, &mut Decoder<'b>) -> Result<Option<T>, DecodeError>,
) -> Result<T, WireError> {
    let mut d = Decoder::new(body);
    let kind = d.uint()?;
    let value = fields(kind, &mut d)?.ok_or_else(|| d.invalid("unknown kind of frame"))?;
    d.end()?;
    Ok(value)
}

fn text(d: &mut Decoder<'_>) -> Result<String, DecodeError> {
    d.text(MAX_TEXT).map(str::to_owned)
}

/// A flat list of texts as the pairs that it holds.
fn pairs(d: &mut Decoder<'_>, most: usize) -> Result<Vec<(String, String)>, DecodeError> {
    let texts = d.array(most, text)?;
    let (pairs, rest) = texts.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(d.invalid("a text without its other half"));
    }
    Ok(pairs.iter().map(|[one, other]| (one.clone(), other.clone())).collect())
}

/// What a parent tells a child that runs.
#[derive(Debug)]
pub(crate) enum Order {
    /// What is to know about the module that is to be loaded.
    Load(ModuleInfo),
    /// The tasks that follow are of this job.
    Job(Arc<JobSpec>),
    /// Run this; `number` is its position in the batch.
    Task { number: u32, index: TaskIndex, input: Arc<[u8]> },
    /// Run this segment of a task.
    Segment { number: u32, index: TaskIndex, input: Arc<[u8]>, part: Part },
    /// Stop this task, whether it runs or waits.
    Stop(u32),
    /// Stop all tasks sent so far.
    StopAll,
}

pub(crate) fn put_load(info: &ModuleInfo, out: &mut Vec<u8>) {
    put(4, out, |e| put_info(info, e));
}

/// A module to compile, sent to a child that compiles.
pub(crate) fn put_module(module: &[u8], out: &mut Vec<u8>) {
    put(0, out, |e| e.bytes(module));
}

pub(crate) fn parse_module(body: &[u8]) -> Result<&[u8], WireError> {
    open(body, |kind, d| if kind == 0 { d.bytes(usize::MAX).map(Some) } else { Ok(None) })
}

pub(crate) fn put_job(job: &JobSpec, out: &mut Vec<u8>) {
    put(0, out, |e| {
        job.limits.encode(e);
        job.seed.encode(e);
        e.array(job.argv.len());
        job.argv.iter().for_each(|text| e.text(text));
        e.array(2 * job.environment.len());
        job.environment
            .iter()
            .flat_map(|(name, value)| [name, value])
            .for_each(|text| e.text(text));
        e.array(job.files.len());
        job.files.iter().for_each(|file| e.text(&file.name));
        job.files.iter().for_each(|file| e.bytes(&file.bytes));
    });
}

fn job(d: &mut Decoder<'_>) -> Result<JobSpec, DecodeError> {
    let limits = Limits::decode(d)?;
    let seed = d.bytes_exact()?;
    let argv = d.array(MAX_ITEMS, text)?;
    let environment = pairs(d, MAX_ITEMS)?;
    let names = d.array(MAX_ITEMS, text)?;
    let file = |name| Ok(InputFile { name, bytes: d.bytes(usize::MAX)?.into() });
    let files = names.into_iter().map(file).collect::<Result<_, DecodeError>>()?;
    Ok(JobSpec { limits, seed, argv, environment, files })
}

pub(crate) fn put_task(number: u32, index: TaskIndex, input: &[u8], out: &mut Vec<u8>) {
    put(1, out, |e| {
        number.encode(e);
        index.encode(e);
        e.bytes(input);
    });
}

pub(crate) fn put_stop(number: u32, out: &mut Vec<u8>) {
    put(2, out, |e| number.encode(e));
}

pub(crate) fn put_stop_all(out: &mut Vec<u8>) {
    put(3, out, |_| {});
}

impl Order {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        open(body, |kind, d| {
            Ok(Some(match kind {
                0 => Self::Job(Arc::new(job(d)?)),
                1 => Self::Task {
                    number: u32::decode(d)?,
                    index: TaskIndex::decode(d)?,
                    input: d.bytes(usize::MAX)?.into(),
                },
                2 => Self::Stop(u32::decode(d)?),
                3 => Self::StopAll,
                4 => Self::Load(info(d)?),
                5 => Self::Segment {
                    number: u32::decode(d)?,
                    index: TaskIndex::decode(d)?,
                    input: d.bytes(usize::MAX)?.into(),
                    part: Part::read(d)?,
                },
                _ => return Ok(None),
            }))
        })
    }
}

/// What a child that runs tells its parent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The module is loaded.
    Ready,
    /// The module cannot be loaded.
    Failed(String),
    /// A task is done.
    Done(u32, Result<TaskResult, Void>),
    /// A segment of a task is done.
    SegmentDone(u32, SegmentResult),
    /// A task has used this much fuel.
    Progress(u32, u64),
    /// The child cannot be confined, for these reasons, and has not looked at the module.
    Unconfined(String),
}

impl News {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready => put(0, out, |_| {}),
            Self::Failed(why) => put(1, out, |e| e.text(why)),
            Self::Done(number, Ok(result)) => put(2, out, |e| put_result(*number, result, e)),
            Self::Done(number, Err(void)) => put(3, out, |e| {
                number.encode(e);
                (void.cause as u8).encode(e);
                e.text(&void.detail);
            }),
            Self::SegmentDone(number, ended) => put(6, out, |e| {
                put_result(*number, &ended.result, e);
                ended.after.encode(e);
                e.uint(ended.steps);
            }),
            Self::Progress(number, fuel) => put(4, out, |e| {
                number.encode(e);
                e.uint(*fuel);
            }),
            Self::Unconfined(why) => put(5, out, |e| e.text(why)),
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        open(body, |kind, d| {
            Ok(Some(match kind {
                0 => Self::Ready,
                1 => Self::Failed(text(d)?),
                2 => Self::Done(u32::decode(d)?, Ok(result(d)?)),
                3 => {
                    let (number, code) = (u32::decode(d)?, u8::decode(d)?);
                    let cause = VoidCause::ALL.get(usize::from(code)).copied();
                    let cause = cause.ok_or_else(|| d.invalid("unknown cause"))?;
                    Self::Done(number, Err(Void::new(cause, text(d)?)))
                }
                4 => Self::Progress(u32::decode(d)?, d.uint()?),
                5 => Self::Unconfined(text(d)?),
                6 => Self::SegmentDone(
                    u32::decode(d)?,
                    SegmentResult {
                        result: result(d)?,
                        after: Digest::decode(d)?,
                        steps: d.uint()?,
                    },
                ),
                _ => return Ok(None),
            }))
        })
    }
}

fn put_result(number: u32, result: &TaskResult, e: &mut Encoder) {
    number.encode(e);
    result.outcome.encode(e);
    for value in
        [result.fuel, result.peak_memory, result.memory_fuel, result.bytes_in, result.cpu_time_us]
    {
        e.uint(value);
    }
    e.bytes(&result.output);
    e.bytes(&result.log);
}

fn result(d: &mut Decoder<'_>) -> Result<TaskResult, DecodeError> {
    let outcome = Outcome::decode(d)?;
    let (fuel, peak_memory, memory_fuel) = (d.uint()?, d.uint()?, d.uint()?);
    let (bytes_in, cpu_time_us) = (d.uint()?, d.uint()?);
    let output = d.bytes(usize::MAX)?.to_owned();
    let log = d.bytes(usize::MAX)?.to_owned();
    let bytes_out = output.len() as u64;
    Ok(TaskResult {
        outcome,
        output,
        log,
        fuel,
        peak_memory,
        memory_fuel,
        bytes_in,
        bytes_out,
        cpu_time_us,
    })
}

/// What a child that compiles answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compiled {
    /// The metered module's digest, what the host must know about it, and the compiled form.
    Done { metered: [u8; 32], info: ModuleInfo, artefact: Vec<u8> },
    /// The module is refused, for this reason.
    Refused(String),
    /// The engine failed, not the module.
    Failed(String),
    /// The child cannot be confined, for these reasons, and has not looked at the module.
    Unconfined(String),
}

impl Compiled {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done { metered, info, artefact } => put(0, out, |e| {
                metered.encode(e);
                put_info(info, e);
                e.bytes(artefact);
            }),
            Self::Refused(why) => put(1, out, |e| e.text(why)),
            Self::Failed(why) => put(2, out, |e| e.text(why)),
            Self::Unconfined(why) => put(3, out, |e| e.text(why)),
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        open(body, |kind, d| {
            Ok(Some(match kind {
                0 => Self::Done {
                    metered: d.bytes_exact()?,
                    info: info(d)?,
                    artefact: d.bytes(usize::MAX)?.to_owned(),
                },
                1 => Self::Refused(text(d)?),
                2 => Self::Failed(text(d)?),
                3 => Self::Unconfined(text(d)?),
                _ => return Ok(None),
            }))
        })
    }
}

/// What a child that tries to get out answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The layers around it.
    Layers(Vec<Layer>),
    /// It was stopped, by this error.
    Denied(String),
    /// It was not stopped.
    Succeeded,
}

impl Finding {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Layers(layers) => put(0, out, |e| {
                e.array(3 * layers.len());
                layers
                    .iter()
                    .flat_map(|layer| [&layer.name, layer.strength.word(), &layer.detail])
                    .for_each(|text| e.text(text));
            }),
            Self::Denied(why) => put(1, out, |e| e.text(why)),
            Self::Succeeded => put(2, out, |_| {}),
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        open(body, |kind, d| {
            Ok(Some(match kind {
                0 => Self::Layers(layers(d)?),
                1 => Self::Denied(text(d)?),
                2 => Self::Succeeded,
                _ => return Ok(None),
            }))
        })
    }
}

fn layers(d: &mut Decoder<'_>) -> Result<Vec<Layer>, DecodeError> {
    let texts = d.array(MAX_ITEMS, text)?;
    let (triples, rest) = texts.as_chunks::<3>();
    if !rest.is_empty() {
        return Err(d.invalid("a layer without its parts"));
    }
    let layer = |[name, word, detail]: &[String; 3]| {
        let strength = Strength::ALL.into_iter().find(|known| known.word() == word);
        Ok(Layer {
            name: name.clone(),
            strength: strength.ok_or_else(|| d.invalid("unknown strength"))?,
            detail: detail.clone(),
        })
    };
    triples.iter().map(layer).collect()
}

pub(crate) fn put_info(info: &ModuleInfo, e: &mut Encoder) {
    for extent in [info.memory, info.table] {
        let sizes = extent.map_or(Vec::new(), |extent| {
            [Some(extent.min), extent.max].into_iter().flatten().collect()
        });
        e.array(sizes.len());
        sizes.iter().for_each(|size| size.encode(e));
    }
    let StepExports { init, step, initialize } = info.steps;
    let flags = [info.exports_start, info.exports_memory, info.start_function];
    for flag in flags.into_iter().chain([init, step, initialize]) {
        e.uint(u64::from(flag));
    }
    info.functions.encode(e);
    e.array(2 * info.imports.len());
    info.imports.iter().flat_map(|(module, name)| [module, name]).for_each(|text| e.text(text));
}

pub(crate) fn info(d: &mut Decoder<'_>) -> Result<ModuleInfo, DecodeError> {
    let (memory, table) = (extent(d)?, extent(d)?);
    let (exports_start, exports_memory, start_function) = (flag(d)?, flag(d)?, flag(d)?);
    let steps = StepExports { init: flag(d)?, step: flag(d)?, initialize: flag(d)? };
    let functions = u32::decode(d)?;
    let imports = pairs(d, MAX_IMPORT_TEXTS)?;
    Ok(ModuleInfo {
        memory,
        table,
        exports_start,
        exports_memory,
        start_function,
        steps,
        functions,
        imports,
    })
}

fn flag(d: &mut Decoder<'_>) -> Result<bool, DecodeError> {
    match u8::decode(d)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(d.invalid("neither 0 nor 1")),
    }
}

fn extent(d: &mut Decoder<'_>) -> Result<Option<Extent>, DecodeError> {
    let sizes = d.array(2, u32::decode)?;
    Ok(sizes.first().map(|min| Extent { min: *min, max: sizes.get(1).copied() }))
}

/// Reads `bytes` as every frame that can cross the border, as either side would; used by tests that invent bytes.
///
/// # Panics
/// When something that was read is not written as it was read: then two readers could disagree about it.
#[doc(hidden)]
pub fn read_as_every_frame(bytes: &[u8]) {
    let again = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        put(&mut out);
        assert_eq!(&out[4..], bytes, "not written as it was read");
    };
    // Whether it is refused is not asked here: only that refusing and taking are all that happens.
    let _ = (Order::parse(bytes), parse_module(bytes));
    if let Ok(news) = News::parse(bytes) {
        again(&|out| news.put(out));
    }
    if let Ok(compiled) = Compiled::parse(bytes) {
        again(&|out| compiled.put(out));
    }
    if let Ok(finding) = Finding::parse(bytes) {
        again(&|out| finding.put(out));
    }
    let limit = bytes.len() as u64;
    let whole = split(bytes, limit).ok().flatten().map(|(body, used)| (body.to_vec(), used));
    if let Ok(Some(body)) = read(&mut &bytes[..], limit) {
        assert_eq!(whole, Some((body.clone(), body.len() + 4)), "two ways of cutting frames");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One of each frame that a child sends.
    fn samples() -> Vec<Vec<u8>> {
        let info = ModuleInfo {
            memory: Some(Extent { min: 1, max: Some(2) }),
            table: None,
            exports_start: true,
            exports_memory: true,
            start_function: false,
            steps: StepExports { init: true, step: false, initialize: true },
            functions: 3,
            imports: vec![("a".into(), "b".into())],
        };
        let result = TaskResult::without_running(Outcome::Exited(1), 3);
        let layer = Layer { name: "l".into(), strength: Strength::Partial, detail: "d".into() };
        let compiled =
            Compiled::Done { metered: [1; 32], info: info.clone(), artefact: vec![9; 20] };
        let void = Void::new(VoidCause::Compile, "why");
        let (after, steps) = (Digest([3; 32]), 9);
        let segment = SegmentResult { result: result.clone(), after, steps };
        let (metered, from) = (Digest([4; 32]), Some(Arc::from(&b"snapshot"[..])));
        let steps = tallymill_protocol::Steps { budget: 1, segment: 2 };
        let part = Part { metered, steps, from, pause_after: Some(7) };
        vec![
            framed(|out| News::Done(1, Ok(result)).put(out)),
            framed(|out| News::Done(2, Err(void)).put(out)),
            framed(|out| compiled.put(out)),
            framed(|out| Finding::Layers(vec![layer]).put(out)),
            framed(|out| put_load(&info, out)),
            framed(|out| News::SegmentDone(3, segment).put(out)),
            framed(|out| put_segment(5, (TaskIndex(6), b"input"), &part, out)),
        ]
    }

    fn framed(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read_as_every_frame(&bytes);
        }

        #[test]
        fn frames_that_were_damaged_are_read_as_written_or_refused(
            which in 0..5usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut frame = samples().swap_remove(which);
            let at = at.index(frame.len());
            frame[at] = byte;
            if cut {
                frame.truncate(at);
            }
            read_as_every_frame(&frame);
            read_as_every_frame(frame.get(4..).unwrap_or(&[]));
        }
    }

    #[test]
    fn a_segment_comes_over_whole() {
        for (from, pause_after) in [(None, None), (Some(Arc::from(&b"s"[..])), Some(u64::MAX))] {
            let steps = tallymill_protocol::Steps { budget: 1, segment: 2 };
            let sent = Part { metered: Digest([4; 32]), steps, from, pause_after };
            let frame = framed(|out| put_segment(5, (TaskIndex(6), b"in"), &sent, out));
            let Ok(Order::Segment { number: 5, index: TaskIndex(6), input, part }) =
                Order::parse(&frame[4..])
            else {
                panic!("not a segment");
            };
            assert_eq!((&*input, part), (&b"in"[..], sent));
        }
    }

    #[test]
    fn what_has_two_ways_of_being_written_is_refused() {
        // Three texts are no pairs, 2 is no flag, and 99 no cause.
        assert!(matches!(News::parse(&[3, 1, 24, 99, 0x60]), Err(WireError::Decode(_))));
        let with = |flag, texts: &[u8]| [&[4, 0x80, 0x80, flag, 0, 0, 0, 0, 0, 0], texts].concat();
        assert!(Order::parse(&with(1, &[0x80])).is_ok());
        assert!(Order::parse(&with(2, &[0x80])).is_err());
        assert!(Order::parse(&with(1, &[0x81, 0x60])).is_err());
    }

    fn body(frame: &[u8]) -> &[u8] {
        split(frame, MAX_FRAME).unwrap().unwrap().0
    }

    #[test]
    fn a_job_reads_back() {
        let job = JobSpec {
            seed: [9; 32],
            argv: vec!["-v".into()],
            environment: vec![("K".into(), "V".into())],
            files: vec![InputFile { name: "a".into(), bytes: Arc::from(&b"xyz"[..]) }],
            ..JobSpec::new(Limits::default())
        };
        let mut out = Vec::new();
        put_job(&job, &mut out);
        assert!(matches!(Order::parse(body(&out)).unwrap(), Order::Job(read) if *read == job));
    }

    #[test]
    fn news_read_back() {
        let result = TaskResult {
            outcome: Outcome::Exited(3),
            output: b"out".to_vec(),
            log: b"log".to_vec(),
            fuel: 1 << 40,
            peak_memory: 65_536,
            memory_fuel: 7,
            bytes_in: 2,
            bytes_out: 3,
            cpu_time_us: 11,
        };
        let void = Void::new(VoidCause::GrowthRefused, "why");
        let all = [
            News::Ready,
            News::Failed("no".into()),
            News::Done(1, Ok(result)),
            News::Done(2, Err(void)),
            News::Progress(3, 4),
        ];
        for news in all {
            let mut out = Vec::new();
            news.put(&mut out);
            assert_eq!(News::parse(body(&out)).unwrap(), news);
        }
    }

    #[test]
    fn a_frame_above_its_limit_is_refused_by_its_length_alone() {
        let head = 1001u32.to_be_bytes();
        assert!(matches!(split(&head, 1000), Err(WireError::TooLong { found: 1001, limit: 1000 })));
        assert!(matches!(read(&mut &head[..], 1000), Err(WireError::TooLong { .. })));
        assert!(split(&head, 1001).unwrap().is_none());
    }

    #[test]
    fn a_cut_frame_is_an_error_and_a_cut_stream_between_frames_an_end() {
        let mut out = Vec::new();
        News::Progress(1, 2).put(&mut out);
        out.pop();
        assert!(matches!(read(&mut &out[..], 100), Err(WireError::Stream(_))));
        assert!(read(&mut &[][..], 100).unwrap().is_none());
    }

    #[test]
    fn unknown_kinds_and_trailing_bytes_are_refused() {
        assert!(matches!(News::parse(&[9]), Err(WireError::Decode(_))));
        assert!(matches!(News::parse(&[0, 0]), Err(WireError::Decode(_))));
        assert!(matches!(Order::parse(&[]), Err(WireError::Decode(_))));
    }
}
