//! Error ids: each stands once in the code, in the range of its crate, and has
//! a row in `docs/reference/errors/`.

use std::collections::BTreeMap;

use super::Violation;
use super::tree::{File, Tree};

/// Crate folder and the hundreds of its ids; the same list as in `model::diagnosis`.
const RANGES: &[(&str, u16)] = &[
    ("model", 1),
    ("routing", 2),
    ("datapath", 3),
    ("kubeapi", 4),
    ("runtime", 5),
    ("agent", 6),
    ("cni", 7),
    ("cli", 8),
    ("lab", 9),
    ("controller", 10),
];
const PAGES: &str = "docs/reference/errors/";

/// Where an id was seen.
type Places = BTreeMap<u16, Vec<(String, usize)>>;

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut code = Places::new();
    for file in tree.rust() {
        for (id, line) in ids_in_code(file) {
            if let Some(message) = file.crate_folder().and_then(|folder| out_of_range(folder, id)) {
                found.push(Violation::new(&file.path, line, message));
            }
            code.entry(id).or_default().push((file.path.clone(), line));
        }
    }
    let mut pages = Places::new();
    for file in tree.files.iter().filter(|file| file.path.starts_with(PAGES)) {
        for (id, line) in ids_in_page(&file.text) {
            pages.entry(id).or_default().push((file.path.clone(), line));
        }
    }
    found.extend(repeated(&code, "id stands for another error already"));
    found.extend(repeated(&pages, "id has a row already"));
    found.extend(missing(&code, &pages, "has no row in docs/reference/errors/"));
    found.extend(missing(&pages, &code, "is no error of the code any more; remove the row"));
    found
}

fn out_of_range(folder: &str, id: u16) -> Option<String> {
    let (_, hundreds) = RANGES.iter().find(|(name, _)| *name == folder)?;
    (id / 100 != *hundreds).then(|| format!("SW{id:04} is outside SW{hundreds:02}xx, the range of `{folder}`"))
}

fn repeated(places: &Places, message: &str) -> Vec<Violation> {
    let again = places.iter().flat_map(|(id, seen)| seen.iter().skip(1).map(move |place| (id, place)));
    again.map(|(id, (path, line))| Violation::new(path, *line, format!("SW{id:04}: {message}"))).collect()
}

fn missing(here: &Places, there: &Places, message: &str) -> Vec<Violation> {
    let lacking = here.iter().filter(|(id, _)| !there.contains_key(id));
    let first = lacking.filter_map(|(id, seen)| seen.first().map(|place| (id, place)));
    first.map(|(id, (path, line))| Violation::new(path, *line, format!("SW{id:04} {message}"))).collect()
}

/// Number literals in the bodies of `fn id(&self) -> ErrorId`, and of `ErrorId(…)` elsewhere.
fn ids_in_code(file: &File) -> Vec<(u16, usize)> {
    let mut found = Vec::new();
    let mut depth_in_id: Option<i32> = None;
    for (number, line) in file.tested_lines() {
        if depth_in_id.is_none() && line.contains("fn id(&self) -> ErrorId {") {
            depth_in_id = Some(0);
        }
        if let Some(depth) = depth_in_id {
            found.extend(numbers(line).map(|id| (id, number)));
            let opened = line.matches('{').count() as i32 - line.matches('}').count() as i32;
            depth_in_id = (depth + opened > 0).then_some(depth + opened);
        } else {
            let literals = line.match_indices("ErrorId(").filter_map(|(at, name)| line.get(at + name.len()..));
            found.extend(literals.filter_map(leading_number).map(|id| (id, number)));
        }
    }
    found
}

/// Numbers of three or four digits that are no part of a name.
fn numbers(line: &str) -> impl Iterator<Item = u16> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| (3..=4).contains(&word.len())).filter_map(|word| word.parse().ok())
}

fn leading_number(text: &str) -> Option<u16> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Ids that start a table row.
fn ids_in_page(text: &str) -> impl Iterator<Item = (u16, usize)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let id = line.strip_prefix("| SW")?.split(' ').next()?.parse().ok()?;
        Some((id, index + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(code: &str, page: &str) -> Vec<String> {
        let files = vec![
            File::new("crates/cli/src/error.rs".into(), code.into()),
            File::new("docs/reference/errors/cli.md".into(), page.into()),
        ];
        check(&Tree { files }).into_iter().map(|violation| violation.message).collect()
    }

    const CODE: &str = "impl Diagnose for E {
    fn id(&self) -> ErrorId {
        ErrorId(match self {
            Self::A { .. } => 801,
            Self::B { .. } => 802,
        })
    }
    fn fix(&self) -> String { format!(\"at most {}\", 803) }
}
";

    #[test]
    fn code_and_pages_agree() {
        assert!(messages(CODE, "| SW0801 | a |\n| SW0802 | b |\n").is_empty());
        assert_eq!(messages(CODE, "| SW0801 | a |\n"), ["SW0802 has no row in docs/reference/errors/"]);
        let stale = messages(CODE, "| SW0801 |\n| SW0802 |\n| SW0809 |\n");
        assert_eq!(stale, ["SW0809 is no error of the code any more; remove the row"]);
    }

    #[test]
    fn ids_are_unique_and_in_range() {
        let twice = CODE.to_owned() + "const X: ErrorId = ErrorId(802);\n";
        assert_eq!(messages(&twice, "| SW0801 |\n| SW0802 |\n"), ["SW0802: id stands for another error already"]);
        let strange = messages("const X: ErrorId = ErrorId(901);\n", "| SW0901 |\n");
        assert_eq!(strange, ["SW0901 is outside SW08xx, the range of `cli`"]);
    }
}
