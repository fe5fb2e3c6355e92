//! Chance that can be had again: everything that happens in a world follows from its seed.
//!
//! What is drawn for a thing is drawn from the seed and the thing's own name, never from one common sequence, so that one
//! more draw somewhere does not change everything behind it.

/// A seeded source of numbers (the algorithm is called `SplitMix64`).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one thing in the world of `seed`.
    pub fn of(seed: u64, thing: &str, numbers: &[u64]) -> Self {
        let mut dice = Self(seed);
        for byte in thing.bytes() {
            dice.stir(u64::from(byte));
        }
        for number in numbers {
            dice.stir(*number);
        }
        dice
    }

    fn stir(&mut self, more: u64) {
        self.0 ^= more.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = self.next();
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, and without, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number from `first` to `last`.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, cases: u64) -> bool {
        self.below(100) < cases
    }

    /// One of them, each as often as its weight says.
    pub fn weighed<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let all = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(all);
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        choices[0].1
    }
}
