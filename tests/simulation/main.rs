//! A seeded simulation of what the queue, its scheduler and the delivery do in bad weather: many lives in little time.
//!
//! A **world** (`world`) is a machine with the real queue, the real SQLite store on a simulated disk (`disk`), and the real delivery,
//! which speaks SMTP with upstreams inside this process (`upstream`). Seven applications send (`letters`), an operator
//! holds, releases, retries and removes, and the configuration changes. Time is paused: two hours take as long as they take to compute.
//!
//! Its **faults** are drawn from its seed beforehand (`scenario`, `dice`): crashes that lose all that is not committed, polite
//! restarts, a disk that fails and is slow, a wall clock that is set back and forth, further than a lease is long, and upstreams
//! that are down, mute, busy, that put off, refuse, throttle, hang, and hang up before and after the final dot.
//!
//! What was seen from outside is written down (`ledger`), and when everything has come to its end the **judge** (`judge`) holds it
//! to what is promised. Each promise stands there, with what excuses it.
//!
//! How to run more of it, and how to repeat a world, is in docs/durability.md.

#![expect(clippy::unwrap_used, reason = "a test")]

mod dice;
mod disk;
mod judge;
mod ledger;
mod letters;
mod scenario;
mod seeds;
mod upstream;
mod world;

use scenario::Scenario;
use seeds::Wanted;
use world::Universe;

/// How many lives are lived where nothing else is asked for; tests/run asks for 100,000.
const LIVES: usize = 30_000;

/// After so many worlds that fail nothing more is learnt.
const ENOUGH: usize = 3;

#[test]
fn every_world_keeps_every_promise() {
    let wanted = Wanted::from_environment(LIVES);
    let universe = Universe::new();
    let (mut lives, mut worlds, mut failed) = (0, 0, Vec::new());
    for seed in wanted.seeds() {
        let past = universe.live(Scenario::of(seed));
        let breaches = judge::judge(&past, &universe.desk);
        (lives, worlds) = (lives + past.rows.len(), worlds + 1);
        if !breaches.is_empty() {
            eprintln!("seed {seed} ({:?}): {} breaches", past.scenario.weather, breaches.len());
            breaches.iter().take(5).for_each(|breach| eprintln!("  {}", judge::story(&past, breach)));
            if let Err(error) = seeds::keep(seed, &breaches[0].what) {
                eprintln!("  the seed could not be kept: {error}");
            }
            failed.push(seed);
        }
        if wanted.enough(lives, worlds) || failed.len() == ENOUGH {
            break;
        }
    }
    println!("{lives} lives in {worlds} worlds");
    assert!(failed.is_empty(), "promises were broken in the worlds of {failed:?}");
}
