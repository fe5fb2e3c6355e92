//! Messages made to be taken for authentication mail: templates of many kinds and languages, filled in from a seed. At most
//! one in two hundred may pass, and each kind's share is printed. Beside them the same templates' honest cousins, which
//! must keep passing, and properties: no noise in the bytes turns a refusal into a pass.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "recognition_adversarial/texts.rs"]
mod texts;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use authrelay::mail::Message;
use authrelay::policy::{Recognition, Text, TextLimits};
use proptest::prelude::*;
use texts::{HONEST, LURES, Lure, PLAIN_LURES, RESET_WORDS, Words};
use unicode_normalization::UnicodeNormalization as _;

static SHIPPED: LazyLock<Recognition> = LazyLock::new(|| Recognition::shipped().unwrap());

const SEED: u64 = 0x5eed_2026;
const A_KIND_AND_LANGUAGE: usize = 14;
const TOKEN_LINK: &str = "https://app.kestrel.example/go?token=8f14e45fceea167a5a36dedd4bea2543";

/// One message, as raw bytes before and after noise was added.
#[derive(Clone, Debug)]
struct Made {
    kind: &'static str,
    language: &'static str,
    subject: String,
    html: String,
    /// A text alternative that says something else.
    alternative: Option<String>,
}

impl Made {
    fn raw(&self) -> String {
        let subject = &self.subject;
        match &self.alternative {
            None => format!(
                "From: Kestrel <app@kestrel.example>\nSubject: {subject}\nMIME-Version: 1.0\n\
                 Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}\n",
                self.html
            ),
            Some(text) => format!(
                "From: Kestrel <app@kestrel.example>\nSubject: {subject}\nMIME-Version: 1.0\n\
                 Content-Type: multipart/alternative; boundary=cut\n\n--cut\nContent-Type: text/plain; charset=utf-8\n\n\
                 {text}\n--cut\nContent-Type: text/html; charset=utf-8\n\n{}\n--cut--\n",
                self.html
            ),
        }
    }
}

fn passes(raw: &str) -> Option<String> {
    let message = Message::new(raw.replace('\n', "\r\n").into_bytes());
    let found = SHIPPED.recognize(&Text::of(&message, &TextLimits::default()))?;
    SHIPPED
        .guarded()
        .any(|guarded| *guarded == found.category)
        .then(|| format!("{} by {}", found.category, found.rule))
}

/// Fills the slots of a template.
fn fill(template: &str, random: &mut fastrand::Rng) -> String {
    let mut text = template.to_owned();
    let one_of = |random: &mut fastrand::Rng, words: &[&'static str]| words[random.usize(..words.len())];
    for (slot, words) in texts::SLOTS {
        while let Some(at) = text.find(slot) {
            let word = one_of(random, words);
            text.replace_range(at..at + slot.len(), word);
        }
    }
    while let Some(at) = text.find("{n}") {
        text.replace_range(at..at + 3, &random.u32(100_000..999_999).to_string());
    }
    while let Some(at) = text.find("{p}") {
        text.replace_range(at..at + 3, &(random.u32(1..18) * 5).to_string());
    }
    text.replace("LINK", TOKEN_LINK)
}

fn page(body: &str, button: &str) -> String {
    format!("<p>{}</p><p><a href=\"{TOKEN_LINK}\">{button}</a></p>", body.replace('\n', "</p><p>"))
}

fn lures() -> Vec<Made> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut made = Vec::new();
    for Lure { kind, language, subject, body, button } in LURES {
        for _ in 0..A_KIND_AND_LANGUAGE {
            let mut fill = |template| fill(template, &mut random);
            let (subject, body) = (fill(subject), fill(body));
            made.push(Made { kind, language, subject, html: page(&body, button), alternative: None });
        }
    }
    for Words { language, subject, request, button } in RESET_WORDS {
        for lure in PLAIN_LURES.iter().filter(|lure| lure.language == *language) {
            for _ in 0..A_KIND_AND_LANGUAGE {
                let advertisement = fill(lure.body, &mut random).repeat(3);
                made.extend(dressed(
                    language,
                    subject,
                    request,
                    button,
                    &fill(lure.subject, &mut random),
                    &advertisement,
                ));
            }
        }
    }
    made
}

