//! The program `syncline`.

use std::process::ExitCode;

/// The program allocates for each record it reads; this is a tenth to a quarter faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    syncline::cli::main()
}
