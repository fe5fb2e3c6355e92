//! One form for text and phrases, so that they can be compared byte by byte.
//!
//! NFKC, lower case, nothing invisible, straight apostrophes, every run of spaces and punctuation one space; the end of
//! a sentence is ` . `, so that a phrase never reaches from one sentence into the next.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What was noticed while normalising.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// How many letters and digits there were.
    pub letters: usize,
    /// A word mixes letters of scripts that look alike.
    pub mixed_script: bool,
}

/// Appends the normal form of `text` to `out`; no space at its end.
pub(super) fn normalize_into(out: &mut String, text: &str) -> Noticed {
    let start = out.len();
    let mut writer = Writer { out, start, word: Scripts::default(), noticed: Noticed::default() };
    if text.is_ascii() {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            writer.push(c, chars.peek().copied());
        }
    } else {
        let mut chars = text.nfkc().filter(|&c| !is_invisible(c)).peekable();
        while let Some(c) = chars.next() {
            writer.push(c, chars.peek().copied());
        }
    }
    let noticed = writer.noticed;
    if out.len() > start && out.ends_with(' ') {
        out.pop();
    }
    noticed
}

/// The normal form of `text`.
pub(super) fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    normalize_into(&mut out, text);
    out
}

struct Writer<'a> {
    out: &'a mut String,
    start: usize,
    word: Scripts,
    noticed: Noticed,
}

impl Writer<'_> {
    fn push(&mut self, c: char, next: Option<char>) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c.to_ascii_lowercase());
            self.letter(c);
        } else if !c.is_ascii() && (c.is_alphanumeric() || is_combining_mark(c)) {
            // Lower-casing may bring a dot above (Turkish İ); phrases go the same way.
            self.out.extend(c.to_lowercase());
            self.letter(c);
        } else if is_apostrophe(c) {
            let inside = !self.word.is_empty() && next.is_some_and(char::is_alphanumeric);
            if inside {
                self.out.push('\'');
            } else {
                self.space();
            }
        } else if is_sentence_end(c, next) {
            self.space();
            if self.out.len() > self.start && !self.out.ends_with(". ") {
                self.out.push_str(". ");
            }
        } else {
            self.space();
        }
    }

    fn letter(&mut self, c: char) {
        self.noticed.letters += 1;
        self.word.add(c);
        self.noticed.mixed_script |= self.word.look_alike();
    }

    fn space(&mut self) {
        self.word = Scripts::default();
        if self.out.len() > self.start && !self.out.ends_with(' ') {
            self.out.push(' ');
        }
    }
}

/// The scripts of the letters of one word.
#[derive(Default)]
struct Scripts {
    letters: usize,
    latin: bool,
    cyrillic: bool,
    greek: bool,
}

impl Scripts {
    fn add(&mut self, c: char) {
        self.letters += 1;
        match c {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => self.latin = true,
            // The Greek letter mu stands for "micro" in Latin words.
            '\u{3bc}' => {}
            '\u{370}'..='\u{3ff}' => self.greek = true,
            '\u{400}'..='\u{52f}' => self.cyrillic = true,
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        self.letters == 0
    }

    fn look_alike(&self) -> bool {
        usize::from(self.latin) + usize::from(self.cyrillic) + usize::from(self.greek) > 1
    }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '\u{60}' | '\u{b4}' | '\u{2032}')
}

fn is_sentence_end(c: char, next: Option<char>) -> bool {
    match c {
        '.' | '!' | '?' => next.is_none_or(|next| !next.is_alphanumeric()),
        '\u{3002}' | '\u{61f}' | '\u{6d4}' | '\u{964}' | '\u{965}' | '\u{37e}' => true,
        _ => false,
    }
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_text_become_one() {
        for text in [
            "Didn’t you sign-in?  E-MAIL",
            "didn't you \"sign in\"?\te-mail",
            "DIDN\u{2018}T you *sign_in*?! (e\u{2010}mail)",
            "di\u{200b}dn't you si\u{ad}gn in? e mail\u{feff}",
            "ｄidn't you ｓign in? e mail",
        ] {
            assert_eq!(normalize(text), "didn't you sign in . e mail", "{text}");
        }
        assert_eq!(normalize("cafe\u{301} CAFÉ"), "café café");
        assert_eq!(normalize("v1.2 at example.com. Bye."), "v1 2 at example com . bye .");
        assert_eq!(normalize("確認してください。次"), "確認してください . 次");
    }

    #[test]
    fn look_alike_letters_are_noticed() {
        let noticed = |text: &str| normalize_into(&mut String::new(), text).mixed_script;
        assert!(noticed("unsub\u{441}ribe"));
        assert!(!noticed("SMS-\u{43a}\u{43e}\u{434}, 10 \u{b5}s"));
        assert!(!noticed("naïve Übung"));
    }
}
