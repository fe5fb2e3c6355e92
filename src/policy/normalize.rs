//! One form for text and phrases, so that they can be compared byte by byte.
//!
//! NFKC, lower case, nothing invisible, straight apostrophes, every run of spaces and punctuation one space; the end of
//! a sentence is ` . `, so that a phrase never reaches from one sentence into the next. Greek goes without its accents
//! and its final sigma, Russian without its ё, since capitals and hurried writers leave them out. Turkish has one i,
//! Arabic script the same letters for all its languages and no vowel signs, and digits are those of ASCII.

use std::str::Chars;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, Recompositions, UnicodeNormalization, is_nfkc_quick};

/// What was noticed while normalising.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// How many letters and digits there were.
    pub letters: usize,
    /// The same, each counted as many times as its script takes octets to write a letter.
    pub octets: usize,
    /// A word mixes letters of scripts that look alike.
    pub mixed_script: bool,
}

/// Appends the normal form of `text` to `out`; no space at its end.
pub(super) fn normalize_into(out: &mut String, text: &str) -> Noticed {
    let start = out.len();
    let mut writer = Writer { out, start, word: Scripts::default(), noticed: Noticed::default() };
    if text.is_ascii() {
        writer.push_ascii(text);
    } else {
        let shown = Composed { rest: text, run: None }.filter(|&c| !is_invisible(c) && !is_optional_mark(c));
        let mut chars = shown.map(unify).map(ascii_digit).peekable();
        while let Some(c) = chars.next() {
            writer.push(c, chars.peek().copied());
        }
    }
    writer.unmask();
    let noticed = writer.noticed;
    if out.len() > start && out.ends_with(' ') {
        out.pop();
    }
    noticed
}

/// The letters of a text in NFKC. Most letters are in that form already and stay as they are, which is much faster than
/// to take all of them apart and put them together again.
struct Composed<'a> {
    rest: &'a str,
    /// Letters that need it, or that may be joined with what follows them.
    run: Option<Recompositions<Chars<'a>>>,
}

impl Iterator for Composed<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(run) = &mut self.run {
            if let Some(c) = run.next() {
                return Some(c);
            }
            self.run = None;
        }
        if let [first, second, ..] = self.rest.as_bytes()
            && first.is_ascii()
            && second.is_ascii()
        {
            self.rest = &self.rest[1..];
            return Some(char::from(*first));
        }
        let mut letters = self.rest.char_indices();
        let (_, first) = letters.next()?;
        let stays = is_stable(first);
        let end = letters.find(|&(_, c)| is_stable(c)).map_or(self.rest.len(), |(at, _)| at);
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        if stays && run.len() == first.len_utf8() {
            return Some(first);
        }
        self.run.insert(run.nfkc()).next()
    }
}

/// Whether the letter is its own normal form, whatever stands before it. What stands after it may still join it.
fn is_stable(c: char) -> bool {
    match c {
        // The letters of most mail.
        '\0'..='\u{7f}'
        | '\u{c0}'..='\u{131}'
        | '\u{391}'..='\u{3ce}'
        | '\u{400}'..='\u{482}'
        | '\u{5d0}'..='\u{5ea}'
        | '\u{621}'..='\u{63a}'
        | '\u{641}'..='\u{64a}'
        | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fe}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' => true,
        _ => canonical_combining_class(c) == 0 && is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes,
    }
}

/// The normal form of `text`.
pub(super) fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    normalize_into(&mut out, text);
    out
}

/// The text in the letters that a person takes it for: full-width and other forms made plain, nothing invisible.
pub fn plain_letters(text: &str) -> String {
    text.nfkc().filter(|&c| !is_invisible(c)).collect()
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
            self.out.extend(c.to_lowercase().map(fold));
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
            self.end_sentence();
        } else {
            self.space();
        }
    }

    /// All of a text that is ASCII. It is in NFKC, and no letter in it is taken for one of another script.
    fn push_ascii(&mut self, text: &str) {
        let mut inside_word = false;
        let mut at = 0;
        while let Some(&octet) = text.as_bytes().get(at) {
            let rest = &text.as_bytes()[at + 1..];
            let next_is_word = || rest.first().is_some_and(u8::is_ascii_alphanumeric);
            match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                    // Words are copied whole.
                    let more = rest.iter().take_while(|octet| octet.is_ascii_alphanumeric()).count();
                    let word = self.out.len();
                    self.out.push_str(&text[at..=at + more]);
                    self.out[word..].make_ascii_lowercase();
                    self.noticed.letters += 1 + more;
                    inside_word = true;
                    at += more;
                }
                b'\'' | b'`' if inside_word && next_is_word() => self.out.push('\''),
                b'.' | b'!' | b'?' if !next_is_word() => {
                    self.end_sentence();
                    inside_word = false;
                }
                _ => {
                    self.gap();
                    inside_word = false;
                }
            }
            at += 1;
        }
        self.noticed.octets = self.noticed.letters;
    }

    fn letter(&mut self, c: char) {
        self.noticed.letters += 1;
        self.noticed.octets += octets_a_letter(c);
        self.word.add(c);
        self.noticed.mixed_script |= self.word.look_alike();
    }

    /// A word with letters of another script that look like its own is read as a person reads it, so that what speaks
    /// against a message can't be hidden that way.
    fn unmask(&mut self) {
        if !self.word.look_alike() {
            return;
        }
        let from = self.out[self.start..].rfind([' ', '\'']).map_or(self.start, |at| self.start + at + 1);
        let word = self.out.split_off(from);
        let latin = word.chars().filter(|c| matches!(c, 'a'..='z' | '\u{c0}'..='\u{24f}')).count();
        let script = if latin * 2 >= word.chars().count() { Script::Latin } else { Script::Other };
        self.out.extend(word.chars().map(|c| look_alike_in(script, c)));
    }

    fn space(&mut self) {
        self.unmask();
        self.word = Scripts::default();
        self.gap();
    }

    fn gap(&mut self) {
        if self.out.len() > self.start && !self.out.ends_with(' ') {
            self.out.push(' ');
        }
    }

    fn end_sentence(&mut self) {
        self.gap();
        if self.out.len() > self.start && !self.out.ends_with(". ") {
            self.out.push_str(". ");
        }
    }
}

