//! Where a message leads: the addresses in it that a mail program makes a link of, as they are written.
//!
//! Trusts nothing. What an address means (its host, its token) is not asked here: this only finds every one, in HTML by
//! the element it stands in and in plain text by the rules that mail programs go by. It is generous: an address too
//! many is a question to the link guard, an address too few is a way past it. Linear in the input, bounded in number.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::LazyLock;

use super::normalize::is_invisible;

/// Different addresses that are kept of one part. With more of them, the part counts as not looked at.
const TARGETS_MAX: usize = 500;
/// The longest address that is kept, in octets.
const ADDRESS_MAX: usize = 16 * 1024;
/// The longest label that is kept, in octets.
const LABEL_MAX: usize = 300;

/// An address that a message leads to.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// As written, entities decoded.
    pub address: String,
    /// What leads there.
    pub kind: TargetKind,
    /// What a person reads on it; in plain text, the line it stands in.
    pub label: String,
}

/// What leads to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    /// A link in HTML.
    Link,
    /// A link in HTML that is a button, or is made to look like one.
    Button,
    /// A form that is sent there.
    Form,
    /// The mail program is sent there without a click.
    Refresh,
    /// Plain text of which mail programs make a link.
    Text,
    /// What is fetched to be shown: pictures, frames, style sheets.
    Embedded,
}

impl TargetKind {
    /// Whether it is there to be pressed, or needs no pressing.
    pub fn is_acted_on(self) -> bool {
        match self {
            Self::Button | Self::Form | Self::Refresh => true,
            Self::Link | Self::Text | Self::Embedded => false,
        }
    }
}

/// Shows nothing of the message.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({:?})", self.kind)
    }
}

/// The addresses of one part, each once for each way that leads there.
#[derive(Default)]
pub(super) struct Targets {
    pub list: Vec<Target>,
    known: HashMap<(TargetKind, String), usize>,
    /// Some were left out.
    pub crowded: bool,
}

impl Targets {
    /// Takes an address; its place, where it was kept.
    pub(super) fn add(&mut self, kind: TargetKind, address: &str) -> Option<usize> {
        // What some programs take for quotation marks or for nothing does not make an address a relative one.
        let surrounds = |c: char| c.is_whitespace() || c.is_control() || c == '`' || is_invisible(c);
        let address = address.trim_matches(surrounds);
        let within = kind == TargetKind::Embedded && has_scheme(address, &["data", "cid"]);
        if address.is_empty() || address.starts_with('#') || within {
            return None;
        }
        if address.len() > ADDRESS_MAX {
            self.crowded = true;
            return None;
        }
        let key = (kind, address.to_owned());
        if let Some(&place) = self.known.get(&key) {
            return Some(place);
        }
        if self.list.len() >= TARGETS_MAX {
            // What is only shown may be many; what can be followed must all be known.
            self.crowded |= kind != TargetKind::Embedded;
            return None;
        }
        let place = self.list.len();
        self.list.push(Target { address: key.1.clone(), kind, label: String::new() });
        self.known.insert(key, place);
        Some(place)
    }

    /// Adds what a person reads on the address at `place`.
    pub(super) fn label(&mut self, place: usize, label: &str) {
        let Some(target) = self.list.get_mut(place) else { return };
        if target.label.len() + label.len() <= LABEL_MAX && target.label != label {
            if !target.label.is_empty() {
                target.label.push(' ');
            }
            target.label.push_str(label);
        }
    }

    /// Takes the addresses in a line of text.
    pub(super) fn add_text(&mut self, line: &str) {
        if self.crowded {
            return;
        }
        in_text(line, &mut |address| {
            if let Some(place) = self.add(TargetKind::Text, address) {
                self.label(place, line.get(..line.floor_char_boundary(LABEL_MAX)).unwrap_or_default().trim());
            }
        });
    }
}

/// Whether the address begins with one of these schemes.
fn has_scheme(address: &str, schemes: &[&str]) -> bool {
    address
        .split_once(':')
        .is_some_and(|(scheme, _)| schemes.iter().any(|one| one.eq_ignore_ascii_case(scheme)))
}

