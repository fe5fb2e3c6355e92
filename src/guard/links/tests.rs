//! What links are taken for, in every way they can be written.

use super::*;
use crate::mail::Message;
use crate::policy::TextLimits;

fn recognition() -> &'static Recognition {
    static SHIPPED: std::sync::OnceLock<Recognition> = std::sync::OnceLock::new();
    SHIPPED.get_or_init(|| Recognition::shipped().unwrap())
}

fn acme() -> Domains {
    let list = |domains: &[&str]| domains.iter().map(|&domain| domain.to_owned()).collect();
    Domains {
        allowed: list(&["acme.example", "intranet", "192.0.2.7"]),
        tracking: list(&["click.provider.example"]),
        images: list(&["cdn.example"]),
    }
}

fn text(kind: &str, body: &str) -> Text {
    let raw = format!("Subject: x\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n{body}\r\n");
    Text::of(&Message::new(raw.into_bytes()), &TextLimits::default())
}

fn taken(kind: &str, body: &str) -> Vec<(Taken, String)> {
    let survey = survey(&text(kind, body), Some(&acme()), recognition());
    survey.links.into_iter().map(|seen| (seen.taken, seen.host)).collect()
}

/// What the link to `host` was taken for behind a link of the business's own.
fn second(html: &str, host: &str) -> Option<Taken> {
    let body = format!("<a href='https://acme.example/'>Acme</a>{html}");
    taken("html", &body).into_iter().find(|(_, found)| found == host).map(|(taken, _)| taken)
}

const TOKEN: &str = "https://evil.example/reset?token=8f14e45fceea167a5a36dedd4bea2543";

#[test]
fn links_are_told_apart() {
    for (html, host, expected) in [
        ("<a href=https://help.example/faq>Help</a>", "help.example", Taken::Foreign),
        (&*format!("<a href={TOKEN}>Help</a>"), "evil.example", Taken::Token),
        ("<a href=https://evil.example/>Reset your password</a>", "evil.example", Taken::Action),
        ("<a href=https://evil.example/>Passwort zur\u{fc}cksetzen</a>", "evil.example", Taken::Action),
        ("<a class='btn' href=https://evil.example/>Go</a>", "evil.example", Taken::Action),
        ("<form action=https://evil.example/><input></form>", "evil.example", Taken::Action),
        ("<button formaction=https://evil.example/>x</button>", "evil.example", Taken::Action),
        (
            "<META HTTP-EQUIV=refresh CONTENT=\"0; URL='https://evil.example/'\">",
            "evil.example",
            Taken::Action,
        ),
        ("<a href=https://evil.example/>https://acme.example/help</a>", "evil.example", Taken::Disguised),
        ("<a href=https://acme.example@evil.example/>x</a>", "evil.example", Taken::Disguised),
        ("<a href=https://\u{430}cme.example/>x</a>", "xn--cme-5cd.example", Taken::Disguised),
        ("<a href=https://acme.example.evil.example/>x</a>", "acme.example.evil.example", Taken::Disguised),
        ("<a href=javascript:x>x</a>", "javascript:", Taken::Script),
        ("<a href=acme://open>x</a>", "acme:", Taken::App),
        ("<a href=https://click.provider.example/x>x</a>", "click.provider.example", Taken::Tracking),
        ("<a href=https://acme.example/go?u=https://evil.example/>x</a>", "evil.example", Taken::Redirect),
        ("<img src=https://cdn.example/a.png>", "cdn.example", Taken::Image),
        ("<td background=https://far.example/a.png>", "far.example", Taken::ForeignImage),
        ("<img srcset='https://far.example/a.png 2x'>", "far.example", Taken::ForeignImage),
        ("<p style=\"background:url('https://far.example/x')\">", "far.example", Taken::ForeignImage),
        ("<a href=https://login.acme.example:8443/x>x</a>", "login.acme.example", Taken::Own),
        ("<a href=https://intranet/x>x</a>", "intranet", Taken::Own),
        ("<a href=http://0xc0.0.2.7/>x</a>", "192.0.2.7", Taken::Own),
        ("<a href=https://x.intranet/>x</a>", "x.intranet", Taken::Foreign),
        ("<p>see help.com for more</p>", "help.com", Taken::Foreign),
        ("<p>https://evil.example/8f14e45fceea167a5a36dedd</p>", "evil.example", Taken::Token),
        (
            "<!--[if mso]><v:roundrect href='https://evil.example/'><![endif]-->",
            "evil.example",
            Taken::Action,
        ),
        ("<noscript><a href=https://help.example>x</a></noscript>", "help.example", Taken::Foreign),
        ("<!-- x --!><a href=https://help.example>x</a>", "help.example", Taken::Foreign),
        ("<a href='//help.example/x'>x</a>", "help.example", Taken::Foreign),
        (
            "<a href=https://abcdefghijklmnopqrstuvwxyz0123456789.help.example/>x</a>",
            "*.help.example",
            Taken::Foreign,
        ),
    ] {
        assert_eq!(second(html, host), Some(expected), "{html}: {:?}", taken("html", html));
    }
    for html in [
        "<a href='mailto:a@b.example'>x</a>",
        "<a href=/reset>x</a>",
        "<a href='#top'>x</a>",
        "<script>'https://x.example'</script>",
    ] {
        assert_eq!(taken("html", html), [], "{html}");
    }
}

