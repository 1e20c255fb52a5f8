//! The engine: wasmtime with the settings of the deterministic profile, and modules compiled for it.
//!
//! Neither fuel nor epochs nor canonical NaNs of the engine's own are used: the metered module brings its own. Two allocation
//! strategies share one compiled form: children that compile allocate on demand, those that run pool their memory.

use std::fs::File;
use std::sync::Arc;

use tallymill_meter::ModuleInfo;
use tallymill_meter::abi;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, InstancePre, Linker, Module, ModuleExport,
    OptLevel, PoolingAllocationConfig, WasmFeatures,
};

use crate::run::Cell;
use crate::state::Ports;
use crate::wasi;

/// Native stack for guests, bytes: sixteen times what the meter's model allows, so that the model always ends a recursion first.
const NATIVE_STACK: usize = 8 << 20;
/// Stack of a thread that runs guests: the guests' and as much again as host functions need.
pub(crate) const THREAD_STACK: usize = NATIVE_STACK + (2 << 20);
/// Most table entries of any manifest.
const MAX_ENTRIES: usize = 10_000_000;
/// Memory of a finished run that is cleared by writing instead of unmapping, bytes: small guests start faster so.
const KEEP_RESIDENT: usize = 512 << 10;

/// The engine's name and version, as receipts state it.
pub const ENGINE_NAME: &str = "wasmtime 48.0.8";

/// Why the engine could not be made or a module not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not start on this host.
    #[error("the engine cannot be set up here: {0}")]
    Setup(String),
    /// The engine refuses the metered module.
    #[error("the engine cannot compile the module: {0}")]
    Compile(String),
    /// The bytes are not a module compiled for this engine.
    #[error("the compiled module cannot be loaded: {0}")]
    Load(String),
    /// A metered module without the exports of the meter.
    #[error("the compiled module lacks the export {0:?}")]
    Export(&'static str),
}

/// The settings of the deterministic profile.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::Speed).cranelift_nan_canonicalization(false);
    // What compiling takes must not depend on the number of processors, nor may it use more of them than its owner lends.
    config.parallel_compilation(false);
    config.consume_fuel(false).epoch_interruption(false);
    // The meter drops a guest's own hints and tells which of the branches it added are hardly taken.
    config.wasm_branch_hinting(true);
    config
        .wasm_relaxed_simd(false)
        // Of every module's memories one is the meter's; guests are held to one of their own before.
        .wasm_multi_memory(true)
        .wasm_memory64(false)
        .wasm_tail_call(false);
    config.wasm_features(WasmFeatures::THREADS | WasmFeatures::EXTENDED_CONST, false);
    config.max_wasm_stack(NATIVE_STACK).wasm_backtrace_max_frames(None).generate_address_map(false);
    // Nothing here is asynchronous, but the engine wants this one to be no smaller.
    config.async_stack_size(NATIVE_STACK);
    config.memory_reservation(4 << 30).memory_may_move(false).memory_init_cow(true);
    config
}

/// Memory for `concurrency` instances, reserved once.
pub(crate) fn pool(concurrency: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(concurrency)
        .total_memories(concurrency * 2)
        .total_tables(concurrency * 2);
    pool.max_memories_per_module(2).max_tables_per_module(2).table_elements(MAX_ENTRIES);
    pool.max_memory_size(4 << 30)
        .max_core_instance_size(16 << 20)
        .max_unused_warm_slots(concurrency);
    pool.linear_memory_keep_resident(KEEP_RESIDENT).table_keep_resident(64 << 10);
    // Where the kernel can tell which pages were written, only those are cleared.
    pool.pagemap_scan(Enabled::Auto);
    pool
}

/// Compiles and runs metered modules.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Arc<Linker<Cell>>,
}

impl Engine {
    /// An engine that runs up to `concurrency` tasks at once.
    ///
    /// # Errors
    /// When the host lacks the address space or processor features it needs.
    pub fn new(concurrency: u32) -> Result<Self, EngineError> {
        Self::with(InstanceAllocationStrategy::Pooling(pool(concurrency)))
    }

    /// An engine that compiles, and reserves no memory for running.
    ///
    /// # Errors
    /// When the host lacks processor features it needs.
    pub fn compiler() -> Result<Self, EngineError> {
        Self::with(InstanceAllocationStrategy::OnDemand)
    }

    fn with(strategy: InstanceAllocationStrategy) -> Result<Self, EngineError> {
        let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
        let engine =
            wasmtime::Engine::new(config().allocation_strategy(strategy)).map_err(setup)?;
        let mut linker = Linker::new(&engine);
        wasi::link(&mut linker).map_err(setup)?;
        Ok(Self { engine, linker: Arc::new(linker) })
    }

