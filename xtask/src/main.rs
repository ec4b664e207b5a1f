//! Tasks of the project itself, run as `cargo xtask TASK`.

mod codegen;
mod tidy;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Tasks of the Seaway project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the files that are made from the code: the kernel programs' header and the table of drop reasons.
    Codegen {
        /// Write nothing; fail when a file is stale.
        #[arg(long)]
        check: bool,
    },
    /// Check what the compiler does not: walls between crates, where effects live, sizes, error ids, generated files.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Codegen { check } => codegen::run(&workspace_root(), check),
        Task::Tidy => tidy::run(&workspace_root()),
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
