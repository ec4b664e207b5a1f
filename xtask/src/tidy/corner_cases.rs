//! The pages of corner cases, of Services and of DNS: every test they name exists.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::Violation;
use super::tree::Tree;

/// Each page with the numbers of its cases.
const PAGES: [(&str, RangeInclusive<usize>); 2] =
    [("docs/reference/services-corner-cases.md", 1..=23), ("docs/reference/dns-corner-cases.md", 24..=34)];

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let tests: HashSet<&str> = tree.rust().flat_map(|file| file.text.lines().filter_map(function_name)).collect();
    let check = |(path, cases)| match tree.files.iter().find(|file| file.path == path) {
        Some(page) => check_page((path, &page.text), cases, &tests),
        None => vec![Violation::new(path, 0, "the page is missing")],
    };
    PAGES.into_iter().flat_map(check).collect()
}

fn check_page((path, page): (&str, &str), cases: RangeInclusive<usize>, tests: &HashSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut next = *cases.start();
    for (number, line) in (1..).zip(page.lines()) {
        let Some(case) = case_number(line) else { continue };
        if case != next {
            found.push(Violation::new(path, number, format!("case {next} was expected here")));
        }
        next = case + 1;
        for name in quoted(line).filter(|name| is_test_name(name) && !tests.contains(name)) {
            found.push(Violation::new(path, number, format!("there is no test `{name}`")));
        }
    }
    if next != cases.end() + 1 {
        found.push(Violation::new(path, 0, format!("cases {} to {} were expected", cases.start(), cases.end())));
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
        let found: Vec<String> =
            check_page(("page.md", page), 1..=23, &tests).iter().map(ToString::to_string).collect();
        let place = |line: usize, what: &str| format!("page.md:{line}: {what}");
        assert_eq!(
            found,
            [
                place(2, "case 2 was expected here"),
                place(2, "there is no test `other_test`"),
                "page.md: cases 1 to 23 were expected".to_owned(),
            ]
        );
    }
}
