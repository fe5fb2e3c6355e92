//! Codes for phones: a client that asks for them, and the provider that gets them.

use std::io;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::config::{LISTENER, NO_REPLY, sha256};
use super::fake_twilio::{ACCOUNT, AUTH_TOKEN, Call, FakeTwilio, State};
use super::relay::Relay;
use super::web::{Answer, Connection};

/// The token of the client `shop`.
pub const TOKEN: &str = "0123456789-a-token-of-a-test-0123456789-0123456789";

/// Somebody's number.
pub const ANNA: &str = "+12125550100";
pub const CODE: &str = "739182";

/// A text of the account that nobody here can mistake.
pub fn text_of(code: &str) -> String {
    format!("{code} is your one-time code to sign in to acme.example #{code}")
}

/// Both factors to the United States, and limits that nobody meets.
pub const OPEN: &str = "primary = true\nsecondary = true\ncountries = [\"US\"]\nclient_rate = 10000\n\
    client_burst = 100000\nnumber_pause = \"0s\"\nper_number = [\"1000/1h\"]\nper_prefix = [\"100000/1h\"]\n\
    per_client = [\"1000000/1h\"]\nper_business = [\"1000000/1h\"]\nin_all = [\"1000000/1d\"]\n";

/// `public_url` as a setting of an upstream. Nothing is there: callbacks are made where the relay listens.
pub const CALLED_BACK: &str = "public_url = \"https://relay.acme.example\"\n";

/// The client `shop`, its business, mail into a folder, and listeners for both interfaces.
pub fn shop() -> String {
    let digest = sha256(TOKEN);
    format!(
        "{LISTENER}[http.http]\naddress = \"127.0.0.1:0\"\nserves = [\"otp\"]\n\
         [http.callback]\naddress = \"127.0.0.1:0\"\nserves = [\"callback\"]\n\
         [clients.shop]\nbusiness = \"acme\"\ntoken_sha256 = \"{digest}\"\n\
         [businesses.acme]\nurl = \"https://acme.example\"\n{NO_REPLY}\
         [upstreams.mail]\nkind = \"maildir\"\n"
    )
}

/// An upstream at a provider. `more` are further settings.
pub fn twilio(name: &str, base_url: &str, more: &str) -> String {
    format!(
        "[upstreams.{name}]\nkind = \"twilio\"\naccount_sid = \"{ACCOUNT}\"\nauth_token = \"{AUTH_TOKEN}\"\n\
         from = \"+15005550006\"\nbase_url = \"{base_url}\"\n{more}\n"
    )
}

/// All of it: [`shop`], an upstream, and `[otp]`.
pub fn texting(base_url: &str, of_upstream: &str, otp: &str) -> String {
    format!("{}{}[otp]\n{otp}\n", shop(), twilio("phones", base_url, of_upstream))
}

/// A provider on threads of its own.
pub struct Provider {
    pub fake: FakeTwilio,
    runtime: Runtime,
}

impl Provider {
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at an address where nobody listened before.
    pub fn start_at(address: SocketAddr) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let fake = runtime.block_on(FakeTwilio::start_at(address));
        Self { fake, runtime }
    }

    /// Waits until what it saw is as asked.
    #[track_caller]
    pub fn until(&self, done: impl FnMut(&State) -> bool) -> State {
        self.runtime.block_on(self.fake.until(done))
    }

    /// Waits until it has so many texts; they are in the order in which they came.
    #[track_caller]
    pub fn texts(&self, count: usize) -> Vec<super::fake_twilio::Text> {
        self.until(|state| state.texts.len() >= count).texts
    }

    /// Calls the relay back about a text; gives the status of the answer.
    pub fn call_back(&self, sid: &str, status: &str, error: Option<u32>, call: Call, relay: &Relay) -> u16 {
        let address = relay.listener("callback");
        self.runtime.block_on(self.fake.call_back(sid, status, error, call, address))
    }

    /// Sends the bytes of the last call again.
    pub fn repeat(&self, relay: &Relay) -> u16 {
        self.runtime.block_on(self.fake.repeat(relay.listener("callback")))
    }
}

/// A relay before a provider.
pub struct Scene {
    pub provider: Provider,
    pub relay: Relay,
}