/// The letter of `to` that a letter of another script looks like.
fn look_alike_in(to: Script, c: char) -> char {
    const PAIRS: [(&str, &str); 2] =
        [("acehikmoptxyjsbnd", "асеһікмортхујѕвнԁ"), ("aikmnoptuvxyeh", "αικμηορτυνχγεη")];
    let pair = |(latin, other): &(&str, &str)| match to {
        Script::Latin => other.chars().position(|found| found == c).and_then(|at| latin.chars().nth(at)),
        Script::Other => latin.chars().position(|found| found == c).and_then(|at| other.chars().nth(at)),
    };
    PAIRS.iter().find_map(pair).unwrap_or(c)
}

/// Which script a word is written in, when it borrows letters of another.
#[derive(Clone, Copy)]
enum Script {
    Latin,
    Other,
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

/// How many octets a letter of the script of `c` takes. One where a letter says more than a Latin one does.
pub(super) fn octets_a_letter(c: char) -> usize {
    match c {
        '\u{370}'..='\u{7ff}' => 2,
        '\u{800}'..='\u{eff}' => 3,
        _ => 1,
    }
}

/// Whether words in the script of `c` are written together, or go on with endings at will, as in Korean.
pub(super) fn is_unspaced(c: char) -> bool {
    is_ideographic(c)
        || matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Chinese and Japanese, where a line may end inside a word.
pub(super) fn is_ideographic(c: char) -> bool {
    matches!(c,
        '\u{3005}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

/// Lower-case letters that are written in two ways become one.
fn fold(c: char) -> char {
    match c {
        'ά' => 'α',
        'έ' => 'ε',
        'ή' => 'η',
        'ί' | 'ϊ' | 'ΐ' => 'ι',
        'ό' => 'ο',
        'ύ' | 'ϋ' | 'ΰ' => 'υ',
        'ώ' => 'ω',
        'ς' => 'σ',
        'ё' => 'е',
        // Romanian writes a comma below two letters, and, where a font or a keyboard lacks them, a cedilla.
        'ş' => 'ș',
        'ţ' => 'ț',
        _ => c,
    }
}

/// Letters that stand for one another become one, whichever their case.
fn unify(c: char) -> char {
    match c {
        // Lower-casing knows no Turkish: I would become i, and İ an i with a dot more.
        'İ' | 'ı' => 'i',
        // Arabic letters: with and without hamza, and as keyboards for Persian and Urdu write them.
        'أ' | 'إ' | 'آ' | 'ٱ' => 'ا',
        'ى' | 'ی' => 'ي',
        'ک' => 'ك',
        'ة' | 'ۀ' | 'ہ' => 'ه',
        '\u{5f3}' => '\'',
        // Hindi writes one nasal sign for the other.
        '\u{901}' => '\u{902}',
        _ => c,
    }
}

/// The ASCII digit for a decimal digit of another script.
pub(super) fn ascii_digit(c: char) -> char {
    const ZEROS: [char; 5] = ['\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{ff10}'];
    if c < ZEROS[0] {
        return c;
    }
    let value = |zero: char| u32::from(c).checked_sub(u32::from(zero)).filter(|&value| value < 10);
    ZEROS.into_iter().find_map(value).and_then(|value| char::from_digit(value, 10)).unwrap_or(c)
}

/// Marks that careful writers set and others leave out: the dot of a lower-case İ, the points of Hebrew, the vowel
/// signs and the stretching line of Arabic, the dot under letters of Hindi. And lines under, over and through letters, and
/// rings around them, which are decoration.
fn is_optional_mark(c: char) -> bool {
    matches!(c,
        '\u{305}' | '\u{307}' | '\u{332}'..='\u{338}' | '\u{33f}' | '\u{20d0}'..='\u{20f0}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}'
            | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}' | '\u{93c}')
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '\u{60}' | '\u{b4}' | '\u{2032}')
}

fn is_sentence_end(c: char, next: Option<char>) -> bool {
    match c {
        '.' => next.is_none_or(|next| !next.is_alphanumeric()),
        '!' | '?' => next.is_none_or(|next| !next.is_alphanumeric() || is_unspaced(next)),
        '\u{3002}' | '\u{61f}' | '\u{6d4}' | '\u{964}' | '\u{965}' | '\u{37e}' => true,
        _ => false,
    }
}

/// Whether nothing is shown for `c`.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
#[path = "normalize_tests.rs"]
mod tests;
