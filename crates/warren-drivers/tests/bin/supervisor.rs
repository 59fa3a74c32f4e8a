//! What `warren __supervise` is to the binary, for this crate's tests.

fn main() -> std::process::ExitCode {
    warren_drivers::runtime::process::supervise_main(std::env::args_os().skip(1))
}
