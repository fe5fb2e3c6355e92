//! Finding what may be a one-time code in a line of text.
//!
//! A number alone means nothing; that is for the words near it to say. So this is generous with what stands alone on
//! its line or after a colon, and strict with what stands inside a sentence.

use std::borrow::Cow;

use super::normalize::{ascii_digit, is_invisible, is_unspaced};

/// Something that may be a code.
pub(super) struct Found {
    /// Where it begins, as a byte offset into its line.
    pub at: usize,
    /// As it would be typed: in ASCII, and digits without the gaps and dashes between them.
    pub code: String,
}

/// Where in `line` something stands that may be a code: byte offsets of its start.
#[cfg(test)]
pub(super) fn codes(line: &str) -> Vec<usize> {
    found(line).into_iter().map(|found| found.at).collect()
}

/// What in `line` may be a code, in the order of the line.
pub(super) fn found(line: &str) -> Vec<Found> {
    // Without a digit, only what has the line to itself may be a code.
    if !has_digit(line) && has_two_words(line) {
        return Vec::new();
    }
    let words = words(line);
    let whole: Vec<&str> = words.iter().map(|(_, word)| trim(word)).filter(|word| !word.is_empty()).collect();
    if let Some(&(at, _)) = words.first()
        && whole.len() <= 9
        && is_spelled_out(&whole)
    {
        return vec![Found { at, code: whole.concat() }];
    }
    let mut found = Vec::new();
    for (index, (at, word)) in words.iter().enumerate() {
        let after_colon =
            index.checked_sub(1).is_some_and(|before| words[before].1.ends_with([':', '\u{ff1a}']));
        let place = match () {
            () if whole.len() == 1 => Place::Alone,
            () if after_colon => Place::AfterColon,
            () => Place::InSentence,
        };
        let pair = words.get(index + 1).map(|(_, next)| (trim(word), trim(next)));
        let halves = pair.filter(|(one, two)| is_half(one) && is_half(two) && one.len() == two.len());
        let code = match halves {
            Some((one, two)) => Some([one, two].concat()),
            None if is_code(trim(word), place) => Some(typed(trim(word))),
            None => code_after_inner_colon(word).map(typed),
        };
        found.extend(code.map(|code| Found { at: *at, code }));
    }
    found
}

/// Dashes between digits are there to be read, and not to be typed; beside letters nobody can tell.
fn typed(code: &str) -> String {
    let digits = code.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if digits { code.replace('-', "") } else { code.to_owned() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Alone,
    AfterColon,
    InSentence,
}

fn has_digit(line: &str) -> bool {
    line.bytes().any(|byte| byte.is_ascii_digit())
        || !line.is_ascii() && line.chars().any(|c| !c.is_ascii() && ascii_digit(c) != c)
}

fn has_two_words(line: &str) -> bool {
    let words = line.split_whitespace().flat_map(|word| {
        // Hardly any word has to be cut.
        let whole = word.is_ascii().then_some(word);
        let pieces = if whole.is_some() { Vec::new() } else { cut(word) };
        whole.map(Cow::Borrowed).into_iter().chain(pieces.into_iter().map(|(_, piece)| plain(piece)))
    });
    words.filter(|word| !trim(word).is_empty()).nth(1).is_some()
}

/// The words of `line` and where they begin, without the marks that steer the direction of writing, in ASCII digits.
fn words(line: &str) -> Vec<(usize, Cow<'_, str>)> {
    let base = line.as_ptr() as usize;
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let start = word.as_ptr() as usize - base;
        if word.is_ascii() {
            words.push((start, Cow::Borrowed(word)));
        } else {
            words.extend(cut(word).into_iter().map(|(at, piece)| (start + at, plain(piece))));
        }
    }
    words
}

fn plain(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return Cow::Borrowed(word);
    }
    Cow::Owned(word.chars().filter(|&c| !is_invisible(c)).map(ascii_digit).collect())
}