/// An advertisement with the words of a reset in places where they do not belong to it.
fn dressed(
    language: &'static str,
    subject: &str,
    request: &str,
    button: &str,
    own_subject: &str,
    advertisement: &str,
) -> Vec<Made> {
    let made = |kind, subject: &str, html: String, alternative| Made {
        kind,
        language,
        subject: subject.to_owned(),
        html,
        alternative,
    };
    let shown = page(advertisement, "»");
    vec![
        made(
            "hidden text",
            own_subject,
            format!(
                "<div style='display:none'>{request} {button}</div><div style='font-size:0'>{request}</div>{shown}"
            ),
            None,
        ),
        made("footer", own_subject, format!("{shown}<hr><p><small>{request}</small></p>"), None),
        made("second alternative", subject, shown.clone(), Some(format!("{request}\n\n{TOKEN_LINK}"))),
        made(
            "text advertises",
            subject,
            page(request, button),
            Some(advertisement.replace("LINK", "https://app.kestrel.example/")),
        ),
        made("homoglyphs", &homoglyphs(own_subject), page(&homoglyphs(advertisement), "»"), None),
        made("zero width", &zero_width(own_subject), page(&zero_width(advertisement), "»"), None),
    ]
}

/// Some Latin letters become Cyrillic ones that look the same.
fn homoglyphs(text: &str) -> String {
    text.replace("ar", "аr").replace("eи", "en").replace("en", "еn").replace("on", "оn")
}

fn zero_width(text: &str) -> String {
    text.split(' ')
        .map(|word| word.chars().flat_map(|c| [c, '\u{200b}']).collect::<String>())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn next_to_nothing_that_is_dressed_up_passes() {
    let lures = lures();
    assert!(lures.len() >= 1000, "{}", lures.len());
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut leaked: BTreeMap<String, usize> = BTreeMap::new();
    for made in &lures {
        let (all, passed) = kinds.entry(made.kind).or_default();
        *all += 1;
        if let Some(how) = passes(&made.raw()) {
            *passed += 1;
            *leaked
                .entry(format!("{} {} {:?}: {how}", made.kind, made.language, made.subject))
                .or_default() += 1;
        }
    }
    for (kind, (all, passed)) in &kinds {
        println!("{kind:24} {passed:>4} of {all:>4}");
    }
    for (what, times) in &leaked {
        println!("leaked {times}: {what}");
    }
    let total: usize = leaked.values().sum();
    assert!(total * 200 <= lures.len(), "{total} of {} pass:\n{leaked:#?}", lures.len());
}

#[test]
fn what_belongs_there_still_passes() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut held = Vec::new();
    let mut all = 0;
    for Lure { kind, language, subject, body, button } in HONEST {
        for _ in 0..6 {
            all += 1;
            let (subject, body) = (fill(subject, &mut random), fill(body, &mut random));
            let made = Made { kind, language, subject, html: page(&body, button), alternative: None };
            if passes(&made.raw()).is_none() {
                held.push(format!("{kind} {language} {:?}", made.subject));
            }
        }
    }
    assert!(held.len() * 33 <= all, "{} of {all}: {held:#?}", held.len());
}

/// Noise that a person does not see.
#[derive(Clone, Copy, Debug)]
enum Noise {
    Markup,
    Comments,
    UpperCase,
    LowerCase,
    Decomposed,
    Composed,
    ZeroWidth,
    SoftHyphens,
    Homoglyphs,
    Entities,
    Compatible,
    FullWidth,
    Underlined,
    Controls,
    NamedSpaces,
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        Just(Noise::Markup),
        Just(Noise::Comments),
        Just(Noise::UpperCase),
        Just(Noise::LowerCase),
        Just(Noise::Decomposed),
        Just(Noise::Composed),
        Just(Noise::ZeroWidth),
        Just(Noise::SoftHyphens),
        Just(Noise::Homoglyphs),
        Just(Noise::Entities),
        Just(Noise::Compatible),
        Just(Noise::FullWidth),
        Just(Noise::Underlined),
        Just(Noise::Controls),
        Just(Noise::NamedSpaces),
    ]
}

/// Applies noise to the visible text of the page, never to its tags.
fn disturb(html: &str, noise: Noise) -> String {
    let mut out = String::new();
    for part in html.split_inclusive(['<', '>']) {
        let is_tag = part.ends_with('>');
        if is_tag {
            out.push_str(part);
            continue;
        }
        let (words, end) = part.strip_suffix('<').map_or((part, ""), |words| (words, "<"));
        out.push_str(&disturbed(words, noise));
        out.push_str(end);
    }
    out
}