/// Calls `found` with everything in a line of text that mail programs make a link of: addresses with a scheme, and host
/// names that stand alone. Mail addresses are none.
pub fn in_text(line: &str, found: &mut dyn FnMut(&str)) {
    // A host name has a dot inside, if not always an ASCII one.
    if line.is_ascii() && !may_lead_in_ascii(line) {
        return;
    }
    // The first octets of the other dots are 0xe3 and 0xef.
    let may_lead = |byte: u8| matches!(byte, b'.' | b':' | 0xe3 | 0xef);
    if !line.bytes().any(may_lead) {
        return;
    }
    let line = without_invisible(line);
    for word in line.split(|c: char| c.is_whitespace() || is_delimiter(c)) {
        if word.len() > 3 && word.bytes().any(may_lead) {
            in_word(word, found);
        }
    }
}

/// Whether a dot stands before something, or a colon before a slash.
fn may_lead_in_ascii(line: &str) -> bool {
    let octets = line.as_bytes();
    let is_followed = |mark: char, by: fn(u8) -> bool| {
        line.match_indices(mark).any(|(at, _)| octets.get(at + 1).is_some_and(|&next| by(next)))
    };
    is_followed('.', |next| next > b' ') || is_followed(':', |next| next == b'/')
}

fn without_invisible(line: &str) -> Cow<'_, str> {
    if line.is_ascii() || !line.contains(is_invisible) {
        return Cow::Borrowed(line);
    }
    Cow::Owned(line.chars().filter(|&c| !is_invisible(c)).collect())
}

/// Characters that end a link wherever they stand.
fn is_delimiter(c: char) -> bool {
    matches!(
        c,
        '<' | '>' | '"' | '`' | '^' | '|' | '{' | '}' | '\0'..='\u{1f}' | '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}'
            | '\u{3001}' | '\u{3008}'..='\u{3011}' | '\u{ff08}' | '\u{ff09}' | '\u{ff0c}' | '\u{ff1b}' | '\u{ff01}'
            | '\u{ff1f}'
    )
}

fn in_word(word: &str, found: &mut dyn FnMut(&str)) {
    let mut rest = word;
    while let Some(colon) = rest.find("://") {
        let authority = colon + "://".len();
        let start = scheme_start(&rest[..colon]);
        bare(&rest[..start], found);
        if start == colon {
            rest = &rest[authority..];
            continue;
        }
        let end = link_end(rest, authority);
        let link = trim_end(&rest[start..end]);
        if link.len() > authority - start {
            found(link);
        }
        rest = &rest[end..];
    }
    bare(rest, found);
}

/// Where the scheme begins that ends at the end of `text`.
fn scheme_start(text: &str) -> usize {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let length = text.bytes().rev().take_while(|byte| is_scheme(byte)).count();
    let start = text.len() - length;
    // `seehttps://` where a space was forgotten, or left out on purpose.
    let web = ["https", "http"].into_iter().find(|web| text[start..].to_ascii_lowercase().ends_with(web));
    if let Some(web) = web {
        return text.len() - web.len();
    }
    // It begins with a letter.
    text[start..].find(|c: char| c.is_ascii_alphabetic()).map_or(text.len(), |at| start + at)
}

/// Where the link ends whose authority begins at `authority`: at the end of the word, before the next link that a comma
/// or the like parts from it, or where text in a script without spaces follows the host at once.
fn link_end(text: &str, authority: usize) -> usize {
    let mut from = authority;
    while let Some(colon) = text[from..].find("://").map(|at| from + at) {
        let start = scheme_start(&text[..colon]).max(from);
        if start < colon && text[..start].ends_with([',', ';', '(', ')', '[', ']']) {
            return start;
        }
        from = colon + "://".len();
    }
    let host_end = text[authority..].find(['/', '?', '#', '\\', '@']).map(|at| authority + at);
    if host_end.is_none()
        && let Some(at) = text[authority..].find(is_unspaced).map(|at| authority + at)
        && at > authority
        && !text[at..].contains(['.', ':', '\u{3002}', '\u{ff0e}', '\u{ff61}'])
    {
        return at;
    }
    text.len()
}

/// Letters of scripts that are written without spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

fn trim_end(link: &str) -> &str {
    link.trim_end_matches([
        '.', ',', ';', ':', '!', '?', ')', ']', '*', '_', '\'', '~', '\u{2019}', '\u{3002}', '\u{2026}',
    ])
}

