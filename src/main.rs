//! The binary: everything is in the library, beginning with [`dragdropdo_exporter::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Without this, FAILPOINTS in the environment would be ignored without a word.
    #[cfg(feature = "failpoints")]
    let _points = fail::FailScenario::setup();
    dragdropdo_exporter::cli::main()
}
