//! `authrelay clients`

use std::process::ExitCode;

use super::control::Control;
use super::{Place, block_on, print_json};
use crate::admin::{ClientView, ClientsView, StrangerView};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this client.
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let control = Control::open(place)?;
    let mut view: ClientsView = block_on(control.get("/v1/clients", &[]))?;
    if let Some(name) = &args.name {
        view.clients.retain(|client| client.name == *name);
        view.strangers.clear();
        anyhow::ensure!(!view.clients.is_empty(), "there is no client of this name in the configuration");
    }
    if args.json {
        print_json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    view.clients.iter().for_each(tell);
    if !view.strangers.is_empty() {
        say!("not configured, and refused:");
        view.strangers.iter().for_each(tell_stranger);
        say!(
            "  -> where one of these is an application of yours: `authrelay client add`, or its address in `networks`"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(client: &ClientView) {
    let Some(last) = &client.last_seen else {
        say!("{}: never seen", client.name);
        say!("  -> point it here, or remove it from the configuration");
        return;
    };
    let tls: Vec<String> = client.tls.iter().map(|(version, times)| format!("{version} {times}")).collect();
    say!(
        "{}: {}, last {last}",
        client.name,
        super::plural(usize::try_from(client.messages).unwrap_or(usize::MAX), "message")
    );
    say!("  from {}; EHLO {}; TLS: {}", client.addresses.join(", "), client.ehlo.join(", "), tls.join(", "));
    for advice in &client.advice {
        say!("  {}", advice.seen);
        say!("  -> {}", advice.advice);
    }
}

fn tell_stranger(stranger: &StrangerView) {
    let StrangerView { address, ehlo, listener, attempts, last_seen, .. } = stranger;
    let login = if stranger.tried_login { ", logins failed" } else { "" };
    say!("  {address} ({ehlo}) on {listener}: {attempts} times{login}, last {last_seen}");
}
