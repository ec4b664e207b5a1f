//! The plugin's process: variables and standard input in, JSON on standard
//! output, exit code 0 or 1. See the library for what happens in between.

use std::io::Write;
use std::process::ExitCode;

use seaway_cni::command::Variables;

fn main() -> ExitCode {
    let outcome = seaway_cni::run(&Variables::of_process(), &mut std::io::stdin().lock());
    if let Some(output) = &outcome.output {
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{output}").and_then(|()| stdout.flush()).is_err() {
            // Nobody heard the result: the runtime must take it for a failure.
            return ExitCode::FAILURE;
        }
    }
    if outcome.success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
