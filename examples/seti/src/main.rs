//! The guest: a range of drift rates in, the spikes found in the recording out.
fn main() {
    tallymill_guest::run(seti::search_file);
}
