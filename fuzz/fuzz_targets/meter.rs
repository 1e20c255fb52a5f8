//! The meter: valid modules drawn from the bytes, of every shape that the profile allows and some that it refuses.

#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use tallymill_meter::{CostTable, MeterError, Profile, Screen, meter};
use wasm_smith::{Config, Module};

/// What generated modules may hold: all that the meter rewrites.
fn config() -> Config {
    Config {
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        simd_enabled: true,
        gc_enabled: false,
        threads_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        extended_const_enabled: false,
        max_memories: 1,
        max_tables: 1,
        max_imports: 0,
        ..Config::default()
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut source = Unstructured::new(bytes);
    let Ok(module) = Module::new(config(), &mut source) else { return };
    let original = module.to_bytes();
    let profile = Profile { imports: &[], screen: Screen::default(), costs: CostTable::v1(), slices: tallymill_meter::Slices::Hook };
    match meter(&original, &profile) {
        Ok(metered) => {
            wasmparser::validate(&metered.bytes).expect("the metered module is valid");
            let again = meter(&original, &profile).expect("the meter has one answer");
            assert_eq!(again.bytes, metered.bytes, "the meter has one answer");
        }
        Err(MeterError::Output { .. }) => panic!("the meter made what does not validate"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
