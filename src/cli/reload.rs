//! `authrelay reload`

use std::process::ExitCode;

use super::control::Control;
use super::{EX_CONFIG, Place, block_on, print_json};
use crate::admin::{CertificateView, ReloadView, ReloadsView};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print only what is wrong, or should be looked at.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    let verdict: ReloadView = block_on(control.post("/v1/reload", &()))?;
    if args.json {
        print_json(&verdict)?;
    } else {
        print(&verdict, args.quiet);
    }
    Ok(match (verdict.in_force, verdict.config_error) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(EX_CONFIG),
        (false, false) => ExitCode::FAILURE,
    })
}

fn print(verdict: &ReloadView, quiet: bool) {
    if let Some(error) = &verdict.error {
        complain!("{error}");
        complain!("nothing was changed: the configuration from before stays in force");
        return;
    }
    for warning in &verdict.warnings {
        complain!("{warning}");
    }
    for what in &verdict.restart {
        complain!("waits for a restart: {what}");
    }
    if quiet {
        return;
    }
    for secret in &verdict.fixed_secrets {
        say!("not read again before a restart: {secret}");
    }
    for CertificateView { path, expires, warning: _ } in &verdict.certificates {
        let expires = expires.as_deref().unwrap_or("nobody knows when");
        say!("certificate {path}: good until {expires}");
    }
    let source = verdict.source.as_deref().unwrap_or("the built-in configuration");
    say!("{source} is in force since now, after {} ms", verdict.milliseconds);
}

/// What `status` says of reloads and certificates.
pub(super) fn print_status(reloads: &ReloadsView, certificates: &[CertificateView]) {
    let ReloadsView { in_force_since, succeeded, failed, .. } = reloads;
    say!("configuration in force since {in_force_since}, {succeeded} reloads, {failed} refused");
    if let (Some(at), Some(why)) = (&reloads.last, &reloads.refused) {
        say!("WARNING: the reload at {at} was refused: {why}");
    }
    if let Some(why) = &reloads.not_picked_up {
        say!("WARNING: a new certificate can't be used, and the old one stays in use: {why}");
    }
    for CertificateView { path, expires, warning } in certificates {
        if let Some(warning) = warning {
            say!("WARNING: certificate {path} {warning}");
        } else {
            let expires = expires.as_deref().unwrap_or("nobody knows when");
            say!("certificate {path}: good until {expires}");
        }
    }
}
