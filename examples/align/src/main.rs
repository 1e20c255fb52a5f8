//! The guest: a window in, its best alignment with the reference file out.
fn main() {
    tallymill_guest::run(align::align_with_file);
}
