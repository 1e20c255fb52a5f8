//! The guest: standard input names a kernel and its size, `["nbody",1000]`; standard output gets
//! the checksum of what it computed, in hexadecimal.

use std::io::{self, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut input = String::new();
    let answer = io::stdin()
        .lock()
        .read_to_string(&mut input)
        .map_err(|error| error.to_string())
        .and_then(|_| kernels::answer(&input).map_err(|error| error.to_string()))
        .and_then(|text| {
            io::stdout().lock().write_all(text.as_bytes()).map_err(|error| error.to_string())
        });
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // A closed log cannot be reported anywhere; the exit code still tells.
            let _unreportable = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}