impl Scene {
    /// `upstream` are settings of the upstream, `otp` those of `[otp]` and further tables.
    pub fn start(upstream: &str, otp: &str) -> Self {
        let provider = Provider::start();
        let relay = Relay::start(&texting(&provider.fake.base_url(), upstream, otp));
        Self { provider, relay }
    }

    pub fn shop(&self) -> Shop {
        Shop::of(&self.relay)
    }

    /// Calls the relay back, rightly signed.
    #[track_caller]
    pub fn report(&self, sid: &str, status: &str, error: Option<u32>) {
        let answered = self.provider.call_back(sid, status, error, Call::Signed, &self.relay);
        assert_eq!(answered, 204);
    }

    /// How many reports became what: `applied`, `stale`, `unknown` or `forged`.
    #[track_caller]
    pub fn reports(&self, what: &str) -> u64 {
        let status = self.relay.cli(&["status", "--json"]).json();
        status["reports"][what].as_u64().unwrap_or_else(|| panic!("{what} in {status}"))
    }

    /// What `status` says of the provider.
    #[track_caller]
    pub fn upstream(&self) -> Value {
        let status = self.relay.cli(&["status", "--json"]).json();
        let upstreams = status["upstreams"].as_array().expect("a list");
        upstreams.iter().find(|upstream| upstream["name"] == "phones").expect("the provider").clone()
    }
}

/// A body that asks for a code.
pub fn asking(to: &str, code: &str) -> Value {
    json!({ "to": to, "code": code, "factor": "primary" })
}

/// The body with further members.
pub fn with(mut body: Value, more: Value) -> Value {
    let (Value::Object(body_members), Value::Object(more)) = (&mut body, more) else { panic!("objects") };
    body_members.extend(more);
    body
}

/// A client of the relay's HTTP interface: over a new connection each time, but for [`Shop::try_post`].
#[derive(Debug)]
pub struct Shop {
    address: SocketAddr,
    connection: Connection,
    token: String,
}

impl Shop {
    pub fn of(relay: &Relay) -> Self {
        Self::at(relay.http(), TOKEN).expect("the relay listens")
    }

    pub fn at(address: SocketAddr, token: &str) -> io::Result<Self> {
        Ok(Self { address, connection: Connection::open(address)?, token: format!("Bearer {token}") })
    }

    /// Posts a body to `/v1/otp`.
    pub fn try_post(&mut self, body: &Value, key: Option<&str>) -> io::Result<Answer> {
        let key = key.map(|key| format!("\"{key}\""));
        let mut fields = vec![("Authorization", self.token.as_str()), ("Content-Type", "application/json")];
        fields.extend(key.as_deref().map(|key| ("Idempotency-Key", key)));
        self.connection.ask("POST", "/v1/otp", &fields, &body.to_string())
    }

    /// A new connection: one that is not used for a while is closed.
    fn renew(&mut self) -> &mut Self {
        self.connection = Connection::open(self.address).expect("the relay listens");
        self
    }

    #[track_caller]
    pub fn post(&mut self, body: &Value) -> Answer {
        self.renew().try_post(body, None).expect("an answer")
    }

    /// The same with an idempotency key.
    #[track_caller]
    pub fn post_once(&mut self, body: &Value, key: &str) -> Answer {
        self.renew().try_post(body, Some(key)).expect("an answer")
    }

    /// Asks for a code that must be taken, and gives its id.
    #[track_caller]
    pub fn code(&mut self, to: &str, code: &str) -> String {
        id_of(&self.post(&asking(to, code)).expect(202))
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.renew();
        let fields = [("Authorization", self.token.as_str())];
        self.connection.ask("GET", path, &fields, "").expect("an answer")
    }

    /// How the code stands.
    #[track_caller]
    pub fn status(&mut self, id: &str) -> String {
        let status = self.get(&format!("/v1/otp/{id}")).expect(200).json()["status"].clone();
        status.as_str().expect("a word").to_owned()
    }

    /// Tells whether the code was used.
    #[track_caller]
    pub fn used(&mut self, id: &str, used: bool) -> Answer {
        self.renew();
        let fields = [("Authorization", self.token.as_str()), ("Content-Type", "application/json")];
        let body = json!({ "used": used }).to_string();
        self.connection.ask("POST", &format!("/v1/otp/{id}/feedback"), &fields, &body).expect("an answer")
    }
}

/// The id in an answer.
#[track_caller]
pub fn id_of(answer: &Answer) -> String {
    answer.json()["id"].as_str().expect("an id").to_owned()
}
