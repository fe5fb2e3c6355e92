//! Certificates that were replaced on disk are picked up without anybody asking, and warned of before they end.
//!
//! The files are looked at, not watched: that works through the symbolic links of an ACME client's folder, over network
//! file systems and after a folder was replaced as a whole. A certificate and its key are two files, and for a moment they
//! may not belong together; what does not fit is tried again, and told only if it stays so.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Reloads;
use crate::certificate;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the log warns of a certificate that ends.
const WARN_EVERY: Duration = Duration::from_hours(24);

/// Runs until `stop`.
pub(in crate::daemon) async fn run(reloads: Reloads, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    // At the start, and at each reload, the configuration's warnings speak of it.
    let mut warned = Instant::now();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        watch.look(&reloads).await;
        if warned.elapsed() >= WARN_EVERY {
            warned = Instant::now();
            warn(&reloads);
        }
    }
}

/// What identifies a file's content, as far as that is seen without reading it; `None`: it is not there.
type Stamp = Option<[i64; 7]>;

#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Seen {
    paths: Vec<PathBuf>,
    stamps: Vec<Stamp>,
}

#[derive(Debug, Default)]
struct Watch {
    /// What is in use. At first nothing is known: the files may have changed since they were read.
    in_use: Option<Seen>,
    /// What could not be used, and whether that was told.
    refused: Option<(Seen, bool)>,
}

impl Watch {
    async fn look(&mut self, reloads: &Reloads) {
        let paths = reloads.certificate_paths();
        let Ok(seen) = tokio::task::spawn_blocking(move || Seen::now(paths)).await else { return };
        if self.in_use.as_ref() == Some(&seen) {
            return;
        }
        match reloads.pick_up_certificates().await {
            Ok(changed) => {
                if changed {
                    tracing::info!(files = %list(&seen.paths), "picked up a new certificate");
                    warn(reloads);
                }
                (self.in_use, self.refused) = (Some(seen), None);
            }
            Err(error) => {
                let told = match &self.refused {
                    Some((before, told)) if *before == seen => {
                        if !told {
                            tracing::error!(
                                files = %list(&seen.paths),
                                reason = error.summary(),
                                "the new certificate can't be used: the old one stays in use"
                            );
                        }
                        true
                    }
                    Some(_) | None => false,
                };
                self.refused = Some((seen, told));
            }
        }
    }
}

impl Seen {
    fn now(paths: Vec<PathBuf>) -> Self {
        let stamp = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            let [device, inode, size] = [found.dev(), found.ino(), found.size()].map(u64::cast_signed);
            // The change time too: a copy may keep the time of modification.
            Some([device, inode, size, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()])
        };
        Self { stamps: paths.iter().map(stamp).collect(), paths }
    }
}

fn warn(reloads: &Reloads) {
    let now = reloads.0.clock.now();
    for file in reloads.certificates() {
        if let Some(warning) = file.expires.and_then(|end| certificate::warning(end, now)) {
            tracing::warn!(file = %file.path.display(), "this certificate {warning}");
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
