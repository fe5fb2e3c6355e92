//! What the sessions of a server did, in numbers that only grow; nothing in them is said by a peer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Counter, Form, Page};

/// The counts of one server.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) sessions: Counter,
    pub(super) turned_away: Counter,
    pub(super) not_encrypted: Counter,
    pub(super) logged_in: Counter,
    pub(super) not_logged_in: Counter,
    open: AtomicU64,
    tls_1_3: Counter,
    tls_1_2: Counter,
}

impl Stats {
    /// Counts a session, and that it is open for as long as what is given lives.
    pub(super) fn begin(&self) -> Open<'_> {
        self.sessions.one();
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    /// Counts a handshake by its version, as `tls::facts` names it.
    pub(super) fn encrypted(&self, version: &str) {
        if version == "TLSv1.2" { self.tls_1_2.one() } else { self.tls_1_3.one() }
    }

    /// Writes the counts.
    pub fn write(&self, page: &mut Page) {
        let counter = Form::Counter;
        page.single("authrelay_smtp_sessions_total", counter, "SMTP sessions begun.", self.sessions.get());
        let open = self.open.load(Ordering::Relaxed);
        page.single("authrelay_smtp_sessions_open", Form::Gauge, "SMTP sessions that are open.", open);
        let help = "SMTP connections for which there was no place.";
        page.single("authrelay_smtp_turned_away_total", counter, help, self.turned_away.get());
        page.begin("authrelay_smtp_tls_total", counter, "TLS handshakes of SMTP sessions, by version.");
        page.sample(&[("version", "1.2")], self.tls_1_2.get());
        page.sample(&[("version", "1.3")], self.tls_1_3.get());
        let help = "TLS handshakes of SMTP sessions that failed.";
        page.single("authrelay_smtp_tls_failures_total", counter, help, self.not_encrypted.get());
        page.begin("authrelay_smtp_auth_total", counter, "AUTH commands by what came of them.");
        page.sample(&[("result", "ok")], self.logged_in.get());
        page.sample(&[("result", "failed")], self.not_logged_in.get());
    }
}

/// An open session.
#[derive(Debug)]
pub(super) struct Open<'s>(&'s Stats);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
