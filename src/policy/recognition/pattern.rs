//! Phrases as a translator writes them, expanded to the plain pieces that are looked for.
//!
//! - `(a|b|)` stands for `a`, `b` or nothing; groups may nest.
//! - `{word}` stands for any of the words listed under that name in the file's `[words]`.
//! - `*` stands for up to six words or so in between, `+` for up to two, within one sentence; outside of brackets.
//! - `~` at an edge of a word lets the word go on there: `passwor~` is found in "password". Scripts that write words
//!   together, and Korean, whose words take endings and are joined at will, need none.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::super::normalize::{is_unspaced, normalize, octets_a_letter};

/// The most plain phrases one written phrase may stand for.
const EXPANSIONS_MAX: usize = 400;
const NESTING_MAX: usize = 8;
/// What `*` and `+` stand for, in octets of normalised text; as many times that in scripts that take more octets.
const WIDE_GAP: usize = 44;
const NARROW_GAP: usize = 16;

/// Steps that follow one another, with a few words between them at most. Each step is any of its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phrase {
    pub steps: Vec<Step>,
}

impl Phrase {
    /// Lets every piece stand without its accents too, as it is often written.
    pub(super) fn also_without_marks(&mut self) {
        for Step { pieces, .. } in &mut self.steps {
            let bare = pieces.iter().map(|piece| Piece { text: without_marks(&piece.text), ..piece.clone() });
            pieces.extend(bare.collect::<Vec<_>>());
            pieces.sort();
            pieces.dedup();
        }
    }
}

fn without_marks(text: &str) -> String {
    text.nfd().filter(|&c| !is_combining_mark(c)).collect()
}

/// What comes next in a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// How far after the step before it may stand, in octets of normalised text.
    pub gap: usize,
    pub pieces: Vec<Piece>,
}

/// Text to be found as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub text: String,
    /// A word has to begin where the piece begins.
    pub from_word_start: bool,
    /// A word has to end where the piece ends.
    pub to_word_end: bool,
}

/// The phrase that `written` stands for.
pub(super) fn parse(written: &str, words: &BTreeMap<String, Vec<String>>) -> Result<Phrase, String> {
    let mut steps = Vec::new();
    for wide in split_top(written, '*') {
        let mut gap = WIDE_GAP;
        for narrow in split_top(wide, '+') {
            // A gap at the beginning or the end says nothing.
            if !narrow.trim().is_empty() {
                steps.push(Step { gap, pieces: pieces(narrow, words)? });
            }
            gap = NARROW_GAP;
        }
    }
    if steps.is_empty() {
        return Err(format!("the phrase {written:?} may be empty"));
    }
    let letters = steps.iter().flat_map(|step| &step.pieces).flat_map(|piece| piece.text.chars());
    let octets = letters.map(octets_a_letter).max().unwrap_or(1);
    for step in &mut steps {
        step.gap *= octets;
    }
    Ok(Phrase { steps })
}

fn pieces(step: &str, words: &BTreeMap<String, Vec<String>>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    for plain in alternatives(step, words, 0)? {
        if plain.contains(['*', '+']) {
            return Err(format!("a gap stands inside brackets in {step:?}"));
        }
        pieces.push(piece(&plain).ok_or_else(|| format!("the phrase {step:?} may be empty"))?);
    }
    pieces.sort();
    pieces.dedup();
    Ok(pieces)
}

fn piece(plain: &str) -> Option<Piece> {
    let plain = plain.trim();
    let inner = plain.trim_matches('~');
    let text = normalize(inner);
    let first = text.chars().next()?;
    let last = text.chars().next_back()?;
    Some(Piece {
        from_word_start: !plain.starts_with('~') && !is_unspaced(first),
        to_word_end: !plain.ends_with('~') && !is_unspaced(last),
        text,
    })
}

