//! No code, token, login or whole number is anywhere that a relay writes to, whatever became of its texts.

use serde_json::json;

use crate::harness::fake_twilio::{AUTH_TOKEN, Act, Call, Seen};
use crate::harness::relay::{Home, Ran, Relay};
use crate::harness::search::{Places, assert_absent, files_as_places};
use crate::harness::texts::{CALLED_BACK, OPEN, Provider, Scene, Shop, TOKEN, asking, id_of, texting, with};
use crate::harness::web::Answer;

/// Each outcome has a number and a code of its own.
const CASES: [(&str, &str, &str); 9] = [
    ("delivered", "+12124370191", "7391820001"),
    ("failed at once", "+12124370292", "7391820002"),
    ("failed later", "+12124370393", "7391820003"),
    ("unknown", "+12124370494", "7391820004"),
    ("expired", "+12124370595", "7391820005"),
    ("superseded", "+12124370696", "7391820006"),
    ("suppressed", "+12124370797", "7391820007"),
    ("refused", "+447400437088", "7391820008"),
    ("waiting", "+12124370999", "7391820009"),
];

fn case(name: &str) -> (&'static str, &'static str) {
    let found = CASES.iter().find(|(known, ..)| *known == name);
    found.map(|(_, number, code)| (*number, *code)).expect("a case")
}

/// What may stand nowhere: codes, and numbers in all forms that people write.
fn secrets() -> Vec<(&'static str, &'static str)> {
    let mut secrets =
        vec![("the token", TOKEN), ("the login", AUTH_TOKEN), ("an idempotency key", "wombat-key")];
    for (_, number, code) in CASES {
        secrets.push(("a code", code));
        // Without the country, as most records of a number have it.
        secrets.push(("a number", &number[number.len() - 7..]));
    }
    secrets
}

/// A relay whose texts come to every end there is.
struct Play {
    scene: Scene,
    /// What was answered and shown.
    shown: Places,
    ids: Vec<String>,
}

impl Play {
    fn start() -> Self {
        let provider = Provider::start();
        let test_numbers = format!("test_numbers = [\"{}\"]\n", case("suppressed").0);
        let otp = format!("{OPEN}{test_numbers}[categories.signin]\nlife = \"12s\"\n");
        let quick = format!(
            "{CALLED_BACK}breaker = {{ longest = \"1s\" }}\ntimeouts = {{ connect = \"1s\", answer = \"1s\" }}\n"
        );
        let config = texting(&provider.fake.base_url(), &quick, &otp);
        let relay = Home::new().start_at_level(&config, "trace");
        Self { scene: Scene { provider, relay }, shown: Vec::new(), ids: Vec::new() }
    }

    fn post(&mut self, name: &str) -> Answer {
        let (number, code) = case(name);
        let answer =
            self.scene.shop().post_once(&asking(number, code), &format!("wombat-key-{}", &code[6..]));
        self.shown.push((format!("the answer to {name}"), format!("{answer:?}").into_bytes()));
        answer
    }

    fn ask(&mut self, name: &str) -> String {
        let id = id_of(&self.post(name).expect(202));
        self.ids.push(id.clone());
        id
    }

    fn wait(&self, id: &str, event: &str) {
        self.scene.relay.wait_event(id, event);
    }

    /// Forward by the provider's reports; in between somebody forges one.
    fn reported(&mut self) {
        let delivered = self.ask("delivered");
        self.wait(&delivered, "handed-over");
        let sid = self.scene.provider.texts(1)[0].sid.clone();
        self.scene.provider.call_back(&sid, "delivered", None, Call::Forged, &self.scene.relay);
        self.scene.report(&sid, "delivered", None);
        self.wait(&delivered, "delivered");
        self.scene.shop().used(&delivered, true).expect(204);
        let failed = self.ask("failed later");
        self.wait(&failed, "handed-over");
        let sid = self.scene.provider.texts(2)[1].sid.clone();
        self.scene.report(&sid, "undelivered", Some(30005));
        self.wait(&failed, "failed");
    }

    /// Not taken by the provider, by the guard, or by nobody knows whom.
    fn refused(&mut self) -> String {
        self.scene.provider.fake.next(Act::Refuse(400, 21211));
        let failed = self.ask("failed at once");
        self.wait(&failed, "failed");
        let posted = self.scene.provider.fake.posts().len();
        self.scene.provider.fake.next(Act::Close);
        let unknown = self.ask("unknown");
        let posts = |seen: &[Seen]| seen.iter().filter(|seen| seen.path.ends_with("Messages.json")).count();
        self.scene.provider.until(|state| posts(&state.requests) > posted);
        let suppressed = self.ask("suppressed");
        self.wait(&suppressed, "suppressed");
        self.post("refused").problem(403, "country-not-allowed");
        unknown
    }

