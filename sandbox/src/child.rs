//! The child's side: one process that compiles one module, or one that runs the tasks of one payer with one module.
//!
//! A child starts with an empty environment and three descriptors: 0 is the compiled module (read-only) or nothing, 1 a stream to
//! its parent, 2 nothing. It holds no key and writes no file. When its parent goes, its stream ends and so does the child.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tallymill_meter::{ModuleInfo, Screen};
use tallymill_protocol::work::VoidCause;
use tallymill_protocol::{Outcome, TaskIndex};

use crate::confine::{Confinement, Layer, Role, confine, escape, gaps, tighten};
use crate::engine::{CompiledModule, Engine, EngineError, THREAD_STACK};
use crate::profile::screen;
use crate::run::run_task;
use crate::segment::{SegmentResult, SegmentSpec, run_segment};
use crate::task::{JobSpec, TaskResult, TaskSpec, Void};
use crate::watch::Pulse;
use crate::wire::{self, Compiled, News, Order, Part, WireError};

/// First argument of a child that runs.
pub(crate) const RUN: &str = "__run-child";
/// First argument of a child that compiles.
pub(crate) const COMPILE: &str = "__compile-child";
/// First argument of a child that tries to get out.
pub(crate) const PROBE: &str = "__probe-child";

/// Results are handed over together until they are this many bytes…
const FLUSH_BYTES: usize = 64 << 10;
/// …or the first of them is this old.
const FLUSH_AGE: Duration = Duration::from_millis(5);
/// Time between two looks at the task that runs, while one does.
const LOOK_AGE: Duration = Duration::from_millis(20);
/// Time between two words about a running task's progress.
const PROGRESS_AGE: Duration = Duration::from_millis(100);

/// Runs this process as a child if its arguments (without the program's name) ask for it. Call it first thing in `main`, before
/// anything starts a thread or opens a file.
///
/// ```no_run
/// if let Some(code) = tallymill_sandbox::child_main(std::env::args_os().skip(1)) {
///     std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
/// }
/// ```
pub fn child_main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let done = match arguments.next()?.to_str()? {
        RUN => run(&mut arguments),
        COMPILE => compile(&mut arguments),
        PROBE => escape::child(&mut arguments),
        _ => return None,
    };
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The next argument.
pub(crate) fn argument<T: FromStr>(
    arguments: &mut impl Iterator<Item = OsString>,
) -> io::Result<T> {
    let parsed = arguments.next().and_then(|text| text.to_str()?.parse().ok());
    parsed.ok_or_else(|| io::Error::other("an argument is missing"))
}

/// Why the module must not be looked at, if so.
fn refusal(confinement: Confinement, layers: &[Layer]) -> Option<String> {
    let gaps = gaps(layers);
    (confinement == Confinement::Required && !gaps.is_empty()).then_some(gaps)
}

fn run(arguments: &mut impl Iterator<Item = OsString>) -> io::Result<()> {
    let confinement = argument(arguments)?;
    let role = Role::Run { cpu_seconds: argument(arguments)? };
    let (layers, engine) = confine(role, || Engine::new(1));
    run_child(confinement, refusal(confinement, &layers), engine)
}

fn compile(arguments: &mut impl Iterator<Item = OsString>) -> io::Result<()> {
    let confinement = argument(arguments)?;
    let (cpu_seconds, memory) = (argument(arguments)?, argument(arguments)?);
    let (layers, ()) = confine(Role::Compile { cpu_seconds, memory }, || ());
    compile_child(refusal(confinement, &layers))
}

pub(crate) fn stream() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn broken(error: WireError) -> io::Error {
    io::Error::other(error)
}

fn compile_child(refusal: Option<String>) -> io::Result<()> {
    let mut stream = stream()?;
    let longest = u64::from(Screen::default().module_bytes) + wire::OVERHEAD;
    let frame = wire::read(&mut stream, longest).map_err(broken)?.unwrap_or_default();
    let answer = match refusal {
        Some(gaps) => Compiled::Unconfined(gaps),
        None => compiled(wire::parse_module(&frame).map_err(broken)?),
    };
    let mut out = Vec::new();
    answer.put(&mut out);
    stream.write_all(&out)
}

fn compiled(module: &[u8]) -> Compiled {
    let metered = match screen(module) {
        Ok(metered) => metered,
        Err(error) => return Compiled::Refused(error.to_string()),
    };
    match Engine::compiler().and_then(|engine| engine.compile(&metered.bytes)) {
        Ok(artefact) => {
            Compiled::Done { metered: metered.metered_digest, info: metered.info, artefact }
        }
        Err(error) => Compiled::Failed(error.to_string()),
    }
}

