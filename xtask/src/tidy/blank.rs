//! Blanks comments and literals of Rust code, so that a search finds code only.

/// The text with every comment, string and character literal replaced by
/// spaces. Line breaks stay, so line numbers do too.
pub(crate) fn blank(text: &str) -> String {
    let mut scanner = Scanner { rest: text, code: String::with_capacity(text.len()) };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.code
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

// === impl Scanner ===

impl Scanner<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(length);
        } else if self.rest.starts_with("/*") {
            let length = block_comment_length(self.rest);
            self.blank(length);
        } else if let Some(length) = raw_string_length(self.rest).filter(|_| !self.in_word()) {
            self.blank(length);
        } else if self.rest.starts_with('"') {
            let length = quoted_length(self.rest, '"');
            self.blank(length);
        } else if let Some(length) = character_length(self.rest) {
            self.blank(length);
        } else {
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            let (kept, rest) = self.rest.split_at(length);
            self.code.push_str(kept);
            self.rest = rest;
        }
    }

    /// Whether the last character kept belongs to a name, so that an `r` now does not start a literal.
    fn in_word(&self) -> bool {
        self.code.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
    }

    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.code.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

/// Block comments nest in Rust.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`.
fn raw_string_length(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"')))?;
    let rest = text.strip_prefix(prefix)?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let opening = prefix.len() + hashes + 1;
    let closing = format!("\"{}", "#".repeat(hashes));
    let inside = text.get(opening..)?;
    Some(inside.find(&closing).map_or(text.len(), |end| opening + end + closing.len()))
}

/// Length of a literal that starts and ends with `quote` and may hold escapes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return index + 1;
        }
    }
    text.len()
}

/// Length of a character literal; `None` for a lifetime.
fn character_length(text: &str) -> Option<usize> {
    let mut characters = text.strip_prefix('\'')?.chars();
    match characters.next()? {
        '\\' => Some(quoted_length(text, '\'')),
        character if characters.next() == Some('\'') => Some(character.len_utf8() + 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_go_and_lines_stay() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("a \" b") g"#, "f(        ) g"),
            ("r#\"x \" y\"# z", "           z"),
            ("br\"x\" z", "      z"),
            ("for\"x\"", "for   "),
            ("'a' 'x b: &'a str", "    'x b: &'a str"),
            (r"'\'' c '\u{1F600}' d", "     c             d"),
            ("\"a\nb\" c", "  \n   c"),
        ];
        for (text, expected) in cases {
            assert_eq!(blank(text), expected, "{text}");
        }
    }
}
