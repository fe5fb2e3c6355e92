//! The log lines about what was refused, and how many of them one peer may cause.
//!
//! What is refused before a message is complete has no id and no event; its line in the log is all that is known of it.
//! A line holds no content, no user name and no whole address. A peer gets so many lines a minute; of the rest the
//! number is told, when the minute is over. Memory is bounded: peers beyond [`PEERS_MAX`] share one count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::admission::whoever_owns;
use crate::outcome::{Reply, scrub_reference};

use super::Peer;

/// Where operators look for these lines.
pub(super) const TARGET: &str = "authrelay::smtp";
/// Where they look for logins. contrib/fail2ban reads these lines.
const LOGIN_TARGET: &str = "authrelay::auth";
/// The time over which lines are counted.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// The most lines about one address (one /64 for IPv6) in that time.
const LINES_MAX: u32 = 10;
/// The most addresses that are counted apart.
const PEERS_MAX: usize = 1000;

/// What became of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    GoesOn,
    Closed,
}

/// Something that was refused.
pub(super) struct Refusal<'a> {
    pub peer: &'a Peer,
    /// `known` or `unknown`, where the session came so far.
    pub client: Option<&'static str>,
    pub command: Option<&'static str>,
    /// The address it was about, masked.
    pub address: Option<&'a str>,
    pub reply: &'a Reply,
    pub session: Session,
}

/// The lines of the current window, counted by peer.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    /// By owner of the address. `None`: peers without one, and all that came when the table was full.
    counts: HashMap<Option<IpAddr>, Count>,
}

#[derive(Debug, Default)]
struct Count {
    lines: u32,
    left_out: u64,
}

impl Refusals {
    /// Writes the line, unless the peer has had its share.
    pub(super) fn log(&self, refusal: &Refusal<'_>) {
        let &Refusal { peer, client, command, address, reply, session } = refusal;
        if !self.allows(peer.address) {
            return;
        }
        let closed = match session {
            Session::GoesOn => None,
            Session::Closed => Some(true),
        };
        info!(
            target: TARGET,
            listener = %peer.listener,
            peer = peer.address.map(tracing::field::display),
            client,
            command,
            address,
            code = reply.code(),
            status = reply.enhanced(),
            closed,
            reason = reply.lines().first().map(|text| scrub_reference(text)),
            "refused"
        );
    }

    /// Writes that a login failed, unless the peer has had its share. Who it wanted to be is not told: people type
    /// their password there.
    pub(super) fn log_login(&self, peer: &Peer, reply: &Reply) {
        if self.allows(peer.address) {
            warn!(
                target: LOGIN_TARGET,
                listener = %peer.listener,
                peer = peer.address.map(tracing::field::display),
                code = reply.code(),
                reason = reply.lines().first(),
                "login failed"
            );
        }
    }

    /// Writes that there was no TLS, unless the peer has had its share.
    pub(super) fn log_handshake(&self, peer: &Peer, reason: &str) {
        if self.allows(peer.address) {
            let address = peer.address.map(tracing::field::display);
            info!(target: TARGET, listener = %peer.listener, peer = address, reason, "TLS failed");
        }
    }

    /// Whether one more line about this peer may be written. If not, it is counted.
    pub(super) fn allows(&self, peer: Option<IpAddr>) -> bool {
        self.tell_when_over();
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        window.began.get_or_insert_with(Instant::now);
        let mut key = peer.map(whoever_owns);
        if window.counts.len() >= PEERS_MAX && !window.counts.contains_key(&key) {
            key = None;
        }
        let count = window.counts.entry(key).or_default();
        let allowed = count.lines < LINES_MAX;
        if allowed {
            count.lines += 1;
        } else {
            count.left_out += 1;
        }
        allowed
    }

    /// Tells how many lines were left out, if the window is over.
    pub(super) fn tell_when_over(&self) {
        let is_over = |window: &Window| window.began.is_some_and(|began| began.elapsed() >= WINDOW);
        tell(&self.end_window(is_over));
    }

    /// Tells how many lines were left out so far.
    pub(super) fn tell(&self) {
        tell(&self.end_window(|_| true));
    }

    /// Begins anew, if it is time to. Returns how many lines were left out, by peer.
    fn end_window(&self, is_over: impl FnOnce(&Window) -> bool) -> Vec<(Option<IpAddr>, u64)> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_over(&window) {
            return Vec::new();
        }
        let counts = std::mem::take(&mut *window).counts;
        let left_out = counts.into_iter().map(|(peer, count)| (peer, count.left_out));
        left_out.filter(|&(_, left_out)| left_out > 0).collect()
    }
}

fn tell(left_out: &[(Option<IpAddr>, u64)]) {
    for &(peer, left_out) in left_out {
        info!(
            target: TARGET,
            peer = peer.map(tracing::field::display),
            left_out,
            "refused more than is logged here"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_gets_so_many_lines_a_minute_and_the_rest_is_counted() {
        let refusals = Refusals::default();
        assert!(peer("192.0.2.1").is_some());
        for number in 0..25 {
            assert_eq!(refusals.allows(peer("192.0.2.1")), number < 10, "{number}");
        }
        assert!(refusals.allows(peer("192.0.2.2")));
        for number in 0..11 {
            assert_eq!(refusals.allows(peer(&format!("2001:db8::{number}"))), number < 10, "{number}");
        }
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!refusals.allows(peer("192.0.2.1")));
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut left_out = refusals.end_window(|window| window.began.unwrap().elapsed() >= WINDOW);
        left_out.sort();
        assert_eq!(left_out, [(peer("192.0.2.1"), 16), (peer("2001:db8::"), 1)]);
        assert!(refusals.allows(peer("192.0.2.1")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_refusal_after_the_minute_begins_anew() {
        let refusals = Refusals::default();
        for _ in 0..11 {
            refusals.allows(None);
        }
        tokio::time::advance(WINDOW).await;
        assert!(refusals.allows(None));
        assert_eq!(refusals.end_window(|_| true), []);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_peers_there_are_the_table_stays_small() {
        let refusals = Refusals::default();
        let lines = (0..5000_u32).filter(|&number| refusals.allows(Some(IpAddr::V4(number.into())))).count();
        assert_eq!(lines, PEERS_MAX + 10);
        assert_eq!(refusals.0.lock().unwrap().counts.len(), PEERS_MAX + 1);
        assert_eq!(refusals.end_window(|_| true), [(None, 5000 - PEERS_MAX as u64 - 10)]);
    }
}