/// Cuts a word where a script without spaces ends and something else begins, or the other way round: a code needs no
/// spaces there. What is counted (`円`, `分`) stays with its number.
fn cut(word: &str) -> Vec<(usize, &str)> {
    if !word.contains(is_unspaced) {
        return vec![(0, word)];
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    for (at, c) in word.char_indices() {
        let cuts = before.is_some_and(|before| {
            is_unspaced(before) && c.is_ascii_alphanumeric()
                || before.is_ascii_alphanumeric() && is_unspaced(c) && goes_on_after_code(c)
                || is_pause(before)
                || is_pause(c)
        });
        if cuts {
            pieces.push((start, &word[start..at]));
            start = at;
        }
        before = Some(c);
    }
    pieces.push((start, &word[start..]));
    pieces
}

/// What stands after a code in a sentence: endings of Japanese and Korean, "is" and "as" in Chinese; Thai.
fn goes_on_after_code(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{309f}' | '\u{e00}'..='\u{e7f}')
        || "是为為作即请請入输輸完登验驗입을를이은는으로예".contains(c)
}

/// What ends a clause or sets a word apart, with no space around it.
fn is_pause(c: char) -> bool {
    "、。，；！（）【】「」『』［］()[]".contains(c)
}

/// Takes off what may enclose a code, but nothing that would make a price, a time or a fraction look like one.
fn trim(word: &str) -> &str {
    if let [first, .., last] = word.as_bytes()
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
    {
        return word;
    }
    word.trim_start_matches([
        '(', '[', '{', '"', '\'', '*', '_', '`', '“', '„', '«', '「', '【', '《', '<', ':', '=', '（', '［',
        '『', '：',
    ])
    .trim_end_matches([
        ')', ']', '}', '"', '\'', '*', '_', '`', '”', '“', '»', '」', '】', '》', '>', '.', ',', ';', ':',
        '!', '。', '，', '、', '=', '،', '؛', '۔', '।', '）', '］', '』', '；', '！',
    ])
}

fn is_code(word: &str, place: Place) -> bool {
    // No code has fewer signs, or more.
    if !(4..=18).contains(&word.len()) {
        return false;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let upper = word.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = word.bytes().filter(u8::is_ascii_lowercase).count();
    let dashes = word.bytes().filter(|&byte| byte == b'-').count();
    let len = word.len();
    if digits + upper + lower + dashes != len || word.starts_with('-') || word.ends_with('-') || dashes > 2 {
        return false;
    }
    let signs = len - dashes;
    let all_digits = digits == signs;
    match place {
        _ if all_digits && dashes == 0 => {
            (4..=8).contains(&signs) && !(place == Place::InSentence && is_year(word))
        }
        // 123-456 and 12-34-56, but no date such as 2026-08-14.
        _ if all_digits => (5..=9).contains(&signs) && has_even_groups(word),
        Place::InSentence => lower == 0 && digits > 0 && upper > 0 && (5..=12).contains(&signs),
        Place::AfterColon => digits > 0 && (5..=16).contains(&signs),
        Place::Alone => (5..=16).contains(&signs) && (digits > 0 || lower == 0 && signs <= 10),
    }
}

fn has_even_groups(word: &str) -> bool {
    let mut groups = word.split('-').map(str::len);
    let first = groups.next();
    groups.all(|len| Some(len) == first)
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && (word.starts_with("19") || word.starts_with("20"))
}

/// One half of `123 456`.
fn is_half(word: &str) -> bool {
    (3..=4).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `1 2 3 4 5 6`, or `123 456`, with nothing else on the line.
fn is_spelled_out(words: &[&str]) -> bool {
    let signs: usize = words.iter().map(|word| word.len()).sum();
    words.len() > 1
        && (4..=9).contains(&signs)
        && words
            .iter()
            .all(|word| word.bytes().all(|byte| byte.is_ascii_digit()) && word.len() == words[0].len())
}

/// `code:123456`, also with the colon of Chinese and Japanese text.
fn code_after_inner_colon(word: &str) -> Option<&str> {
    if word.is_ascii() && !word.contains(':') {
        return None;
    }
    let (label, code) = word.split_once([':', '\u{ff1a}'])?;
    let code = trim(code);
    (label.chars().last().is_some_and(char::is_alphabetic) && is_code(code, Place::AfterColon))
        .then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found() {
        for (line, at) in [
            ("123456", 0),
            ("  481 516", 2),
            ("123-456", 0),
            ("Your code is 4815 1623.", 13),
            ("Your code is: *123456*", 14),
            ("Code:938271", 0),
            ("験証コード：938271", 0),
            ("您的验证码为：482913，5分钟内有效。", 0),
            ("您的验证码是482913，请勿泄露", 18),
            ("【Kestrel】验证码：482913（10分钟内有效）", 13),
            ("認証コードは「482913」です", 21),
            ("確認コード:482913を入力", 0),
            ("인증번호는 482913입니다.", 16),
            ("인증번호[482913]를 입력", 13),
            ("รหัสของคุณคือ482913", 39),
            ("G-481516 is your code", 0),
            ("XK4T-9PQ2", 0),
            ("QWERTZ", 0),
            ("Code: k3x9pa", 6),
            ("Use 938271 to sign in", 4),
            ("12 34 56", 0),
            ("رمز: \u{202b}٤٨١٥١٦\u{202c}،", 8),
            ("\u{200f}481516\u{200f}", 0),
            ("کد ورود شما ۴۸۱۵۱۶ است", 21),
            ("কোড: ৪৮১৫১৬।", 11),
            ("४८१ ५१६", 0),
        ] {
            assert_eq!(codes(line).first(), Some(&at), "{line}");
        }
    }

    #[test]
    fn a_code_is_given_as_it_is_typed() {
        for (line, typed) in [
            ("Use 938271 to sign in", "938271"),
            ("  481 516", "481516"),
            ("123-456", "123456"),
            ("1 2 3 4 5 6", "123456"),
            ("Code:938271", "938271"),
            ("认证码：「482913」", "482913"),
            ("رمز: \u{202b}٤٨١٥١٦\u{202c}،", "481516"),
            ("XK4T-9PQ2", "XK4T-9PQ2"),
            ("Code: k3x9pa", "k3x9pa"),
        ] {
            let codes: Vec<String> = found(line).into_iter().map(|found| found.code).collect();
            assert_eq!(codes, [typed], "{line}");
        }
    }

    #[test]
    fn numbers_of_daily_life_are_not_codes() {
        for line in [
            "In 2026 we opened a shop",
            "on 2026-08-14 at 09:21",
            "for $1500 only",
            "1,500.00 EUR",
            "call +12025550100 now",
            "order #12345",
            "see https://a.example/123456",
            "50% off",
            "全品5000円オフ",
            "2026年8月14日",
            "价格1500元，仅限今日",
            "회원 15000명 돌파",
            "Hello",
            "enter k3x9pa",
        ] {
            assert_eq!(codes(line), Vec::<usize>::new(), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC{0,80}") {
            for at in codes(&line) {
                proptest::prop_assert!(line.is_char_boundary(at));
            }
        }
    }
}
