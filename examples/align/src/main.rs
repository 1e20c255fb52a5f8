//! The guest: a window in, its best alignment with the reference file out.
fn main() {
    tallymill_guest::run(|window| align::align_with_file(&window));
}
