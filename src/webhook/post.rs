//! One request: signed, sent, and its answer judged. Only the status counts; what an endpoint writes beside it is read to a
//! bound, so that the connection can be used again, and thrown away.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

use super::guard::Forbidden;
use super::signature::sign;
use super::{Endpoint, schedule};
use crate::clock::Timestamp;
use crate::ident::MessageId;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);

/// How much of an answer is read.
const ANSWER_MOST: usize = 16 << 10;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Taken(u16),
    /// 410: nothing is ever to be sent there again.
    Gone,
    /// Anything else.
    Failed {
        /// What, in our own words.
        error: String,
        /// How long the endpoint wants to be left alone.
        asked: Option<Duration>,
        /// Whose fault it is.
        blame: Blame,
    },
}

/// What a failure says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The endpoint as a whole: others would fail as well.
    Endpoint,
    /// This one request.
    Request,
}

/// Sends requests to one endpoint.
pub(super) struct Poster {
    pub(super) endpoint: Arc<Endpoint>,
    client: Option<Client>,
}

impl Poster {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        let client = endpoint
            .tls
            .http()
            .dns_resolver(Arc::new(endpoint.guard.clone()))
            .timeout(endpoint.timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(endpoint.concurrency)
            .build()
            .inspect_err(|error| tracing::error!(target: "authrelay::webhook", %error, "no HTTP client"));
        Self { endpoint, client: client.ok() }
    }

    /// Sends one notice. The id is the same at each attempt, `now` is the time of this one.
    pub(super) async fn post(&self, id: MessageId, now: Timestamp, body: Vec<u8>) -> Answer {
        let Some(client) = &self.client else { return ours("the HTTP client can't be built") };
        let url = self.endpoint.target.url();
        // An address that stands in the URL itself is not looked up.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if let Some(Err(forbidden)) = literal.map(|address| self.endpoint.guard.check(address)) {
            return ours(&forbidden.to_string());
        }
        let (id, timestamp) = (format!("msg_{id}"), (now.as_millis() / 1000).to_string());
        let signature = sign(&self.endpoint.keys, &id, &timestamp, &body);
        let request = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature);
        match request.body(body).send().await {
            Ok(response) => {
                let answer = judge(response.status(), response.headers(), now);
                drain(response).await;
                answer
            }
            Err(error) => ours(&what_went_wrong(&error)),
        }
    }
}

fn ours(error: &str) -> Answer {
    Answer::Failed { error: error.to_owned(), asked: None, blame: Blame::Endpoint }
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Answer {
    if status.is_success() {
        return Answer::Taken(status.as_u16());
    }
    if status == StatusCode::GONE {
        return Answer::Gone;
    }
    let about_the_request = [
        StatusCode::BAD_REQUEST,
        StatusCode::CONFLICT,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNPROCESSABLE_ENTITY,
    ];
    Answer::Failed {
        error: format!("HTTP {}", status.as_u16()),
        asked: retry_after(headers, now),
        blame: if about_the_request.contains(&status) { Blame::Request } else { Blame::Endpoint },
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(schedule::PUT_OFF_MOST, Duration::from_secs));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(now.until(Timestamp::from_millis(at)))
}

async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER_MOST {
            return;
        }
    }
}

/// What went wrong, without the URL.
fn what_went_wrong(error: &reqwest::Error) -> String {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
            return forbidden.to_string();
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return format!("TLS: {tls}");
        }
        // An I/O error stands for what it holds: its source is that one's.
        let held = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => cause.source(),
        };
    }
    let what = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the connection ended without an answer",
    };
    what.to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::outbound::TlsClient;
    use crate::queue::Subscription;
    use crate::webhook::{Guard, Network, RecipientForm, SigningKey, Target};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn judged(status: u16, after: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.extend(after.map(|text| (RETRY_AFTER, text.parse().unwrap())));
        judge(StatusCode::from_u16(status).unwrap(), &headers, NOW)
    }

    #[test]
    fn only_2xx_counts() {
        assert_eq!(judged(204, None), Answer::Taken(204));
        assert_eq!(judged(410, None), Answer::Gone);
        for (status, blame) in [(302, Blame::Endpoint), (404, Blame::Endpoint), (422, Blame::Request)] {
            let failed = Answer::Failed { error: format!("HTTP {status}"), asked: None, blame };
            assert_eq!(judged(status, None), failed);
        }
    }

    #[test]
    fn an_endpoint_says_when_to_come_again_in_seconds_or_by_a_date() {
        let asked = |text| match judged(503, Some(text)) {
            Answer::Failed { asked, .. } => asked.map(|asked| asked.as_secs()),
            Answer::Taken(_) | Answer::Gone => None,
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("99999999999999999999999"), Some(86_400));
        assert_eq!(asked("Fri, 15 Jan 2027 08:01:00 GMT"), Some(60));
        assert_eq!(asked("Fri, 15 Jan 2027 07:00:00 GMT"), Some(0));
        for text in ["", "soon", "-5", "1.5"] {
            assert_eq!(asked(text), None, "{text}");
        }
    }

    pub(in crate::webhook) fn endpoint(url: &str, network: Network) -> Arc<Endpoint> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let subscription =
            Subscription { endpoint: "crm".into(), topics: Vec::new(), businesses: None, backlog: 100 };
        Arc::new(Endpoint {
            subscription,
            target: Target::new(url.parse().unwrap()),
            keys: vec![SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()],
            recipient: RecipientForm::Hash,
            guard: Guard { network, allowed: Vec::new() },
            tls: TlsClient(Arc::new(tls)),
            timeout: Duration::from_secs(5),
            concurrency: 1,
            keep: Duration::from_hours(1),
        })
    }

    /// Whatever the name says, nothing connects to an address that was refused: a listener that stands there sees nobody.
    #[tokio::test]
    async fn no_name_and_no_literal_leads_to_a_private_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "0x7f.1"] {
            let poster = Poster::new(endpoint(&format!("https://{host}:{port}/"), Network::Public));
            let answer = poster.post(MessageId::generate(), NOW, Vec::new()).await;
            let Answer::Failed { error, asked: None, blame: Blame::Endpoint } = answer else {
                panic!("{host}: {answer:?}")
            };
            assert!(error.contains("requests do not go there unless"), "{host}: {error}");
        }
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("somebody came"),
            () = tokio::task::yield_now() => {}
        }
        // Where it may go, it does go.
        let poster = Poster::new(endpoint(&format!("http://localhost:{port}/"), Network::Loopback));
        let post = poster.post(MessageId::generate(), NOW, Vec::new());
        let (answer, accepted) = tokio::join!(post, async { listener.accept().await.map(drop) });
        assert!(accepted.is_ok() && matches!(answer, Answer::Failed { .. }), "{answer:?}");
    }
}
