//! The page of Services' corner cases: every test it names exists.

use std::collections::HashSet;

use super::Violation;
use super::tree::Tree;

const PAGE: &str = "docs/reference/services-corner-cases.md";
const CASES: usize = 23;

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(page) = tree.files.iter().find(|file| file.path == PAGE) else {
        return vec![Violation::new(PAGE, 0, "the page is missing")];
    };
    let tests: HashSet<&str> = tree.rust().flat_map(|file| file.text.lines().filter_map(function_name)).collect();
    check_page(&page.text, &tests)
}

fn check_page(page: &str, tests: &HashSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut next = 1;
    for (number, line) in (1..).zip(page.lines()) {
        let Some(case) = case_number(line) else { continue };
        if case != next {
            found.push(Violation::new(PAGE, number, format!("case {next} was expected here")));
        }
        next = case + 1;
        for name in quoted(line).filter(|name| is_test_name(name) && !tests.contains(name)) {
            found.push(Violation::new(PAGE, number, format!("there is no test `{name}`")));
        }
    }
    if next != CASES + 1 {
        found.push(Violation::new(PAGE, 0, format!("{CASES} cases were expected")));
    }
    found
}

fn case_number(line: &str) -> Option<usize> {
    line.strip_prefix("| ")?.split(' ').next()?.parse().ok()
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Several lower-case words; fields and values of objects are written otherwise.
fn is_test_name(name: &str) -> bool {
    name.contains('_') && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn function_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_not_there_and_a_case_that_is_missing_are_named() {
        let tests = HashSet::from(["one_test"]);
        let page = "| 1 | `Local` | `one_test` |\n| 3 | x | `other_test` |\n";
        let found: Vec<String> = check_page(page, &tests).iter().map(ToString::to_string).collect();
        let place = |line: usize, what: &str| format!("{PAGE}:{line}: {what}");
        assert_eq!(
            found,
            [
                place(2, "case 2 was expected here"),
                place(2, "there is no test `other_test`"),
                format!("{PAGE}: 23 cases were expected"),
            ]
        );
    }
}
