//! Aligned columns in the manner of `kubectl get`: upper-case headings, three
//! spaces between columns, no lines, nothing after the last column.

/// Spaces between columns.
const GAP: usize = 3;

/// Renders rows under headings. Each row has as many cells as there are headings.
pub(crate) fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| width_of(heading)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(width_of(cell));
        }
    }
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - width_of(cell) + GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Characters that are seen: colours take no room.
fn width_of(cell: &str) -> usize {
    let mut in_escape = false;
    let seen = |character: &char| {
        let hidden = in_escape || *character == '\x1b';
        in_escape = hidden && *character != 'm';
        !hidden
    };
    cell.chars().filter(seen).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_in_text() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["longer".into(), String::new()]];
        assert_eq!(render(&["NAME", "COUNT"], &rows), "NAME     COUNT\na        1\nlonger\n");
    }
}
