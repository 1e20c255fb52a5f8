//! Frames between a worker and its children: whatever a child that was taken over may send.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tallymill_sandbox::read_as_every_frame(bytes);
});