/// Ways past a link guard that looks at `<a href>` alone. In each, some program goes to `evil.example`.
const TRICKS: &[&str] = &[
    "<area href='LINK'>",
    "<svg><a xl:href='LINK'>x</a></svg>",
    "<svg><a><animate attributeName=href values='https://acme.example/;LINK'>x</a></svg>",
    "<svg><a><set attributeName=href to='LINK'>x</a></svg>",
    "<math href='LINK'>x</math>",
    "<object data='LINK'></object>",
    "<embed src='LINK'>",
    "<iframe src='LINK'></iframe>",
    "<iframe src='https://evil.example/'></iframe>",
    "<iframe srcdoc='&lt;a href=LINK&gt;'></iframe>",
    "<frameset><frame src='LINK'></frameset>",
    "<input type=image formaction='LINK'>",
    "<a href='https://acme.example/' ping='LINK'>x</a>",
    "<meta http-equiv=refresh content='0 url=LINK'>",
    "<meta http-equiv=refresh content='0.5, LINK'>",
    "<base href=''><base href='https://evil.example/'><a href='r?token=8f14e45fceea167a5a36dedd'>x</a>",
    "<base href='https://acme.example/'><base href='//evil.example'><a href='r?token=8f14e45fceea167a5a36dedd'>x</a>",
    "<a href='https://acme@evil.example/'>x</a>",
    "<a href='https://:pass@evil.example/'>x</a>",
    "<a href='/&Tab;/evil.example/r?token=8f14e45fceea167a5a36dedd'>x</a>",
    "<a href='&#8203;LINK'>x</a>",
    "<a href=`LINK`>x</a>",
    "<!-- [if mso]><a href='LINK'>x</a><![endif]-->",
    "<title>x<a href='LINK'>x</a>",
    "<style>x<a href='LINK'>x</a>",
    "<script>x</p><a href='LINK'>x</a>",
    "<noembed><a href='LINK'>x</a></noembed>",
    "<noframes><a href='LINK'>x</a></noframes>",
    "<template><a href='LINK'>x</a></template>",
    "<xmp>LINK</xmp>",
    "<link itemprop=target href='LINK'>",
    "<meta itemprop=url content='LINK'>",
    "<script type='application/ld+json'>{\"@context\":\"http://schema.org\",\"url\":\"LINK\"}</script>",
    "<script type='application/ld+json'>{\"url\":\"\\u0068ttps:\\/\\/evil.example\\/r?token=8f14e45fceea167a5a36dedd\"}</script>",
    "<p>seeLINK</p>",
    "<p>evil\u{3002}com/r?token=8f14e45fceea167a5a36dedd</p>",
];

#[test]
fn tricks_do_not_lead_past_the_guard() {
    for trick in TRICKS {
        let body = format!("<a href='https://acme.example/'>Acme</a>{}", trick.replace("LINK", TOKEN));
        let survey = survey(&text("html", &body), Some(&acme()), recognition());
        let host = survey.objection(LinkGuard::On).map(|seen| seen.host.as_str());
        assert!(matches!(host, Some("evil.example" | "evil.com")), "{trick}: {:?}", survey.links);
    }
    for honest in [
        "<script type='application/ld+json'>{\"@context\":\"http://schema.org\",\"url\":\"https://acme.example/x\"}</script>",
        "<base href='https://acme.example/a/'><a href='r?token=8f14e45fceea167a5a36dedd'>x</a>",
        "<iframe src='https://acme.example/'></iframe><style>a{background:url(x)}</style>",
        "<script>document.write('<a href=x>')</script>",
        "<meta itemprop=name content='Reset your password'>",
    ] {
        let survey = survey(&text("html", honest), Some(&acme()), recognition());
        assert_eq!(survey.objection(LinkGuard::Strict), None, "{honest}");
    }
}

#[test]
fn the_first_link_is_the_call_to_action() {
    assert_eq!(
        taken("plain", "Go to https://evil.example/ please"),
        [(Taken::Action, "evil.example".to_owned())]
    );
    assert_eq!(taken("plain", "Go to evil.example please"), [(Taken::Action, "evil.example".to_owned())]);
    let second = taken("plain", "https://acme.example/ and https://evil.example/ and evil.com");
    let expected =
        [(Taken::Foreign, "evil.com"), (Taken::Foreign, "evil.example"), (Taken::Own, "acme.example")];
    assert_eq!(second, expected.map(|(taken, host)| (taken, host.to_owned())));
}

