//! One lane of messages that wait in memory for their turn. Turns go round by client, so that a thousand messages of one
//! do not stand before one of another; and a client's messages for an upstream that can't take them now do not stand
//! before its messages for one that can.

use std::collections::VecDeque;

use crate::ident::{ClientName, UpstreamName};

/// The upstreams a message may go to, in order. Messages with equal paths wait for the same things.
pub(super) type Path = Vec<UpstreamName>;

/// What is to be done with the message at the head of a queue.
#[derive(Debug)]
pub(super) enum Turn<S, R> {
    /// It starts.
    Start(S),
    /// It can't start now, and neither can the others on its path.
    Wait,
    /// It leaves the lane.
    Leave(R),
    /// It leaves the lane, and the others on its path with it.
    LeaveAll(R),
}

/// What came out of a lane.
#[derive(Debug)]
pub(super) enum Taken<T, S, R> {
    Started(T, S),
    Left(Vec<T>, R),
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane<T> {
    clients: VecDeque<Waiting<T>>,
    length: usize,
}

/// What waits of one client. Never empty.
#[derive(Debug)]
struct Waiting<T> {
    client: ClientName,
    paths: Vec<(Path, VecDeque<T>)>,
}

impl<T> Waiting<T> {
    fn length(&self) -> usize {
        self.paths.iter().map(|(_, queue)| queue.len()).sum()
    }
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { clients: VecDeque::new(), length: 0 }
    }
}

impl<T> Lane<T> {
    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many of them are of `client`.
    pub(super) fn len_of(&self, client: &ClientName) -> usize {
        self.clients.iter().find(|waiting| waiting.client == *client).map_or(0, Waiting::length)
    }

    /// Puts a message at the end of its client's queue.
    pub(super) fn push(&mut self, client: &ClientName, path: Path, message: T) {
        self.length += 1;
        let known = self.clients.iter().position(|waiting| waiting.client == *client);
        let at = known.unwrap_or_else(|| {
            self.clients.push_back(Waiting { client: client.clone(), paths: Vec::new() });
            self.clients.len() - 1
        });
        let waiting = &mut self.clients[at];
        match waiting.paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, queue)) => queue.push_back(message),
            None => waiting.paths.push((path, VecDeque::from([message]))),
        }
    }

    /// The next message whose turn it is and that can go, or must leave. A client that gets its turn goes to the end; one
    /// that can't start anything keeps its place.
    pub(super) fn next<S, R>(&mut self, mut ask: impl FnMut(&T) -> Turn<S, R>) -> Option<Taken<T, S, R>> {
        for at in 0..self.clients.len() {
            let Some(taken) = self.clients[at].take(&mut ask) else { continue };
            let served = self.clients.remove(at);
            if let Some(served) = served.filter(|waiting| !waiting.paths.is_empty()) {
                match &taken {
                    Taken::Started(..) => self.clients.push_back(served),
                    // Leaving is no turn.
                    Taken::Left(..) => self.clients.insert(at, served),
                }
            }
            self.length -= match &taken {
                Taken::Started(..) => 1,
                Taken::Left(messages, _) => messages.len(),
            };
            return Some(taken);
        }
        None
    }

    /// Empties the lane.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.length = 0;
        let paths = self.clients.drain(..).flat_map(|waiting| waiting.paths);
        paths.flat_map(|(_, queue)| queue).collect()
    }
}

impl<T> Waiting<T> {
    fn take<S, R>(&mut self, ask: &mut impl FnMut(&T) -> Turn<S, R>) -> Option<Taken<T, S, R>> {
        for at in 0..self.paths.len() {
            let queue = &mut self.paths[at].1;
            let Some(head) = queue.front() else { continue };
            let taken = match ask(head) {
                Turn::Wait => continue,
                Turn::Start(start) => queue.pop_front().map(|message| Taken::Started(message, start)),
                Turn::Leave(reason) => Some(Taken::Left(queue.pop_front().into_iter().collect(), reason)),
                Turn::LeaveAll(reason) => Some(Taken::Left(queue.drain(..).collect(), reason)),
            };
            if queue.is_empty() {
                self.paths.remove(at);
            }
            return taken;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(messages: &[(&str, &str, u32)]) -> Lane<u32> {
        let mut lane = Lane::default();
        for (client, upstream, message) in messages {
            lane.push(&ClientName::new(client), vec![UpstreamName::new(upstream)], *message);
        }
        lane
    }

    fn started(lane: &mut Lane<u32>, mut ask: impl FnMut(&u32) -> Turn<(), ()>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(taken) = lane.next(&mut ask) {
            match taken {
                Taken::Started(message, ()) => order.push(message),
                Taken::Left(messages, ()) => order.extend(messages.iter().map(|message| message + 1000)),
            }
        }
        order
    }

    #[test]
    fn one_message_of_another_client_goes_second_whatever_waits_before_it() {
        let mut lane = Lane::default();
        for message in 0..10_000 {
            lane.push(&ClientName::new("busy"), vec![UpstreamName::new("one")], message);
        }
        lane.push(&ClientName::new("other"), vec![UpstreamName::new("one")], 77_777);
        assert_eq!(lane.len(), 10_001);
        let mut go = |_: &u32| Turn::<(), ()>::Start(());
        assert!(matches!(lane.next(&mut go), Some(Taken::Started(0, ()))));
        assert!(matches!(lane.next(&mut go), Some(Taken::Started(77_777, ()))));
        assert!(matches!(lane.next(&mut go), Some(Taken::Started(1, ()))));
        assert_eq!(lane.len(), 9998);
        assert_eq!(lane.len_of(&ClientName::new("busy")), 9998);
    }

    #[test]
    fn turns_go_round_by_client() {
        let mut lane =
            lane(&[("a", "one", 1), ("a", "one", 2), ("a", "one", 3), ("b", "one", 4), ("c", "one", 5)]);
        assert_eq!(started(&mut lane, |_| Turn::Start(())), [1, 4, 5, 2, 3]);
        assert_eq!(lane.len(), 0);
    }

    #[test]
    fn what_waits_for_one_upstream_does_not_stand_before_what_goes_to_another() {
        let mut lane = lane(&[("a", "full", 1), ("a", "free", 2), ("b", "full", 3), ("a", "free", 4)]);
        let even = |message: &u32| if message.is_multiple_of(2) { Turn::Start(()) } else { Turn::Wait };
        assert_eq!(started(&mut lane, even), [2, 4]);
        // Those that waited kept their places.
        assert_eq!(started(&mut lane, |_| Turn::Start(())), [3, 1]);
    }

    #[test]
    fn a_path_that_is_blocked_leaves_as_one() {
        let mut lane = lane(&[("a", "dead", 1), ("a", "dead", 2), ("a", "good", 3), ("b", "good", 4)]);
        let ask = |message: &u32| if *message < 3 { Turn::LeaveAll(()) } else { Turn::Start(()) };
        assert_eq!(started(&mut lane, ask), [1001, 1002, 3, 4]);
        assert_eq!(lane.len(), 0);
    }
}
