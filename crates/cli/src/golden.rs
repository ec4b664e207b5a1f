//! Golden files: what a verb prints, kept beside the code in `golden/`.
//! `SEAWAY_REWRITE_GOLDEN=1 cargo test -p seaway-cli` writes them anew.

use std::path::Path;

/// Fails when `actual` differs from the file `golden/NAME`.
pub(crate) fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(name);
    if std::env::var_os("SEAWAY_REWRITE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{} is not what is printed now", path.display());
}
