//! HTML as people see it, and what it leads to.

use super::*;
use crate::policy::target::TargetKind;

fn seen(html: &str) -> Vec<String> {
    read(html, 10_000).paragraphs.into_iter().map(|paragraph| paragraph.lines.join("|")).collect()
}

#[test]
fn text_is_read_as_a_person_sees_it() {
    assert_eq!(
        seen(
            "<head><title>T</title><style>p{}</style></head><body><p>Hello&nbsp;<b>A</b>nna,</p>\
             <table><tr><td>one<td>two</table>a &lt; b &amp c<br/>d <!-- no --> e\
             <!--[if mso]>outlook<![endif]--><!--[if !mso]><!-->shown<!--<![endif]--> 1 < 2<script>x</script>"
        ),
        ["Hello Anna,", "one", "two", "a < b &amp c|d eshown 1 < 2"],
    );
}

#[test]
fn what_is_hidden_is_kept_apart() {
    for hidden in [
        "<div style='DISPLAY : none'>no</div>yes",
        "<div hidden><p>no</p></div>yes",
        "<p hidden>no<div>yes</div>",
        "<span style=\"font-size:0px\">no</span>yes",
        "<div style='max-height:0;overflow:hidden'><b>no</b></div>yes",
        "<span style='opacity:0 !important'>no</span>yes",
        "<td style='visibility&#58;hidden'>no<td>yes",
    ] {
        let body = read(hidden, 10_000);
        assert_eq!(body.hidden, ["no"], "{hidden}");
        assert_eq!(seen(hidden), ["yes"], "{hidden}");
    }
    assert_eq!(seen("<td style='font-size:0'><div style='font-size:13px'>yes</div>no</td>"), ["yes"]);
    assert_eq!(seen("<p style='opacity:0.9;font-size:0.9em'>yes</p>"), ["yes"]);
}

#[test]
fn anchors_and_picture_texts_are_found() {
    let body = read(
        "<a href='https://a.example/?x=1&amp;y=2'> Reset <b>password</b></a><a href=mailto:x@y>mail us</a>\
         <img alt='Log in'>",
        10_000,
    );
    assert_eq!(body.links, ["https://a.example/?x=1&y=2"]);
    assert_eq!(body.buttons, ["Reset password", "mail us"]);
    assert_eq!(body.paragraphs[0].lines, ["Reset passwordmail usLog in"]);
}

#[test]
fn text_is_bounded() {
    // Found by a property test: an attribute whose name begins with a character of several octets.
    read("<p \u{e9}=1>", 1_000);
    let body = read(&"<p>0123456789".repeat(10_000), 1_000);
    assert!(body.incomplete && body.paragraphs.len() <= 101);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(html in "(<|>|/|!--|-->|\"|'|=|&|;|#|p|a|style|hidden|\u{e9}|\u{4e2d}| ){0,60}") {
        read(&html, 1_000);
    }
}

#[test]
fn addresses_are_found_wherever_they_stand() {
    let targets = |html: &str| -> Vec<(TargetKind, String, String)> {
        let body = read(html, 10_000);
        body.targets.into_iter().map(|target| (target.kind, target.address, target.label)).collect()
    };
    let one = |kind: TargetKind, address: &str, label: &str| (kind, address.to_owned(), label.to_owned());
    for (html, expected) in [
        ("<A HREF='https://a.b/'>Go <b>on</b></A>", one(TargetKind::Link, "https://a.b/", "Go on")),
        ("<a href=x href=https://a.b/>", one(TargetKind::Link, "https://a.b/", "")),
        ("<area href=https://a.b/>", one(TargetKind::Link, "https://a.b/", "")),
        (
            "<a style='padding:1px;background:#00f' href=https://a.b/>x</a>",
            one(TargetKind::Button, "https://a.b/", "x"),
        ),
        ("<svg><a xlink:href=https://a.b/>", one(TargetKind::Link, "https://a.b/", "")),
        (
            "<a href='&#104&#x74&#00000000000000000000000000000000000116;ps&colon;//a.b/'>",
            one(TargetKind::Link, "https://a.b/", ""),
        ),
        ("<div hidden><a href=https://a.b/>x</a></div>", one(TargetKind::Link, "https://a.b/", "")),
        (
            "<iframe srcdoc='&lt;a href=&quot;https://a.b/&quot;&gt;'>",
            one(TargetKind::Link, "https://a.b/", ""),
        ),
        ("<iframe src=https://a.b/></iframe>", one(TargetKind::Refresh, "https://a.b/", "")),
        (
            "<meta content='5;URL=https://a.b/' http-equiv=Refresh>",
            one(TargetKind::Refresh, "https://a.b/", ""),
        ),
        ("<!--[IF mso]>x<a href=https://a.b/>x</a><![endif]-->", one(TargetKind::Link, "https://a.b/", "")),
        ("<p>https://a.<b>b</b>/</p>", one(TargetKind::Text, "https://a.b/", "https://a.b/")),
    ] {
        assert!(
            targets(html).contains(&expected),
            "{html}: {:?}",
            targets(html).iter().map(|(_, one, _)| one).collect::<Vec<_>>()
        );
    }
    for html in
        ["<!-- <a href=https://a.b/> -->", "<img src='data:image/png;base64,AA'>", "<title>Acme</title>"]
    {
        assert!(targets(html).is_empty(), "{html}");
    }
}

#[test]
fn style_sheets_hide_text_too() {
    for html in [
        "<style>.a{display:none}</style><p class='b A'>no</p>yes",
        "<p class=a>no</p>yes<style>.a { VISIBILITY: hidden !important }</style>",
        "<style>#x{font-size:0}</style><p id=x>no</p>yes",
        "<style>i{opacity:0}</style><i>no</i>yes",
        "<p style='color:#fff;background-color:#FFF'>no</p>yes",
        "<style>.a{display:block!important}.b{display:none!important}</style><p class='a b' style='display:block'>no</p>yes",
    ] {
        assert_eq!(
            (read(html, 1_000).hidden, seen(html)),
            (vec!["no".to_owned()], vec!["yes".to_owned()]),
            "{html}"
        );
    }
    for html in [
        "<style>@media (max-width:9px){.a{display:none}}</style><p class=a>yes</p>",
        "<style>.a{display:none}</style><p class=a style='display:block'>yes</p>",
        "<style>.a{display:none}.a{display:block}</style><p class=a>yes</p>",
    ] {
        assert_eq!(seen(html), ["yes"], "{html}");
    }
}
