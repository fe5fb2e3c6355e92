//! A wrong decision is mended by what `explain` prints, as it stands there, and without a restart.

use crate::harness::config::small;
use crate::harness::mail::message;
use crate::harness::relay::Relay;
use crate::harness::upstream::Upstream;

const FROM: &str = "shop@legacy.example";
const ANNA: &str = "anna@customer.example";

/// What a person would call wrong: a message, another one of the same template, and the category both should have.
struct Wrong {
    why: &'static str,
    head: [&'static str; 2],
    body: &'static str,
    category: &'static str,
}

const fn wrong(
    why: &'static str,
    one: &'static str,
    other: &'static str,
    body: &'static str,
    category: &'static str,
) -> Wrong {
    Wrong { why, head: [one, other], body, category }
}

const RESET: &str = "Somebody asked to reset the password of your account. To choose a new one, follow this link:\n\
                     https://acme.example/reset/8f14e45fceea167a5a36dedd4bea2543";
const CODE: &str = "Use this code to sign in to the shop:\n481516\nIt is good for ten minutes.";

/// Ten messages that are decided otherwise than their application means them: five would be refused, five pass.
const ALL: [Wrong; 10] = [
    wrong(
        "terse",
        "Subject: Depot 12: slip 481516",
        "Subject: Depot 7: slip 908172",
        "Slip 481516 for gate 3.",
        "mfa",
    ),
    wrong(
        "quotes",
        "Subject: It's \"your\" [gate] pass (50%)",
        "Subject: It's \"your\" [gate] pass (70%)",
        "Gate pass ready.",
        "signin",
    ),
    wrong(
        "template",
        "X-Template-Name: gate_pass_v1\nSubject: Hello Anna",
        "X-Template-Name: gate_pass_v2\nSubject: Hello Bert",
        "All set for the gate.",
        "signin",
    ),
    wrong(
        "no subject",
        "Subject: ",
        "Subject: ",
        "The barrier at the south gate opens for you with these digits\n4711",
        "mfa",
    ),
    wrong(
        "names",
        "Subject: Anna Smith wants you on the canteen rota",
        "Subject: Bert Jones wants you on the canteen rota",
        "See the rota.",
        "invitation",
    ),
    wrong("reset", "Subject: Reset your password", "Subject: Reset your password", RESET, "admin-activity"),
    wrong(
        "code",
        "Subject: 481516 is your sign-in code",
        "Subject: 908172 is your sign-in code",
        CODE,
        "marketing",
    ),
    wrong(
        "encoded",
        "Subject: =?utf-8?q?Passwort_zur=C3=BCcksetzen?=",
        "Subject: =?utf-8?q?Passwort_zur=C3=BCcksetzen?=",
        RESET,
        "unknown",
    ),
    wrong(
        "folded",
        "Subject: Reset the password\n of your\n account",
        "Subject: Reset the password of your account",
        RESET,
        "unknown",
    ),
    wrong(
        "tagged",
        "X-Mailgun-Tag: reset's \\ \"new\"\nSubject: Password reset",
        "X-Mailgun-Tag: reset's \\ \"new\"\nSubject: Password reset",
        RESET,
        "security-notice",
    ),
];

impl Wrong {
    fn message(&self, head: &str) -> Vec<u8> {
        let mut lines = vec!["From: Shop <shop@legacy.example>", "To: anna@customer.example"];
        lines.extend(head.split('\n'));
        lines.push("");
        lines.extend(self.body.split('\n'));
        message(&lines)
    }
}

/// The rule that `explain` prints, as somebody copies it.
fn printed(shown: &str) -> String {
    let rule = shown
        .lines()
        .skip_while(|line| line.trim() != "[[rules]]")
        .take_while(|line| line.starts_with("    "));
    rule.map(|line| format!("{}\n", line.trim())).collect::<Vec<_>>().concat()
}

#[test]
fn what_explain_prints_mends_a_wrong_decision_at_once() {
    let provider = Upstream::accepting();
    let limits = "[categories.mfa]\nper_recipient = []\n[categories.signin]\nper_recipient = []\n[categories.password-reset]\nper_recipient = []\n";
    let config = small(provider.address(), "", limits);
    let relay = Relay::start(&config);
    // All are asked about first, and then pasted together: no rule is in another's way.
    let mut pasted = String::new();
    for wrong in &ALL {
        let file = relay.home.write("wrong.eml", wrong.message(wrong.head[0]));
        let shown = relay.cli(&["explain", file.to_str().expect("a path")]).ok().stdout;
        let rule = printed(&shown);
        assert!(rule.starts_with("[[rules]]\nname = "), "{}: {shown}", wrong.why);
        // The category is for a person to say; all else stands as it was printed.
        let lines = rule.lines().map(|line| match line.strip_prefix("category = ") {
            Some(_) => format!("category = \"{}\"\n", wrong.category),
            None => format!("{line}\n"),
        });
        pasted.extend(lines);
    }
    relay.reload(&format!("{config}{pasted}"));
    let mut dialogue = relay.hello();
    for wrong in &ALL {
        for head in wrong.head {
            let reply = dialogue.send(FROM, &[ANNA], &wrong.message(head));
            let passes = ["mfa", "signin", "invitation"].contains(&wrong.category);
            assert_eq!(reply.code, if passes { 250 } else { 550 }, "{}: {reply}\n{pasted}", wrong.why);
            let event = relay.trace(&reply.id())["events"][0].clone();
            assert_eq!(event["category"], wrong.category, "{}: {event}", wrong.why);
        }
    }
}
