//! The binary: everything is in the library, beginning with [`dragdropdo_exporter::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    dragdropdo_exporter::cli::run().await
}