fn run_child(
    confinement: Confinement,
    refusal: Option<String>,
    engine: Result<Engine, EngineError>,
) -> io::Result<()> {
    let mut incoming = stream()?;
    let session = Arc::new(Session::new(stream()?));
    let artefact = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let frame = wire::read(&mut incoming, wire::MAX_FRAME).map_err(broken)?.unwrap_or_default();
    if let Some(gaps) = refusal {
        return session.tell_now(&News::Unconfined(gaps));
    }
    let Order::Load(info) = Order::parse(&frame).map_err(broken)? else {
        return Err(io::Error::other("the first frame loads a module"));
    };
    let module = match load(engine, artefact, info) {
        Ok(module) => module,
        Err(why) => return session.tell_now(&News::Failed(why)),
    };
    let runs = session.clone();
    let guests = std::thread::Builder::new().name("guest".into()).stack_size(THREAD_STACK);
    guests.spawn(move || {
        let _end = EndProcess;
        runs.work(&module)
    })?;
    let looks = session.clone();
    std::thread::Builder::new().name("progress".into()).spawn(move || looks.look())?;
    let tight = tighten();
    if confinement == Confinement::Required {
        tight?;
    }
    session.tell_now(&News::Ready)?;
    session.listen(&mut incoming);
    // The parent has gone, or does not make sense: what still runs is of no use to anyone. Leaving `main` ends it.
    Ok(())
}

/// Ends the process when the thread that runs guests ends, in whatever way: the parent must not wait for results in vain.
struct EndProcess;

impl Drop for EndProcess {
    fn drop(&mut self) {
        std::process::exit(1);
    }
}

#[expect(unsafe_code, reason = "loading native code; the parent vouches for the file")]
fn load(
    engine: Result<Engine, EngineError>,
    artefact: File,
    info: ModuleInfo,
) -> Result<CompiledModule, String> {
    let engine = engine.map_err(|error| error.to_string())?;
    // SAFETY: the parent hands over a sealed memory file that it filled with what a compile child of its own made or with an
    // authenticated entry of its cache; nobody can change it.
    unsafe { engine.load(artefact, info) }.map_err(|error| error.to_string())
}

enum Item {
    Job(Arc<JobSpec>),
    Task(Waiting),
}

struct Waiting {
    number: u32,
    index: TaskIndex,
    input: Arc<[u8]>,
    /// Of a segment, what of the task it is.
    part: Option<Part>,
    stopped: bool,
}

struct Sink {
    stream: UnixStream,
    buffer: Vec<u8>,
    flushed: Instant,
    /// When progress was told.
    told: Instant,
    /// The last task of which anything was told, and its fuel; all there is if that was its end.
    told_of: (u32, u64),
}

impl Sink {
    fn new(stream: UnixStream) -> Self {
        let now = Instant::now();
        Self { stream, buffer: Vec::new(), flushed: now, told: now, told_of: (IDLE, 0) }
    }

    /// Tells of a task's progress, if there is any: calls of the host can take as long as many slices, and
    /// a task that has ended is the current one until the next begins.
    fn progress(&mut self, number: u32, fuel: u64) {
        let (last, before) = self.told_of;
        if fuel > if number == last { before } else { 0 } {
            (self.told, self.told_of) = (Instant::now(), (number, fuel));
            News::Progress(number, fuel).put(&mut self.buffer);
        }
    }

    fn end(&mut self, number: u32, news: &News) {
        self.told_of = (number, u64::MAX);
        news.put(&mut self.buffer);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.buffer)?;
        self.buffer.clear();
        self.flushed = Instant::now();
        Ok(())
    }

    fn flush_if_due(&mut self) -> io::Result<()> {
        let due = self.buffer.len() >= FLUSH_BYTES || self.flushed.elapsed() >= FLUSH_AGE;
        if due && !self.buffer.is_empty() { self.flush() } else { Ok(()) }
    }
}

/// Stands for no task where a task's number is meant.
const IDLE: u32 = u32::MAX;

