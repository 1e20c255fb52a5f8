//! From a module's bytes to something a child can run at once.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tallymill_meter::{ModuleInfo, Screen};
use tallymill_protocol::Digest;

use crate::cache::Cache;
use crate::child::COMPILE;
use crate::engine::{CompiledModule, Engine, EngineError};
use crate::launch::{Broken, CompileLimits, Launcher};
use crate::wire::{self, Compiled};

/// Wall-clock time of one compilation: its CPU time on a machine that does six other things at once.
const COMPILE_WALL: Duration = Duration::from_secs(60);
/// Longest compiled form, bytes: thirty times the longest module.
pub(crate) const MAX_ARTEFACT: u64 = 256 << 20;

/// Why a module cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It breaks a rule; the text is the meter's and names function and offset.
    #[error("{0}")]
    Refused(String),
    /// It is longer than any module may be.
    #[error(
        "rule 12 (screening limits): too many bytes of the module at offset 0: {found}, at most {limit}"
    )]
    TooLong {
        /// Bytes it has.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Compiling it was stopped.
    #[error("compiling the module was stopped ({status}): at most {} s of CPU time and {} MiB",
        limits.cpu_seconds, limits.memory >> 20)]
    TooCostly {
        /// How the process that compiled it ended.
        status: String,
        /// What it was allowed to use.
        limits: CompileLimits,
    },
    /// This machine lacks a layer of protection that was asked for.
    #[error("this machine cannot confine what the module might do: {0}")]
    Unconfined(String),
    /// The engine failed.
    #[error("the module could not be compiled: {0}")]
    Engine(String),
    /// No child could be started, or there is no memory for the compiled module.
    #[error("the module could not be compiled: {0}")]
    Io(#[from] io::Error),
}

/// A module ready to be run by children. Clones share the compiled form.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Digest of the module as submitted.
    pub original: Digest,
    /// Digest of the module as metered.
    pub metered: Digest,
    /// What a host wants to know about it.
    pub info: ModuleInfo,
    artefact: Arc<File>,
}

impl Prepared {
    /// Puts `artefact`, which this machine compiled, into a memory file that nobody can change any more.
    pub(crate) fn new(
        original: Digest,
        metered: Digest,
        info: ModuleInfo,
        artefact: &[u8],
    ) -> io::Result<Self> {
        Ok(Self { original, metered, info, artefact: Arc::new(sealed(artefact)?) })
    }

    pub(crate) fn artefact(&self) -> &File {
        &self.artefact
    }

    /// Loads it in this process, for running modules that are trusted.
    ///
    /// # Errors
    /// When the engine does not take it.
    #[expect(unsafe_code, reason = "loading native code; its origin is this type's invariant")]
    pub fn load(&self, engine: &Engine) -> Result<CompiledModule, EngineError> {
        let file =
            self.artefact.try_clone().map_err(|error| EngineError::Load(error.to_string()))?;
        // SAFETY: the file was filled from what a compile child of this program answered or from an authenticated entry of the
        // cache, and is sealed.
        unsafe { engine.load(file, self.info.clone()) }
    }
}

/// A read-only descriptor of a memory file that holds `bytes` and that nobody can change any more.
pub(crate) fn sealed(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("tallymill-module", flags)?);
    file.write_all(bytes)?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, all)?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Makes a module ready: from the cache if it is there, otherwise by compiling it in a child.
///
/// # Errors
/// Why it is refused, or what failed.
pub fn prepare(
    cache: Option<&Cache>,
    launcher: &Launcher,
    module: &[u8],
) -> Result<Prepared, PrepareError> {
    let original = Digest::of(module);
    if let Some(prepared) = cache.and_then(|cache| cache.get(original)) {
        return Ok(prepared);
    }
    match compile(launcher, module)? {
        Compiled::Refused(why) => Err(PrepareError::Refused(why)),
        Compiled::Failed(why) => Err(PrepareError::Engine(why)),
        Compiled::Unconfined(gaps) => Err(PrepareError::Unconfined(gaps)),
        Compiled::Done { metered, info, artefact } => {
            let metered = Digest(metered);
            if let Some(Err(error)) =
                cache.map(|cache| cache.put(original, metered, &info, &artefact))
            {
                // A full disk costs the next start a compilation; this run needs nothing from it.
                tracing::warn!(%error, module = %original, "cache.entry is not kept");
            }
            Ok(Prepared::new(original, metered, info, &artefact)?)
        }
    }
}

fn compile(launcher: &Launcher, module: &[u8]) -> Result<Compiled, PrepareError> {
    let (found, limit) = (module.len() as u64, u64::from(Screen::default().module_bytes));
    if found > limit {
        return Err(PrepareError::TooLong { found, limit });
    }
    let limits = launcher.compile_limits();
    let numbers = [limits.cpu_seconds, limits.memory].map(|number| number.to_string());
    let arguments = [COMPILE, launcher.confinement(), &numbers[0], &numbers[1]];
    let mut link = launcher.start(&arguments, None)?;
    let stopped = |broken| match broken {
        Broken::Died(status) => PrepareError::TooCostly { status, limits },
        Broken::Nonsense(what) => PrepareError::Engine(what),
    };
    wire::put_module(module, link.outgoing());
    let until = Instant::now() + COMPILE_WALL;
    loop {
        match link.frame(MAX_ARTEFACT) {
            Ok(Some(frame)) => {
                return Compiled::parse(frame)
                    .map_err(|error| PrepareError::Engine(error.to_string()));
            }
            Ok(None) if Instant::now() >= until => {
                let status = format!("no answer after {} s", COMPILE_WALL.as_secs());
                return Err(PrepareError::TooCostly { status, limits });
            }
            Ok(None) => link.turn(until, None).map_err(stopped)?,
            Err(broken) => return Err(stopped(broken)),
        }
    }
}
