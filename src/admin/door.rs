//! Who is let in at a listener for those who run the daemon.
//!
//! Where other machines reach it, a caller shows the password (HTTP Basic, any user name) or a certificate that the
//! listener's authorities vouch for; either is enough. On the loopback and on a unix socket nothing need be asked. There,
//! the status page answers only under names of this machine: else a page from elsewhere could give its own name the
//! address 127.0.0.1, and read what a browser on this machine is shown.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::{Kind, Problem, Vouched};
use crate::secret::{Digest, Secret};

/// What is asked of a caller.
#[derive(Debug, Clone)]
pub struct Door {
    /// The digest of the password that is enough.
    pub password: Option<Digest>,
    /// Whether a certificate that was vouched for is enough.
    pub callers: Callers,
    /// The name of this machine, under which the page answers too.
    pub hostname: String,
}

/// Who can come to a listener at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Those with a certificate that was vouched for may come in; others need the password, where there is one.
    WithCertificates,
    /// Whoever reaches the port: browsers on this machine are among them.
    OverTcp,
    /// Whoever may open the file of the socket: no browser does that by itself.
    OverFile,
}

impl Door {
    /// The routes behind it.
    pub(super) fn before(&self, routes: Router) -> Router {
        if self.is_open() {
            return routes;
        }
        routes.route_layer(middleware::from_fn_with_state(self.clone(), ask))
    }

    /// Whether a request may be answered under the name that it was made to.
    pub(super) fn knows_name(&self, fields: &HeaderMap) -> bool {
        if !self.is_open() || self.callers == Callers::OverFile {
            return true;
        }
        let name = fields.get(header::HOST).and_then(|name| name.to_str().ok());
        name.is_some_and(|name| is_of_this_machine(name, &self.hostname))
    }

    fn is_open(&self) -> bool {
        self.password.is_none() && self.callers != Callers::WithCertificates
    }

    fn lets_in(&self, request: &Request) -> bool {
        let vouched = request.extensions().get::<Vouched>().is_some();
        let shown = self.password.as_ref().zip(shown(request.headers()));
        self.callers == Callers::WithCertificates && vouched
            || shown.is_some_and(|(password, shown)| *password == shown)
    }
}

async fn ask(State(door): State<Door>, request: Request, next: Next) -> Response {
    if door.lets_in(&request) {
        return next.run(request).await;
    }
    if door.password.is_none() {
        let detail = "this listener asks for a client certificate that its client_ca vouches for";
        return Problem::of(Kind::Forbidden, detail).into_response();
    }
    let challenge = HeaderValue::from_static("Basic realm=\"authrelay\", charset=\"UTF-8\"");
    Problem::of(Kind::InvalidToken, "the admin interface asks for a password (HTTP Basic, any user name)")
        .with_field(header::WWW_AUTHENTICATE, challenge)
        .into_response()
}

/// The digest of the password that was shown (RFC 7617).
fn shown(fields: &HeaderMap) -> Option<Digest> {
    let field = fields.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = field.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(credentials.trim()).ok()?;
    let credentials = Secret::new(String::from_utf8(bytes).ok()?);
    let (_, password) = credentials.reveal().split_once(':')?;
    Some(Digest::sha256(password.as_bytes()))
}

/// Names that nobody else can point here: addresses, `localhost` (RFC 6761 section 6.3), and our own.
fn is_of_this_machine(host: &str, hostname: &str) -> bool {
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, rest)) if port(rest) => name,
        Some(_) | None => host,
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    name == "localhost"
        || name.ends_with(".localhost")
        || name == hostname.to_ascii_lowercase()
        || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: &str) -> Option<Digest> {
        let mut fields = HeaderMap::new();
        fields.insert(header::AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        shown(&fields)
    }

    #[test]
    fn the_password_is_what_stands_behind_the_first_colon() {
        let digest = Digest::sha256(b"pass:word");
        let encoded = STANDARD.encode("prometheus:pass:word");
        assert_eq!(of(&format!("Basic {encoded}")), Some(digest));
        assert_eq!(of(&format!("basic  {encoded}")), Some(digest));
        for wrong in
            [format!("Bearer {encoded}"), "Basic".to_owned(), "Basic !".to_owned(), STANDARD.encode("x")]
        {
            assert_eq!(of(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_that_somebody_else_may_point_here_is_not_ours() {
        for ours in [
            "127.0.0.1:8026",
            "127.0.0.1",
            "[::1]:8026",
            "[::1]",
            "localhost:8026",
            "LocalHost.",
            "a.localhost",
            "192.0.2.7",
            "Relay.example:1",
        ] {
            assert!(is_of_this_machine(ours, "relay.example"), "{ours}");
        }
        for theirs in ["evil.example:8026", "evil.example", "localhost.evil.example", "xlocalhost", "", ":80"]
        {
            assert!(!is_of_this_machine(theirs, "relay.example"), "{theirs}");
        }
    }

    #[test]
    fn names_are_asked_for_only_where_a_browser_of_this_machine_comes_in_unasked() {
        let door = |password: Option<Digest>, callers| Door { password, callers, hostname: String::new() };
        let mut fields = HeaderMap::new();
        fields.insert(header::HOST, HeaderValue::from_static("evil.example"));
        let password = Some(Digest::sha256(b"x"));
        assert!(!door(None, Callers::OverTcp).knows_name(&fields));
        assert!(!door(None, Callers::OverTcp).knows_name(&HeaderMap::new()));
        for known in [
            door(password, Callers::OverTcp),
            door(None, Callers::OverFile),
            door(None, Callers::WithCertificates),
        ] {
            assert!(known.knows_name(&fields), "{known:?}");
        }
    }
}
