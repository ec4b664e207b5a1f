//! Manners of a command-line program: its name, colour, errors, and readers
//! that stop reading.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use seaway_model::Diagnose;
use seaway_model::diagnosis::Report;

/// The name to show in usage lines. As `kubectl-seaway` on the PATH the program
/// is a kubectl plugin, and people call it `kubectl seaway`.
pub(crate) fn name_called_by() -> &'static str {
    let program = std::env::args_os().next();
    let name = program.as_deref().and_then(|path| Path::new(path).file_name());
    if name.is_some_and(|name| name == "kubectl-seaway") { "kubectl seaway" } else { "seaway" }
}

/// Colour only for people: standard output is a terminal and `NO_COLOR` is unset (no-color.org).
pub(crate) fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error with its id, cause and fix.
pub(crate) fn report(error: &dyn Diagnose) -> ExitCode {
    eprintln!("{}", Report(error));
    ExitCode::FAILURE
}

/// The exit code of an outcome; an error is printed.
pub(crate) fn finish<E: Diagnose>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// `println!` panics when the reader of a pipe has gone (`seaway lab list | head -1`).
/// That is no defect: end as if all had been written.
pub(crate) fn end_quietly_when_the_reader_goes() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(0);
        }
        default(panic);
    }));
}
