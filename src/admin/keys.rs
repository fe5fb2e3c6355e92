//! The queue's keys, as `status` and `key list` show them.

use serde::{Deserialize, Serialize};

/// The keys that the queue is sealed with, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysView {
    /// The one that seals.
    pub seals: u32,
    /// Those on the keyring, ascending.
    pub known: Vec<u32>,
    /// Those with which something in the queue is or may be sealed, ascending.
    pub in_use: Vec<u32>,
}

impl KeysView {
    /// Older keys that are still needed.
    pub fn needed(&self) -> impl Iterator<Item = u32> + '_ {
        self.in_use.iter().copied().filter(|key| *key != self.seals)
    }

    /// Keys that nothing needs any more.
    pub fn removable(&self) -> impl Iterator<Item = u32> + '_ {
        self.known.iter().copied().filter(|key| *key != self.seals && !self.in_use.contains(key))
    }

    /// One line for each key that is not simply the only one.
    pub fn lines(&self) -> Vec<String> {
        let needed = self.needed().map(|key| {
            let place =
                if self.known.contains(&key) { "keep it" } else { "and it is MISSING in the key file" };
            format!("key {key} still opens a part of the queue, which is being sealed anew: {place}")
        });
        let removable = self
            .removable()
            .map(|key| format!("key {key} is not needed any more: authrelay key remove {key}"));
        needed.chain(removable).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_old_key_is_said_to_be_needed_or_not() {
        let lines = |known: &[u32], in_use: &[u32]| {
            KeysView { seals: 3, known: known.to_vec(), in_use: in_use.to_vec() }.lines()
        };
        assert_eq!(lines(&[3], &[3]), [""; 0]);
        let told = lines(&[1, 2, 3], &[2, 3]);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("key 2 still opens") && told[0].ends_with("keep it"), "{told:?}");
        assert_eq!(told[1], "key 1 is not needed any more: authrelay key remove 1");
        assert!(lines(&[3], &[2, 3])[0].contains("MISSING"));
    }
}