/// A host name that stands alone, perhaps with a path.
fn bare(word: &str, found: &mut dyn FnMut(&str)) {
    if !word.contains(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        return;
    }
    for word in word.split([',', ';', '(', ')', '[', ']', '\'', '\u{2018}', '\u{2019}']) {
        // `site=example.com`
        let equals = word.find(['=', '/', '?', '#']).filter(|&at| word[at..].starts_with('='));
        let word = equals.map_or(word, |at| &word[at + 1..]);
        let word = trim_end(word.trim_start_matches(|c: char| !c.is_alphanumeric()));
        // Where words are written together, a host among them is one in Latin letters.
        if word.contains(is_unspaced) && word.contains(|c: char| c.is_ascii_alphanumeric()) {
            let before = word.split(is_unspaced).filter(|run| run.contains('.'));
            let mut any = false;
            for run in before.map(|run| trim_end(run.trim_start_matches(|c: char| !c.is_alphanumeric()))) {
                let end = run.find(['/', '?', '#', ':', '\\']).unwrap_or(run.len());
                if is_host(&run[..end], end < run.len()) {
                    any = true;
                    found(run);
                }
            }
            if any {
                continue;
            }
        }
        let host_end = word.find(['/', '?', '#', ':', '\\']).unwrap_or(word.len());
        let (host, rest) = word.split_at(host_end);
        let is_port = |rest: &str| rest[1..].starts_with(|c: char| c.is_ascii_digit());
        if !host.contains('@') && (!rest.starts_with(':') || is_port(rest)) && is_host(host, !rest.is_empty())
        {
            found(word);
        }
    }
}

/// Whether mail programs take this for the name of a host.
fn is_host(host: &str, has_path: bool) -> bool {
    let labels: Vec<&str> = host.split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']).collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    let Some((last, before)) = labels.split_last() else { return false };
    if before.is_empty() || before.len() > 20 || !labels.iter().all(is_label) {
        return false;
    }
    let last = last.to_lowercase();
    let is_word = last.len() >= 2 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_ipv4 = has_path && labels.len() == 4 && labels.iter().all(|label| label.parse::<u8>().is_ok());
    labels[0].eq_ignore_ascii_case("www") && labels.len() > 2
        || is_top_level(&last)
        || is_word && has_path
        || is_ipv4
}

/// Whether the names of hosts end so: country codes, and of the others those in wide use. `.md` and `.py` are left out:
/// they end the names of files far more often.
fn is_top_level(last: &str) -> bool {
    if last.len() == 2 && last.is_ascii() {
        return COUNTRIES.as_bytes().chunks(2).any(|code| code == last.as_bytes());
    }
    last.starts_with("xn--") || GENERIC_NAMES.contains(last)
}

const COUNTRIES: &str = "acadaeafagaialamaoaqarasatauawaxazbabbbdbebfbgbhbibjbmbnbobrbsbtbwbybzcacccdcfcgchcickclcmcn\
    cocrcucvcwcxcyczdedjdkdmdodzeceeegereseteufifjfkfmfofrgagbgdgegfggghgiglgmgngpgqgrgsgtgugwgyhkhmhnhrhthuidieilim\
    inioiqirisitjejmjojpkekgkhkikmknkpkrkwkykzlalblclilklrlsltlulvlymamcmemgmhmkmlmmmnmompmqmrmsmtmumvmwmxmymznancne\
    nfngninlnonpnrnunzompapepfpgphpkplpmpnprpsptpwqarerorsrurwsasbscsdsesgshsiskslsmsnsosrssstsvsxsysztctdtftgthtjtk\
    tltmtntotrtttvtwtzuaugukusuyuzvavcvevgvivnvuwfwsyeytzazmzw";

/// Each of [`GENERIC`].
static GENERIC_NAMES: LazyLock<HashSet<&str>> = LazyLock::new(|| GENERIC.split_whitespace().collect());

