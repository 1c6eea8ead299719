//! The program `syncline`.

use std::process::ExitCode;

/// Small allocations, for each record that is read, are what costs most besides the database.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    syncline::cli::main()
}