    /// What becomes of codes while the provider takes nothing.
    fn throttled(&mut self, unknown: &str) {
        self.scene.provider.fake.always(Act::TooMany(None));
        let superseded = self.ask("superseded");
        self.wait(&superseded, "deferred");
        let (number, code) = case("superseded");
        let newer = self.scene.shop().code(number, code);
        self.wait(&superseded, "superseded");
        let expired = self.ask("expired");
        badly(&self.scene, &mut self.shown);
        for (id, end) in [(unknown, "unknown"), (&expired, "expired"), (&newer, "expired")] {
            self.wait(id, end);
        }
        let waiting = self.ask("waiting");
        self.wait(&waiting, "deferred");
        // Its number can be seen by whoever may.
        let full = self.scene.relay.cli(&["queue", "list", "--full"]).ok().stdout;
        assert!(full.contains(case("waiting").0), "{full}");
    }

    fn looked_at(&mut self) {
        for id in &self.ids {
            let view = self.scene.shop().get(&format!("/v1/otp/{id}"));
            self.shown.push((format!("GET {id}"), format!("{view:?}").into_bytes()));
        }
    }
}

/// Requests that are wrong in ways that hold secrets.
fn badly(scene: &Scene, shown: &mut Places) {
    let (number, code) = case("waiting");
    let mut answers = Vec::new();
    let mut shop = scene.shop();
    let body = asking(number, code);
    for bad in [
        with(body.clone(), json!({ "expires_in": code })),
        with(body.clone(), json!({ "business": code })),
        with(body.clone(), json!({ "factor": number })),
        with(body.clone(), json!({ (number): code })),
        with(body.clone(), json!({ "to": format!("{number}x") })),
        with(body.clone(), json!({ "code": number })),
        json!(code),
        json!([number]),
    ] {
        answers.push(shop.post(&bad));
    }
    let stranger = format!("{TOKEN}{TOKEN}");
    answers.push(Shop::at(scene.relay.http(), &stranger).expect("a connection").post(&body));
    answers.push(shop.get(&format!("/v1/otp/{code}")));
    answers.push(shop.get(&format!("/v1/otp?to={number}&code={code}")));
    for answer in answers {
        assert!((400..500).contains(&answer.status), "{answer:?}");
        shown.push(("the answer to what is wrong".to_owned(), format!("{answer:?}").into_bytes()));
    }
}

/// What the command line shows, without `--full`.
fn told(relay: &Relay, shown: &mut Places) {
    let mut tell = |arguments: &[&str]| {
        let Ran { stdout, stderr, .. } = relay.cli(arguments).ok();
        shown.push((format!("authrelay {}", arguments.join(" ")), format!("{stdout}{stderr}").into_bytes()));
    };
    tell(&["status"]);
    tell(&["status", "--json"]);
    tell(&["queue", "list"]);
    tell(&["queue", "list", "--json"]);
    for (_, number, _) in CASES {
        tell(&["trace", number]);
        tell(&["trace", number, "--json"]);
    }
}

#[test]
fn nothing_secret_of_any_outcome_is_written_or_shown() {
    let mut play = Play::start();
    play.reported();
    let unknown = play.refused();
    play.throttled(&unknown);
    play.looked_at();
    let Play { mut scene, mut shown, .. } = play;
    told(&scene.relay, &mut shown);
    let search = |scene: &Scene, shown: &Places| {
        let mut places = files_as_places(&scene.relay.home.file("state"));
        assert!(places.iter().any(|(name, _)| name.ends_with("queue.db")), "there is no queue");
        places.push(("the log".to_owned(), scene.relay.log().into_bytes()));
        assert_absent(&secrets(), &places);
        assert_absent(&secrets(), shown);
    };
    let log = scene.relay.log();
    for word in [
        "\"TRACE\"",
        "\"delivered\"",
        "\"failed\"",
        "\"unknown\"",
        "\"expired\"",
        "\"superseded\"",
        "\"refused\"",
    ] {
        assert!(log.contains(word), "the log has no {word}");
    }
    // With everything in the write-ahead log, then as a stopped relay leaves it.
    search(&scene, &shown);
    assert!(scene.relay.stop().success());
    search(&scene, &shown);
    // Whoever has the key too finds no code, and no number of a text that has ended.
    let full = scene.relay.cli(&["queue", "list", "--offline", "--full", "--json"]).ok().stdout;
    for (name, number, code) in CASES.into_iter().filter(|(name, ..)| *name != "waiting") {
        assert!(!full.contains(number) && !full.contains(code), "{name}: {full}");
    }
    assert!(!full.contains(case("waiting").1));
}
