//! What the service manager is told: that the daemon is ready, that it stops, and that it lives.
//!
//! The watchdog is fed by a thread of its own, and only while the loops whose pulses it watches get on: a runtime that
//! stands still can't feed it, and neither can one half of the daemon for the other. A loop that waits for the disk gets
//! on: starting anew would not make the disk faster.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::admin::{Check, Watch};
use crate::pulse::{Pulse, Vital};

/// How often within the manager's time it is told that all is well.
const TIMES: u32 = 4;

/// How often it is looked whether the daemon is ready.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How closely a silent thread is looked at: so many times, with such pauses.
const LOOKS: u32 = 25;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Says that the daemon does its work, and in a few words which.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says why the daemon is not ready, whenever that changes; where it is, `well`. `systemctl status` shows it.
pub async fn tell_of_troubles(watch: Arc<dyn Watch>, well: String) {
    let mut told = Vec::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now: Vec<String> = watch.readiness().await.iter().filter_map(Check::trouble).collect();
        if now != told {
            let line = if now.is_empty() { well.clone() } else { format!("NOT READY: {}", now.join("; ")) };
            tell(&[NotifyState::Status(&line)]);
            told = now;
        }
    }
}

/// Says that the daemon stops.
pub fn stopping() {
    let states = [NotifyState::Stopping, NotifyState::Status("stopping: what is under way is finished")];
    // It waits for the end, whether or not it was told.
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(%error, "the service manager was not told of the stop");
    }
}

/// Feeds the watchdog until it is dropped.
#[derive(Debug)]
pub struct Watchdog(#[expect(dead_code, reason = "its end is the signal")] Option<Sender<()>>);

impl Watchdog {
    /// Starts feeding, where the service manager asks for it.
    pub fn start(pulses: Vec<Pulse>) -> Self {
        let Some(limit) = sd_notify::watchdog_enabled() else { return Self(None) };
        let (running, ended) = channel();
        let thread = std::thread::Builder::new().name("watchdog".to_owned());
        let started = thread.spawn(move || feed(&pulses, limit / TIMES, &ended, tell));
        if let Err(error) = started {
            tracing::error!(%error, "the watchdog's thread can't be started");
        }
        Self(Some(running))
    }
}

fn feed(pulses: &[Pulse], every: Duration, ended: &Receiver<()>, tell: impl Fn(&[NotifyState<'_>])) {
    loop {
        match pulses.iter().find_map(trouble) {
            None => tell(&[NotifyState::Watchdog]),
            Some(trouble) => {
                tracing::error!(
                    "{trouble}: the service manager is asked to start anew; the queue keeps everything"
                );
                tell(&[NotifyState::Status(&trouble), NotifyState::WatchdogTrigger]);
                return;
            }
        }
        match ended.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What is wrong with a loop, if anything is.
fn trouble(pulse: &Pulse) -> Option<String> {
    match pulse.vital() {
        Vital::Well => None,
        Vital::Lost => Some(format!("the {} was ended by a defect", pulse.name())),
        Vital::Silent(time) => {
            let held = (0..LOOKS).any(|_| {
                std::thread::park_timeout(BETWEEN_LOOKS);
                pulse.is_held()
            });
            // It may have gone on meanwhile.
            if held {
                tracing::warn!("the {} waits for the disk since {} s", pulse.name(), time.as_secs());
                pulse.excuse();
            }
            let stuck = pulse.vital() != Vital::Well;
            stuck.then(|| format!("the {} has not moved for {} s", pulse.name(), time.as_secs()))
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::pulse::Heart;

    const SOON: Duration = Duration::from_millis(1);

    /// What is told until it stops, or until `enough` was told.
    fn told(pulses: &[Pulse], enough: usize) -> Vec<String> {
        let (running, ended) = channel();
        let (running, all) = (Mutex::new(Some(running)), Arc::new(Mutex::new(Vec::new())));
        feed(pulses, SOON, &ended, |states| {
            let mut all = all.lock().unwrap();
            all.extend(states.iter().map(ToString::to_string));
            if all.len() >= enough {
                running.lock().unwrap().take();
            }
        });
        drop(running);
        Arc::try_unwrap(all).unwrap().into_inner().unwrap()
    }

    #[test]
    fn it_is_fed_while_all_loops_get_on() {
        let (works, rests) = (Heart::new("one", Duration::from_mins(1)), Heart::new("two", Duration::ZERO));
        works.works();
        let told = told(&[works.pulse(), rests.pulse()], 3);
        assert_eq!(told, ["WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    }

    #[test]
    fn one_stuck_loop_asks_for_a_new_start_and_says_which() {
        let (fine, stuck) = (Heart::new("one", Duration::from_mins(1)), Heart::new("two", Duration::ZERO));
        fine.works();
        stuck.works();
        let told = told(&[fine.pulse(), stuck.pulse()], 10);
        assert_eq!(told, ["STATUS=the two has not moved for 0 s", "WATCHDOG=trigger"]);
    }

    #[test]
    fn a_loop_that_was_ended_by_a_defect_asks_for_a_new_start() {
        let heart = Heart::new("one", Duration::from_mins(1));
        let pulse = heart.pulse();
        let thread = std::thread::spawn(move || {
            let _heart = heart;
            std::panic::resume_unwind(Box::new("a defect"));
        });
        assert!(thread.join().is_err());
        assert_eq!(told(&[pulse], 10), ["STATUS=the one was ended by a defect", "WATCHDOG=trigger"]);
    }
}
