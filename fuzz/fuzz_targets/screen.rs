//! The screen of a coordinator: bytes that anybody may submit as a module.

#![no_main]

use tallymill_sandbox::screen;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match screen(bytes) {
        Ok(metered) => assert_eq!(screen(bytes), Ok(metered), "two answers about one module"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
