//! Programs are really built from the pinned module files. Needs Go, and says so.

use seaway_lab::cluster::programs::{ModuleSet, ProgramSource, Programs};

#[test]
fn a_program_is_built_once_from_its_module_file() {
    let cache = tempfile::tempdir().unwrap();
    let source = ProgramSource { release_directory: None, cache_directory: cache.path().to_owned() };
    let mut lines = Vec::new();
    let programs = Programs::find(&["cnitool"], &source, &mut |line| lines.push(line.to_owned())).unwrap();
    let path = programs.path("cnitool").unwrap();
    assert!(std::process::Command::new(path).output().is_ok(), "{} runs", path.display());
    assert!(lines.first().unwrap().contains("building cnitool"), "{lines:?}");
    let left: Vec<_> = std::fs::read_dir(source.directory_of(ModuleSet::Cni)).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "nothing but the program stays: {left:?}");
    Programs::find(&["cnitool"], &source, &mut |line| panic!("built again: {line}")).unwrap();
}