/// What the thread that listens and the thread that runs guests share.
struct Session {
    queue: Mutex<VecDeque<Item>>,
    filled: Condvar,
    /// A task has begun to run.
    begun: Condvar,
    sink: Mutex<Sink>,
    /// The task that runs; valid while one does.
    current: AtomicU32,
    pulse: Pulse,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    fn new(stream: UnixStream) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            begun: Condvar::new(),
            sink: Mutex::new(Sink::new(stream)),
            current: AtomicU32::new(IDLE),
            pulse: Pulse::default(),
        }
    }

    fn tell_now(&self, news: &News) -> io::Result<()> {
        let mut sink = lock(&self.sink);
        news.put(&mut sink.buffer);
        sink.flush()
    }

    fn tell_end(&self, number: u32, news: &News) -> io::Result<()> {
        let mut sink = lock(&self.sink);
        sink.end(number, news);
        sink.flush_if_due()
    }

    /// Takes orders until the stream ends.
    fn listen(&self, stream: &mut UnixStream) {
        let mut stream = io::BufReader::with_capacity(FLUSH_BYTES, stream);
        while let Ok(Some(frame)) = wire::read(&mut stream, wire::MAX_FRAME) {
            match Order::parse(&frame) {
                Ok(order) => self.obey(order),
                Err(_) => return,
            }
        }
    }

    fn obey(&self, order: Order) {
        let mut queue = lock(&self.queue);
        let idle = queue.is_empty();
        match order {
            Order::Job(job) => queue.push_back(Item::Job(job)),
            Order::Task { number, index, input } => {
                let task = Waiting { number, index, input, part: None, stopped: false };
                queue.push_back(Item::Task(task));
            }
            Order::Segment { number, index, input, part } => {
                let part = Some(part);
                queue.push_back(Item::Task(Waiting { number, index, input, part, stopped: false }));
            }
            Order::Stop(number) => self.stop_where(&mut queue, |other| other == number),
            Order::StopAll => self.stop_where(&mut queue, |_| true),
            Order::Load(_) => {}
        }
        if idle {
            // Waking takes a system call; whoever still has work does not sleep.
            self.filled.notify_one();
        }
    }

    /// Called with the queue locked, so that no task goes from waiting to running meanwhile.
    fn stop_where(&self, queue: &mut VecDeque<Item>, chosen: impl Fn(u32) -> bool) {
        if chosen(self.current.load(Ordering::Relaxed)) {
            self.pulse.stop();
        }
        for item in queue {
            if let Item::Task(task) = item {
                task.stopped |= chosen(task.number);
            }
        }
    }

    /// Runs tasks as they come, for ever.
    fn work(&self, module: &CompiledModule) -> io::Result<()> {
        let mut job = None;
        loop {
            match self.next()? {
                Item::Job(next) => job = Some(next),
                Item::Task(task) => {
                    let number = task.number;
                    let news = match &job {
                        Some(job) => self.run(module, job, task),
                        None => Err(Void::new(VoidCause::Other, "a task came before its job")),
                    };
                    let news = news.unwrap_or_else(|void| News::Done(number, Err(void)));
                    self.tell_end(number, &news)?;
                }
            }
        }
    }

    fn next(&self) -> io::Result<Item> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(item) = queue.pop_front() {
                if let Item::Task(task) = &item {
                    // In this order no task's fuel is taken for that of the next.
                    self.pulse.reset(task.stopped);
                    if self.current.swap(task.number, Ordering::Release) == IDLE {
                        self.begun.notify_one();
                    }
                }
                return Ok(item);
            }
            self.current.store(IDLE, Ordering::Relaxed);
            // The parent may be waiting for the last results before it sends more.
            lock(&self.sink).flush()?;
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(
        &self,
        module: &CompiledModule,
        job: &Arc<JobSpec>,
        task: Waiting,
    ) -> Result<News, Void> {
        let Waiting { number, index, input, part, stopped } = task;
        let task = TaskSpec { job: job.clone(), index, input };
        let Some(Part { metered, steps, from, pause_after }) = part else {
            let unbegun = || TaskResult::without_running(Outcome::Stopped, task.input.len());
            let run = || run_task(module, &task, &self.pulse);
            return Ok(News::Done(number, if stopped { Ok(unbegun()) } else { run() }));
        };
        let spec = SegmentSpec { task, steps, from, pause_after };
        let ended = if stopped {
            SegmentResult::without_running(&spec)
        } else {
            run_segment(module, metered, &spec, &self.pulse)?
        };
        Ok(News::SegmentDone(number, ended))
    }
}

impl Session {
    /// While tasks run, tells of progress and hands over results that have waited, for ever.
    fn look(&self) {
        loop {
            let queue = lock(&self.queue);
            let idle = |_: &mut VecDeque<Item>| self.current.load(Ordering::Relaxed) == IDLE;
            let queue = self.begun.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            drop(self.begun.wait_timeout(queue, LOOK_AGE));
            // A broken stream ends the process by way of the thread that listens.
            let _ = self.tell_progress();
        }
    }

    fn tell_progress(&self) -> io::Result<()> {
        let mut sink = lock(&self.sink);
        let (number, fuel) = (self.current.load(Ordering::Acquire), self.pulse.fuel());
        if number != IDLE && sink.told.elapsed() >= PROGRESS_AGE {
            sink.progress(number, fuel);
        }
        sink.flush_if_due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_twice_or_after_the_end() {
        let mut sink = Sink::new(UnixStream::pair().unwrap().0);
        let mut grows = |number, fuel| {
            let before = sink.buffer.len();
            sink.progress(number, fuel);
            sink.buffer.len() > before
        };
        assert_eq!([0, 5, 5, 6].map(|fuel| grows(7, fuel)), [false, true, false, true]);
        assert_eq!([0, 2].map(|fuel| grows(8, fuel)), [false, true]);
        sink.end(8, &News::Done(8, Err(Void::new(VoidCause::Other, ""))));
        let end = sink.buffer.len();
        sink.progress(8, 3);
        assert_eq!(sink.buffer.len(), end);
        sink.progress(9, 3);
        assert!(sink.buffer.len() > end);
    }
}
