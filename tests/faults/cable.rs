//! The line between the relay and an upstream: it hands everything on, and is cut in the middle when told to, after any
//! number of octets in either direction, with or without TLS in it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;

use crate::harness::Watched;

pub struct Cable {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// How connections are cut that begin now; `None`: not at all.
    cut: Watched<Option<(Rng, Range<usize>)>>,
    cuts: AtomicUsize,
    /// Connections that are to be cut, as the upstream sees them: what it answers there may not be heard.
    unheard: Unheard,
}

/// The far ends of connections over which answers got lost.
pub type Unheard = Arc<Watched<BTreeSet<SocketAddr>>>;

impl Cable {
    pub fn to(upstream: SocketAddr, unheard: Unheard) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the line");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared { cut: Watched::default(), cuts: AtomicUsize::new(0), unheard });
        let theirs = Arc::clone(&shared);
        // It lasts until the program ends.
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let shared = Arc::clone(&theirs);
                std::thread::spawn(move || carry(&near, upstream, &shared));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every other connection from here on is cut after so many octets from the upstream, or to it.
    pub fn cut_after(&self, seed: u64, octets: Range<usize>) {
        self.shared.cut.change(|cut| *cut = Some((Rng::with_seed(seed), octets)));
    }

    /// No further connection is cut.
    pub fn mend(&self) {
        self.shared.cut.change(|cut| *cut = None);
    }

    /// How many were.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Acquire)
    }
}

/// Which way, and after how many octets.
#[derive(Clone, Copy, Default)]
struct Cut {
    there: Option<usize>,
    back: Option<usize>,
}

fn carry(near: &TcpStream, upstream: SocketAddr, shared: &Arc<Shared>) {
    let Ok(far) = TcpStream::connect(upstream) else { return };
    let cut = shared.cut.change(|cut| match cut {
        Some((rng, octets)) => match rng.u8(..4) {
            0 => Cut { there: Some(rng.usize(octets.clone())), back: None },
            1 => Cut { there: None, back: Some(rng.usize(1..octets.end.min(400))) },
            _ => Cut::default(),
        },
        None => Cut::default(),
    });
    if cut.there.or(cut.back).is_some()
        && let Ok(end) = far.local_addr()
    {
        shared.unheard.change(|unheard| unheard.insert(end));
    }
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    std::thread::scope(|scope| {
        scope.spawn(|| hand_on(near, &far, cut.there, shared));
        hand_on(&far, near, cut.back, shared);
    });
}

/// Hands on until the end, or until the cut: then neither side hears more.
fn hand_on(mut from: &TcpStream, mut to: &TcpStream, cut: Option<usize>, shared: &Shared) {
    let mut left = cut.unwrap_or(usize::MAX);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let passes = count.min(left);
        if to.write_all(&buffer[..passes]).is_err() {
            break;
        }
        left -= passes;
        if left == 0 {
            shared.cuts.fetch_add(1, Ordering::AcqRel);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}
