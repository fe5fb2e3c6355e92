//! Pauses of an accept loop whose accepts fail.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What is remembered of failed accepts. When descriptors or memory have run out, accept fails at once again and again:
/// without a pause the loop would spin, and without end it must go on.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pause: Duration,
    until: Option<Instant>,
}

impl Trouble {
    const FIRST_PAUSE: Duration = Duration::from_millis(10);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    /// An accept failed. The listener's name is for the log.
    pub(crate) fn with(&mut self, error: &io::Error, listener: &impl Display) {
        if is_of_the_peer(error) {
            tracing::debug!(%listener, %error, "a connection broke before it was accepted");
            return;
        }
        if self.pause.is_zero() {
            tracing::error!(%listener, %error, "connections can't be accepted; trying again until they can");
        }
        self.pause = (self.pause * 2).clamp(Self::FIRST_PAUSE, Self::LONGEST_PAUSE);
        self.until = Some(Instant::now() + self.pause);
    }

    /// An accept succeeded.
    pub(crate) fn over(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing is to be accepted now.
    pub(crate) fn is_pausing(&self) -> bool {
        self.until.is_some()
    }

    /// Completes when the pause is over; never, when there is none.
    pub(crate) async fn pause_end(&mut self) {
        match self.until {
            Some(until) => {
                sleep_until(until).await;
                self.until = None;
            }
            None => std::future::pending().await,
        }
    }
}

/// Errors of one connection that broke before it was accepted: the next one may be fine.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shortage_of_descriptors_makes_the_loop_pause_longer_and_longer_but_never_stop() {
        let name = "otp";
        let mut trouble = Trouble::default();
        trouble.with(&io::Error::from(ErrorKind::ConnectionAborted), &name);
        assert!(!trouble.is_pausing());
        let too_many_files = io::Error::from_raw_os_error(24);
        for expected in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            let before = Instant::now();
            trouble.with(&too_many_files, &name);
            trouble.pause_end().await;
            assert_eq!(before.elapsed(), Duration::from_millis(expected));
            assert!(!trouble.is_pausing());
        }
        trouble.over();
        assert_eq!(trouble.pause, Duration::ZERO);
    }
}