    /// A digest of everything besides the module that its compiled form depends on: engine version, settings, processor features.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Fingerprint(blake3::Hasher::new());
        hasher.0.update(ENGINE_NAME.as_bytes());
        std::hash::Hash::hash(&self.engine.precompile_compatibility_hash(), &mut hasher);
        *hasher.0.finalize().as_bytes()
    }

    /// Compiles a metered module to bytes that [`Engine::load`] takes.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub fn compile(&self, metered: &[u8]) -> Result<Vec<u8>, EngineError> {
        self.engine
            .precompile_module(metered)
            .map_err(|error| EngineError::Compile(format!("{error:#}")))
    }

    /// Makes a compiled module ready from a file that this machine wrote.
    ///
    /// # Safety
    /// The file must hold exactly what [`Engine::compile`] gave, on this machine, and must never change again: native code is run
    /// from it. A sealed memory file that was filled from an authenticated cache entry is the intended case.
    ///
    /// # Errors
    /// When it was compiled by another engine or for other settings.
    #[expect(
        unsafe_code,
        reason = "loading native code cannot be checked; the caller vouches for its origin"
    )]
    pub unsafe fn load(
        &self,
        artefact: File,
        info: ModuleInfo,
    ) -> Result<CompiledModule, EngineError> {
        // SAFETY: the caller vouches for the file's origin and that it does not change.
        let module = unsafe { Module::deserialize_open_file(&self.engine, artefact) };
        CompiledModule::new(
            self,
            &module.map_err(|error| EngineError::Load(format!("{error:#}")))?,
            info,
        )
    }

    /// Compiles a metered module and makes it ready, all in this process.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub fn compile_here(
        &self,
        metered: &[u8],
        info: ModuleInfo,
    ) -> Result<CompiledModule, EngineError> {
        let module = Module::new(&self.engine, metered);
        CompiledModule::new(
            self,
            &module.map_err(|error| EngineError::Compile(format!("{error:#}")))?,
            info,
        )
    }

    pub(crate) const fn inner(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

struct Fingerprint(blake3::Hasher);

impl std::hash::Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0.finalize().as_bytes()[..8]
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// A module ready to run any number of tasks.
pub struct CompiledModule {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<Cell>,
    pub(crate) info: ModuleInfo,
    pub(crate) exports: Exports,
    /// Of a module in steps.
    pub(crate) ports: Option<Ports>,
}

/// Where the exports of host and meter are, looked up once.
pub(crate) struct Exports {
    pub(crate) mark: ModuleExport,
    pub(crate) count: ModuleExport,
    pub(crate) limit: ModuleExport,
    pub(crate) stack: ModuleExport,
    pub(crate) pages: ModuleExport,
    pub(crate) entries: ModuleExport,
    pub(crate) cause: ModuleExport,
    pub(crate) integral: ModuleExport,
    pub(crate) grown: ModuleExport,
    pub(crate) hooks: ModuleExport,
    pub(crate) control: ModuleExport,
    pub(crate) finish: ModuleExport,
    pub(crate) entry: Option<ModuleExport>,
    pub(crate) initial: Option<ModuleExport>,
    /// The memory that host functions work on.
    pub(crate) memory: Option<ModuleExport>,
    /// The guest's memory, whether it exports it or not.
    pub(crate) guest: Option<ModuleExport>,
}

impl CompiledModule {
    fn new(engine: &Engine, module: &Module, info: ModuleInfo) -> Result<Self, EngineError> {
        let pre = engine
            .linker
            .instantiate_pre(module)
            .map_err(|error| EngineError::Load(format!("{error:#}")))?;
        let ports = info.steps.are_whole().then(|| Ports::new(module)).transpose()?;
        Ok(Self { engine: engine.clone(), pre, info, exports: Exports::new(module)?, ports })
    }

    /// Entries of the hook table: of a module in steps one for each function too.
    pub(crate) const fn hooks(&self) -> usize {
        match self.ports {
            Some(_) => 1 + self.functions(),
            None => 1,
        }
    }

    /// The guest's functions, imported ones too.
    pub(crate) const fn functions(&self) -> usize {
        self.info.functions as usize + self.info.imports.len()
    }
}

impl Exports {
    fn new(module: &Module) -> Result<Self, EngineError> {
        let find =
            |name: &'static str| module.get_export_index(name).ok_or(EngineError::Export(name));
        Ok(Self {
            mark: find(abi::MARK)?,
            count: find(abi::COUNT)?,
            limit: find(abi::LIMIT)?,
            stack: find(abi::STACK)?,
            pages: find(abi::PAGES)?,
            entries: find(abi::ENTRIES)?,
            cause: find(abi::CAUSE)?,
            integral: find(abi::INTEGRAL)?,
            grown: find(abi::GROWN)?,
            hooks: find(abi::HOOKS)?,
            control: find(abi::CONTROL)?,
            finish: find(abi::FINISH)?,
            entry: module.get_export_index("_start"),
            initial: module.get_export_index(abi::START),
            memory: module.get_export_index("memory"),
            guest: module.get_export_index(abi::MEMORY),
        })
    }
}
