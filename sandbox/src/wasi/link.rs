//! The host functions for our own engine, with their types known when this crate is compiled: the fast way.

use super::table::each_function;
use super::{Ending, Errno, Guest, Halt, MODULE, Memory, paths, process, streams};
use wasmtime::AsContextMut as _;

/// What holds a [`Guest`] and its memory: the one way from the engine into a host function, and the place where a cost table
/// with weights for host calls would charge them.
pub(crate) trait Host: Sized + 'static {
    /// The guest's state.
    fn guest(&mut self) -> &mut Guest;

    /// The memory that functions read and write; none if the guest has none.
    fn memory(&self) -> Option<wasmtime::Memory>;

    /// An end that the guest or the limit of its output asks for, as the engine carries it.
    fn ended(ending: Ending) -> wasmtime::Error;

    /// Why nothing is to be done any more: asked before every function, since a slice may hold many calls.
    fn stopped(&self) -> Option<wasmtime::Error> {
        None
    }

    /// Runs one function on the guest's state and memory.
    fn call(
        caller: &mut wasmtime::Caller<'_, Self>,
        function: impl FnOnce(&mut Guest, &mut Memory<'_>) -> Result<(), Halt>,
    ) -> wasmtime::Result<u32> {
        if let Some(why) = caller.data().stopped() {
            return Err(why);
        }
        let answer = match caller.data().memory() {
            Some(memory) => {
                let (bytes, host) = memory.data_and_store_mut(caller.as_context_mut());
                function(host.guest(), &mut Memory(bytes))
            }
            None => function(caller.data_mut().guest(), &mut Memory(&mut [])),
        };
        match answer {
            Ok(()) => Ok(0),
            Err(Halt::Errno(errno)) => Ok(errno.code()),
            Err(Halt::End(ending)) => Err(Self::ended(ending)),
        }
    }
}

macro_rules! link {
    (
        working { $( $name:ident ( $($arg:ident : $type:tt),* ) => |$guest:ident, $memory:ident| $call:expr; )* }
        refused { $( $other:ident ( $($otype:tt),* ); )* }
    ) => {
        /// Adds every function to `linker`.
        pub(crate) fn link<H: Host>(linker: &mut wasmtime::Linker<H>) -> wasmtime::Result<()> {
            $( linker.func_wrap(MODULE, stringify!($name), |mut caller: wasmtime::Caller<'_, H>, $($arg: $type),*| {
                H::call(&mut caller, |$guest, $memory| $call)
            })?; )*
            $( linker.func_wrap(MODULE, stringify!($other), |_: wasmtime::Caller<'_, H>, $(_: $otype),*| {
                Errno::NotOffered.code()
            })?; )*
            linker.func_wrap(MODULE, "proc_exit", |mut caller: wasmtime::Caller<'_, H>, code: u32| {
                H::call(&mut caller, |guest, memory| process::proc_exit(guest, memory, code)).map(drop)
            })?;
            Ok(())
        }
    };
}

each_function!(link);
