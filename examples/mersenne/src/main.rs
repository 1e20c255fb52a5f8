//! The guest: an exponent in, an answer out.
fn main() {
    tallymill_guest::run(mersenne::decide);
}