/// `example` and `test` are kept for writing about hosts (RFC 2606).
const GENERIC: &str = "com net org edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post \
    app dev page web site website online store shop club xyz top icu live life link click email mail tech cloud digital \
    space world today news blog media agency group company team work works network solutions services support systems \
    software host hosting press design studio academy school university center bank finance financial \
    money cash loan loans credit capital fund insurance tax trade trading market markets marketing business company \
    consulting care health clinic dental fitness fun game games bet casino poker win vip sexy porn xxx adult dating \
    social community chat video movie film tube photo photos pics gallery art music radio zone city land house \
    homes estate rent tours holiday cruises flights restaurant cafe bar pub pizza recipes wine beer buzz cool guru \
    ninja rocks one wtf lol monster quest bond cyou sbs cfd skin hair beauty makeup autos boats yachts bid best cheap \
    deals discount gift gifts promo sale review reviews rest stream download zip mov foo date faith science \
    party racing accountant men  ltd llc inc gmbh global international london berlin paris tokyo nyc swiss \
    africa arab google amazon apple microsoft goog kim moe ooo red blue pink black green run lat wang ren \
    example test \u{440}\u{444} \u{443}\u{43a}\u{440} \u{431}\u{435}\u{43b} \u{43c}\u{43e}\u{441}\u{43a}\u{432}\u{430} \
    \u{4e2d}\u{56fd} \u{4e2d}\u{570b} \u{516c}\u{53f8} \u{7f51}\u{7edc} \u{5728}\u{7ebf} \u{307f}\u{3093}\u{306a}";

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<String> {
        let mut all = Vec::new();
        in_text(line, &mut |address| all.push(address.to_owned()));
        all
    }

    #[test]
    fn links_are_found_where_mail_programs_see_them() {
        for (line, links) in [
            ("(https://a.example/b).", &["https://a.example/b"][..]),
            ("<HTTPS://a.example>, www.b.org and c.com!", &["HTTPS://a.example", "www.b.org", "c.com"]),
            ("go to a.com/x?y=1,b.net.", &["a.com/x?y=1", "b.net"]),
            ("https://a.example,https://b.example", &["https://a.example,", "https://b.example"]),
            ("https://a.example/?u=https://b.example/", &["https://a.example/?u=https://b.example/"]),
            ("\u{8bf7}https://a.example\u{70b9}\u{51fb}", &["https://a.example"]),
            ("https://a.example\u{3002}b.example/x", &["https://a.example\u{3002}b.example/x"]),
            ("m\u{fc}ller.de:8080/x", &["m\u{fc}ller.de:8080/x"]),
            ("ev\u{200b}il.com/x", &["evil.com/x"]),
            ("app://open 192.0.2.7/x", &["app://open", "192.0.2.7/x"]),
            ("login.acme.com:", &["login.acme.com"]),
            ("Smith\u{3055}\u{3093}\u{304c}acme.com\u{306b}", &["acme.com"]),
            ("\u{8bbf}\u{95ee}evil.com/x\u{9886}\u{53d6}", &["evil.com/x"]),
            ("\u{4f8b}\u{5b50}.com", &["\u{4f8b}\u{5b50}.com"]),
            ("seehttps://evil.com/x", &["https://evil.com/x"]),
        ] {
            let links: Vec<String> = links.iter().map(|link| trim_end(link).to_owned()).collect();
            assert_eq!(found(line), links, "{line}");
        }
    }

    #[test]
    fn other_text_is_no_link() {
        for line in [
            "anna@a.com, e.g. Node.js 4.5 and README.md; Dr. M\u{fc}ller v1.2.3.4, and/or 10:30. 3.50/month",
            "end.Next sentence: ://x ... /path/file.txt 1.000,00",
            "",
        ] {
            assert_eq!(found(line), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn many_addresses_are_too_many_only_where_they_can_be_followed() {
        for (kind, crowded) in [(TargetKind::Link, true), (TargetKind::Embedded, false)] {
            let mut targets = Targets::default();
            for number in 0..2000 {
                targets.add(kind, &format!("https://a.example/{number}"));
            }
            assert_eq!((targets.list.len(), targets.crowded), (TARGETS_MAX, crowded));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_searched(line in "(://|http|www|\\.|,|/|@|:|\\[|com|\u{e9}|\u{4e2d}|\u{3002}|\u{200b}| |1){0,60}") {
            found(&line);
        }

        #[test]
        fn a_link_is_found_among_anything(before in "[a-z .,(\u{4e2d}\u{e9}]{0,20}", after in "[ <\">].{0,20}") {
            let line = format!("{before} https://evil.example/t0ken{after}");
            proptest::prop_assert!(found(&line).iter().any(|link| link == "https://evil.example/t0ken"));
        }
    }
}