/// Writes out groups and words.
fn alternatives(
    written: &str,
    words: &BTreeMap<String, Vec<String>>,
    depth: usize,
) -> Result<Vec<String>, String> {
    if depth > NESTING_MAX {
        return Err(format!("{written:?} is nested too deep"));
    }
    let Some(at) = written.find(['(', '{']) else {
        return Ok(vec![written.to_owned()]);
    };
    let end = closing(written, at).ok_or_else(|| format!("a bracket is not closed in {written:?}"))?;
    let inner = &written[at + 1..end];
    let middles = if written[at..].starts_with('{') {
        let listed = words.get(inner).ok_or_else(|| format!("there is no word list {inner:?}"))?;
        expand_all(listed.iter().map(String::as_str), words, depth)?
    } else {
        expand_all(split_top(inner, '|').into_iter(), words, depth)?
    };
    let tails = alternatives(&written[end + 1..], words, depth)?;
    if middles.len() * tails.len() > EXPANSIONS_MAX {
        return Err(format!("{written:?} stands for more than {EXPANSIONS_MAX} phrases"));
    }
    let head = &written[..at];
    Ok(middles
        .iter()
        .flat_map(|middle| tails.iter().map(move |tail| format!("{head}{middle}{tail}")))
        .collect())
}

fn expand_all<'a>(
    parts: impl Iterator<Item = &'a str>,
    words: &BTreeMap<String, Vec<String>>,
    depth: usize,
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for part in parts {
        all.extend(alternatives(part, words, depth + 1)?);
    }
    Ok(all)
}

/// Where the bracket that opens at `at` is closed.
fn closing(written: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, c) in written[at..].char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits at each `separator` that stands in no inner bracket.
fn split_top(inner: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, c) in inner.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(written: &str) -> Result<Vec<String>, String> {
        let words = BTreeMap::from([("your".to_owned(), vec!["your".to_owned(), "(the|a) new".to_owned()])]);
        let join =
            |step: &Step| step.pieces.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(", ");
        Ok(parse(written, &words)?.steps.iter().map(join).collect())
    }

    #[test]
    fn phrases_are_written_out() {
        assert_eq!(
            texts("Reset {your} (pass-word|PIN)").unwrap(),
            ["reset a new pass word, reset a new pin, reset the new pass word, reset the new pin, \
              reset your pass word, reset your pin"]
        );
        assert_eq!(texts("verify * (your |)email + now *").unwrap(), ["verify", "email, your email", "now"]);
    }

    #[test]
    fn phrases_may_stand_without_marks() {
        let mut phrase = parse("(așteaptă|cere) + cont", &BTreeMap::new()).unwrap();
        phrase.also_without_marks();
        let texts: Vec<_> = phrase.steps[0].pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(texts, ["asteapta", "așteaptă", "cere"]);
    }

    #[test]
    fn gaps_are_as_many_words_wide_in_every_script() {
        let gap = |written: &str| parse(written, &BTreeMap::new()).unwrap().steps[1].gap;
        assert_eq!(gap("reset * password"), WIDE_GAP);
        assert_eq!(gap("сбросить * пароль"), 2 * WIDE_GAP);
        assert_eq!(gap("e-mail + αλλαγή"), 2 * NARROW_GAP);
        assert_eq!(gap("確認 * コード"), WIDE_GAP);
    }

    #[test]
    fn mistakes_are_told() {
        for (written, problem) in [
            ("(a|b", "not closed"),
            ("{no}", "no word list"),
            ("(a|)", "may be empty"),
            ("*", "may be empty"),
            ("(a*b|c)", "inside brackets"),
            ("((((((((((a))))))))))", "too deep"),
        ] {
            assert!(texts(written).unwrap_err().contains(problem), "{written}");
        }
        assert!(texts(&"(a|b|c|d)".repeat(8)).unwrap_err().contains("more than"));
    }

    #[test]
    fn words_go_on_where_the_phrase_says_so() {
        let piece =
            |written: &str| parse(written, &BTreeMap::new()).unwrap().steps.remove(0).pieces.remove(0);
        assert!(piece("code").from_word_start && piece("code").to_word_end);
        assert!(
            piece("~wort~").text == "wort" && !piece("~wort").from_word_start && !piece("wort~").to_word_end
        );
        assert!(!piece("確認").from_word_start && !piece("確認").to_word_end);
    }
}