fn disturbed(words: &str, noise: Noise) -> String {
    match noise {
        Noise::Markup => words.replace('e', "<b>e</b>").replace(' ', " <span></span>"),
        Noise::Comments => words.replace('o', "<!-- sale -->o"),
        Noise::UpperCase => words.to_uppercase(),
        Noise::LowerCase => words.to_lowercase(),
        Noise::Decomposed => words.nfd().collect(),
        Noise::Composed => words.nfc().collect(),
        Noise::ZeroWidth => zero_width(words),
        Noise::SoftHyphens => words.replace('e', "\u{ad}e"),
        Noise::Homoglyphs => homoglyphs(words),
        Noise::Compatible => words.nfkd().collect(),
        Noise::FullWidth => words.chars().map(full_width).collect(),
        Noise::Underlined => {
            words.chars().flat_map(|c| [Some(c), c.is_alphabetic().then_some('\u{332}')]).flatten().collect()
        }
        Noise::Controls => words.replace('e', "\u{1}e\u{7f}"),
        Noise::NamedSpaces => words.replace(' ', "&nbsp; &ensp;"),
        Noise::Entities => words.chars().map(|c| format!("&#{};", u32::from(c))).collect::<Vec<_>>().concat(),
    }
}

/// The wide form of an ASCII letter or digit.
fn full_width(c: char) -> char {
    let wide = char::from_u32(u32::from(c) + 0xfee0);
    wide.filter(|_| c.is_ascii_alphanumeric()).unwrap_or(c)
}

/// Character sets that mail comes in. What a set has no letter for is written as an entity, as browsers do it.
const SETS: [&str; 19] = [
    "utf-16le",
    "utf-16be",
    "utf-16",
    "gb18030",
    "gbk",
    "big5",
    "iso-2022-jp",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "koi8-r",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1258",
];

fn in_set(html: &str, set: &str) -> Vec<u8> {
    let units = || html.encode_utf16();
    match set {
        "utf-16le" => units().flat_map(u16::to_le_bytes).collect(),
        "utf-16be" => units().flat_map(u16::to_be_bytes).collect(),
        "utf-16" => [0xfeff].into_iter().chain(units()).flat_map(u16::to_be_bytes).collect(),
        _ => encoding_rs::Encoding::for_label(set.as_bytes()).unwrap().encode(html).0.into_owned(),
    }
}

/// The same message in another transfer encoding and character set.
fn encoded(made: &Made, base64: bool, set: &str) -> Option<String> {
    use base64::Engine as _;
    if made.alternative.is_some() {
        return None;
    }
    let octets = in_set(&made.html, set);
    let (encoding, body) = if base64 {
        ("base64", base64::engine::general_purpose::STANDARD.encode(&octets))
    } else {
        ("quoted-printable", octets.iter().map(|byte| format!("={byte:02X}")).collect::<Vec<_>>().concat())
    };
    let wrapped: Vec<String> =
        body.as_bytes().chunks(75).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let wrapped = if base64 { wrapped.join("\n") } else { wrapped.join("=\n") };
    let subject = base64::engine::general_purpose::STANDARD.encode(&made.subject);
    Some(format!(
        "From: Kestrel <app@kestrel.example>\nSubject: =?utf-8?b?{subject}?=\nMIME-Version: 1.0\n\
         Content-Type: text/html; charset={set}\nContent-Transfer-Encoding: {encoding}\n\n{wrapped}\n"
    ))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_noise_turns_a_refusal_into_a_pass(index in any::<prop::sample::Index>(), noise in noise()) {
        static REFUSED: LazyLock<Vec<Made>> =
            LazyLock::new(|| lures().into_iter().filter(|made| passes(&made.raw()).is_none()).step_by(7).collect());
        let made = index.get(&REFUSED);
        let noisy = Made { html: disturb(&made.html, noise), ..made.clone() };
        prop_assert_eq!(passes(&noisy.raw()), None, "{:?} {:?} {}", noise, made.subject, noisy.html);
    }

    #[test]
    fn encodings_do_not_matter(index in any::<prop::sample::Index>(), base64 in any::<bool>(), set in prop::sample::select(&SETS)) {
        static ALL: LazyLock<Vec<Made>> = LazyLock::new(|| lures().into_iter().step_by(5).collect());
        let made = index.get(&ALL);
        if let Some(raw) = encoded(made, base64, set) {
            let plainly = passes(&made.raw());
            prop_assert!(plainly.is_some() || passes(&raw).is_none(), "{} {:?}", set, made.subject);
            prop_assert_eq!(passes(&raw), plainly, "{} {:?}", set, made.subject);
        }
    }
}
