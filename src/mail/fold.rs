//! Writes a header field's value in lines of at most 78 characters (RFC 5322 section 2.1.1).

/// The longest line, its line end not counted.
const LINE_MAX: usize = 78;

/// Puts words behind one another with a space or, where the line is full, a fold between them. A word that is longer
/// than a line stands on a line of its own.
#[derive(Debug)]
pub struct Folder {
    text: String,
    column: usize,
}

impl Folder {
    /// Starts a value after `name`, the field's name with its colon. Neither it nor the space behind it is part of the
    /// result.
    pub fn after(name: &str) -> Self {
        Self { text: String::new(), column: name.len() }
    }

    /// Adds one word, or a few that are not to be broken apart.
    pub fn word(&mut self, word: &str) {
        let first = self.text.is_empty();
        if first || self.column + 1 + word.len() <= LINE_MAX {
            if !first {
                self.text.push(' ');
            }
            self.column += 1 + word.len();
        } else {
            self.text.push_str("\r\n\t");
            self.column = 1 + word.len();
        }
        self.text.push_str(word);
    }

    /// The value: words and folds, without the last line end.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_never_longer_than_they_may_be() {
        let mut folder = Folder::after("Name:");
        folder.word(&"a".repeat(72));
        folder.word("b");
        folder.word(&"c".repeat(75));
        folder.word("d");
        folder.word(&"e".repeat(100));
        let text = folder.finish();
        let lines: Vec<usize> = text.split("\r\n\t").map(str::len).collect();
        assert_eq!(lines, [72, 77, 1, 100]);
    }
}
