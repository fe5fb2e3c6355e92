//! Signs of life: tell a loop that works, or waits for something it knows, from one that is stuck.
//!
//! The loop holds a [`Heart`] and says when it gets on and when it rests; whoever watches holds its [`Pulse`]. A slow disk
//! is no reason to start anew, and no code of ours sees it from inside a system call, so the kernel is asked what the
//! thread does: one that waits for the disk, or was stopped by a debugger, is not stuck.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The loop's side. Dropped in order, nothing more is expected of the loop; dropped by a panic, it is lost.
#[derive(Debug)]
pub struct Heart(Arc<Inner>);

/// The watcher's side. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Inner>);

/// How a loop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vital {
    /// It works, rests, or has ended in order.
    Well,
    /// It has shown no progress for longer than it ever should.
    Silent(Duration),
    /// It was ended by a defect.
    Lost,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    longest: Duration,
    state: Mutex<State>,
    /// Its folder in /proc, where it has a thread of its own.
    thread: OnceLock<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Works { since: Instant },
    Rests,
    Ended,
    Lost,
}

impl Heart {
    /// A heart of a loop that never takes longer than `longest` from one sign of life to the next, unless it rests. It
    /// rests at first.
    pub fn new(name: &'static str, longest: Duration) -> Self {
        let state = Mutex::new(State::Rests);
        Self(Arc::new(Inner { name, longest, state, thread: OnceLock::new() }))
    }

    /// For the watcher.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.0))
    }

    /// Says that the loop is this thread, so that it can be seen waiting for the disk.
    pub fn is_this_thread(&self) {
        if let Ok(thread) = std::fs::read_link("/proc/thread-self") {
            let _ = self.0.thread.set(Path::new("/proc").join(thread));
        }
    }

    /// The loop gets on: the next sign of life is due within the longest time.
    pub fn works(&self) {
        self.0.set(State::Works { since: Instant::now() });
    }

    /// The loop waits for something that may take any time.
    pub fn rests(&self) {
        self.0.set(State::Rests);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.set(if std::thread::panicking() { State::Lost } else { State::Ended });
    }
}

impl Pulse {
    /// What the loop is called.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// How the loop is.
    pub fn vital(&self) -> Vital {
        match *self.0.state() {
            State::Rests | State::Ended => Vital::Well,
            State::Lost => Vital::Lost,
            State::Works { since } => {
                let silent = since.elapsed();
                if silent > self.0.longest { Vital::Silent(silent) } else { Vital::Well }
            }
        }
    }

    /// Whether the loop's thread waits for the disk or is held by a debugger at this moment. Where that can't be seen,
    /// it is not.
    pub fn is_held(&self) -> bool {
        let thread = self.0.thread.get();
        let stat = thread.and_then(|folder| std::fs::read_to_string(folder.join("stat")).ok());
        stat.as_deref().and_then(thread_state).is_some_and(|state| matches!(state, 'D' | 't' | 'T'))
    }

    /// The loop's wait is known: its time begins anew.
    pub fn excuse(&self) {
        if let State::Works { since } = &mut *self.0.state() {
            *since = Instant::now();
        }
    }
}

impl Inner {
    fn set(&self, state: State) {
        *self.state() = state;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state in a line of /proc/PID/stat: what follows the name, which may hold anything, in brackets.
fn thread_state(stat: &str) -> Option<char> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(45);

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_from_rest() {
        let heart = Heart::new("loop", LONGEST);
        let pulse = heart.pulse();
        tokio::time::advance(LONGEST * 10).await;
        assert_eq!(pulse.vital(), Vital::Well, "it has not begun");
        heart.works();
        tokio::time::advance(LONGEST).await;
        assert_eq!(pulse.vital(), Vital::Well);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(pulse.vital(), Vital::Silent(LONGEST + Duration::from_millis(1)));
        pulse.excuse();
        assert_eq!(pulse.vital(), Vital::Well);
        tokio::time::advance(LONGEST * 2).await;
        heart.rests();
        assert_eq!(pulse.vital(), Vital::Well);
        pulse.excuse();
        tokio::time::advance(LONGEST * 2).await;
        assert_eq!(pulse.vital(), Vital::Well, "an excuse does not wake who rests");
    }

    #[test]
    fn a_loop_that_panics_is_lost_and_one_that_ends_is_well() {
        let heart = Heart::new("loop", LONGEST);
        let pulse = heart.pulse();
        heart.works();
        drop(heart);
        assert_eq!(pulse.vital(), Vital::Well);
        let heart = Heart::new("loop", LONGEST);
        let pulse = heart.pulse();
        let thread = std::thread::spawn(move || {
            let _heart = heart;
            std::panic::resume_unwind(Box::new("a defect"));
        });
        assert!(thread.join().is_err());
        assert_eq!(pulse.vital(), Vital::Lost);
    }

    #[test]
    fn a_thread_that_waits_for_another_is_not_held() {
        let heart = Heart::new("loop", LONGEST);
        let pulse = heart.pulse();
        assert!(!pulse.is_held(), "it has no thread of its own");
        let (ready, told) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            heart.is_this_thread();
            ready.send(()).unwrap();
            let _ = ends.recv();
        });
        told.recv().unwrap();
        assert!(pulse.0.thread.get().is_some_and(|folder| folder.join("stat").exists()));
        assert!(!pulse.is_held());
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn the_state_stands_after_the_name_whatever_that_is() {
        assert_eq!(thread_state("7 (queue-writer) D 1 7 7 0"), Some('D'));
        assert_eq!(thread_state("7 (a) R (b) S 1 7"), Some('S'));
        assert_eq!(thread_state("nothing"), None);
    }
}