#[test]
fn where_a_code_is_to_be_typed_only_words_make_a_call_to_action() {
    let code = |line: &str| taken("plain", &format!("Your sign-in code:\r\n\r\n482913\r\n\r\n{line}"));
    assert_eq!(code("GitHub: https://git.example/acme"), [(Taken::Foreign, "git.example".to_owned())]);
    let called = code("Reset your password: https://evil.example/");
    assert_eq!(called[0], (Taken::Action, "evil.example".to_owned()));
}

#[test]
fn a_base_makes_relative_links_absolute() {
    let html = "<a href='https://acme.example/'>Acme</a><a href='reset?token=8f14e45fceea167a5a36dedd'>x</a><base href='https://evil.example/'>";
    assert!(taken("html", html).contains(&(Taken::Token, "evil.example".to_owned())));
}

#[test]
fn strictness_decides_on_what_is_only_foreign() {
    let links = |body: &str| survey(&text("html", body), Some(&acme()), recognition());
    let foreign = links("<a href=https://acme.example/>x</a><a href=https://help.example/>x</a>");
    assert_eq!(foreign.objection(LinkGuard::On), None);
    assert_eq!(foreign.objection(LinkGuard::Strict).map(|seen| seen.host.as_str()), Some("help.example"));
    assert_eq!(foreign.objection(LinkGuard::Off), None);
    let action = links(&format!("<a href={TOKEN}>x</a>"));
    assert!(action.objection(LinkGuard::On).is_some() && action.objection(LinkGuard::Off).is_none());
    let unknown = survey(&text("html", &format!("<a href={TOKEN}>x</a>")), None, recognition());
    assert!(!unknown.compared && unknown.objection(LinkGuard::Strict).is_none());
    let script = survey(&text("html", "<a href='data:text/html,x'>x</a>"), None, recognition());
    assert!(script.objection(LinkGuard::On).is_some());
}

#[test]
fn calendars_and_attached_texts_are_looked_into() {
    let raw = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhttps://acme.example/\r\n--b\r\nContent-Type: text/calendar\r\n\r\n\
         BEGIN:VCALENDAR\r\nDESCRIPTION:{}\r\n {}\r\n--b--\r\n",
        &TOKEN[..30],
        &TOKEN[30..]
    );
    let text = Text::of(&Message::new(raw.into_bytes()), &TextLimits::default());
    let survey = survey(&text, Some(&acme()), recognition());
    assert_eq!(survey.objection(LinkGuard::On).map(|seen| seen.taken), Some(Taken::Token));
}

/// Ten ways to write one link.
fn written(way: usize, address: &str) -> (&'static str, String) {
    let entities = |hex: bool| -> String {
        let one =
            |c: char| if hex { format!("&#x{:X}", u32::from(c)) } else { format!("&#{:03};", u32::from(c)) };
        address.chars().map(|c| if hex { one(c) + ";" } else { one(c) }).collect()
    };
    match way {
        0 => ("plain", format!("Hello {address} there")),
        1 => ("html", format!("<a href=\"{address}\">x</a>")),
        2 => ("html", format!("<A\nHREF = {address} >x</A>")),
        3 => ("html", format!("<a href='{}'>x</a>", entities(false))),
        4 => ("html", format!("<a href='{}'>x</a>", entities(true))),
        5 => ("html", format!("<a href='{}'>x</a>", address.replace('/', "\\"))),
        6 => ("html", format!("<a href='{}'>x</a>", address.replace('t', "t\t\n"))),
        7 => ("html", format!("<a href='{}'>x</a>", address.replace("https://", "hTTps://acme.example@"))),
        8 => ("html", format!("<p>Hello <b>{}</b>{}</p>", &address[..20], &address[20..])),
        _ => {
            ("html", format!("<a href='{}'>x</a>", address.replace("evil", "%65v%69l").replace("https:", "")))
        }
    }
}

proptest::proptest! {
    #[test]
    fn a_foreign_token_link_is_found_however_it_is_written(
        way in 0_usize..10,
        token in "[a-f]{4}[0-9]{3}[a-f]{4}[0-9]{3}[a-f]{4}",
        before in "[a-zA-Z ,!]{0,40}",
    ) {
        let (kind, body) = written(way, &format!("https://evil.example/reset/{token}"));
        let own = if kind == "html" { "<a href='https://acme.example/'>a</a> " } else { "https://acme.example/ " };
        let survey = survey(&text(kind, &format!("{own}{before} {body}")), Some(&acme()), recognition());
        let objection = survey.objection(LinkGuard::On).map(|seen| seen.host.clone());
        proptest::prop_assert_eq!(objection.as_deref(), Some("evil.example"), "{}: {}", way, body);
    }

    #[test]
    fn any_bytes_are_surveyed(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let mut message = b"Content-Type: text/html\r\n\r\n<a href='".to_vec();
        message.extend_from_slice(&raw);
        survey(&Text::of(&Message::new(message), &TextLimits::default()), Some(&acme()), recognition());
    }
}
