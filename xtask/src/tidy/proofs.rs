//! Tables of the documentation whose last column is `Tests` say what proves each row. A test that was renamed
//! or removed is found here.

use std::collections::BTreeSet;

use super::Violation;
use super::tree::Tree;

/// Header of the column that names tests.
const COLUMN: &str = "Tests";

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let known = known(tree);
    let pages = tree.files.iter().filter(|file| file.path.starts_with("docs/") && file.path.ends_with(".md"));
    let mut found = Vec::new();
    for page in pages {
        let mut in_table = false;
        for (index, line) in page.text.lines().enumerate() {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            let last = cells.last().copied().unwrap_or_default();
            match line.starts_with('|') {
                false => in_table = false,
                true if last == COLUMN => in_table = true,
                true if in_table && !last.starts_with("---") => {
                    let names: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
                    if names.is_empty() {
                        found.push(Violation::new(&page.path, index + 1, "this row names no test"));
                    }
                    let unknown = names.into_iter().filter(|name| !known.contains(name));
                    found.extend(unknown.map(|name| {
                        Violation::new(&page.path, index + 1, format!("there is no test {name}: name one that exists"))
                    }));
                }
                true => {}
            }
        }
    }
    found
}

/// Functions of test code, and golden files without their ending.
fn known(tree: &Tree) -> BTreeSet<&str> {
    let functions = tree.rust().flat_map(|file| {
        file.code.lines().filter_map(|line| {
            let (_, rest) = line.split_once("fn ")?;
            Some(&rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?])
        })
    });
    let golden = tree.files.iter().filter(|file| file.path.contains("/tests/golden/"));
    functions.chain(golden.filter_map(|file| file.path.rsplit('/').next()?.rsplit_once('.').map(|(n, _)| n))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::File;
    use super::*;

    #[test]
    fn rows_name_tests_that_exist() {
        let page =
            "| What | Tests |\n|---|---|\n| a | `good`, `add-x` |\n| b | `gone` |\n| c | later |\n\n| b | `gone` |\n";
        let file = |path: &str, text: &str| File::new(path.into(), text.into());
        let tree = Tree {
            files: vec![
                file("docs/a.md", page),
                file("crates/x/tests/golden/add-x.json", "{}"),
                file("crates/x/tests/y.rs", "    fn good() {}\n"),
            ],
        };
        let lines: Vec<usize> = check(&tree).iter().map(|violation| violation.line).collect();
        assert_eq!(lines, [4, 5]);
    }
}
