//! authrelay from its release binary: shipped defaults, sealed, recognition deciding every message, its log into a file.

use super::{Running, Setup, command, local, log, run, running};
use crate::group::Group;

/// What differs from the shipped defaults, and why.
const RAISED: &str = r#"
# The load is a thousand times what one application sends, and from one address.
[limits]
connections = 20000
connections_per_address = 20000

[queue]
# Equal messages do not occur, but are not to be looked for either: the peers do not.
dedupe = "0s"
backlog = 2000000

# Hand-over is measured, not the time an invitation is kept to see whether it is one of many.
[categories.invitation]
settle = "0s"
"#;

pub(super) fn start(setup: &Setup) -> anyhow::Result<Running> {
    let folder = &setup.folder;
    let (main, bulk) = (setup.ports.main, setup.ports.bulk);
    let config = folder.join("authrelay.toml");
    let signing = if setup.sign { keys(setup)? } else { String::new() };
    let (listener_tls, upstream, certificates) = tls(setup);
    let text = format!(
        r#"hostname = "relay.example"
state_directory = "{state}"
control_socket = "{state}/control.sock"
{certificates}
[listeners.main]
address = "127.0.0.1:{main}"
tls = "{listener_tls}"
[listeners.bulk]
address = "127.0.0.1:{bulk}"
tls = "{listener_tls}"

[businesses.kestrel]
url = "https://kestrel.example"
[clients.main]
listeners = ["main"]
burst = {{ recipients = 0, within = "1m" }}
[clients.bulk]
listeners = ["bulk"]
burst = {{ recipients = 0, within = "1m" }}

[senders.no-reply]
from = "Kestrel <no-reply@relay.example>"
{signing}
[upstreams.sink]
kind = "smtp"
port = {port}
{upstream}
{RAISED}"#,
        state = folder.join("state").display(),
        port = setup.sink.port(),
    );
    if !config.exists() {
        std::fs::write(&config, text)?;
    }
    let mut group = Group::new("authrelay");
    let mut command = command(setup, &group, &setup.programs.authrelay);
    command.arg("--config").arg(&config).arg("run").stdout(log(folder)?).stderr(log(folder)?);
    let child = command.spawn()?;
    group.rooted(child.id());
    Ok(running(group, Some(child), local(main), local(bulk), None))
}

fn tls(setup: &Setup) -> (&'static str, String, String) {
    match &setup.tls {
        None => ("off", "host = \"127.0.0.1\"\ntls = \"plain\"".to_owned(), String::new()),
        Some(files) => (
            "starttls",
            format!("host = \"localhost\"\ntls = \"starttls\"\nca_file = \"{}\"", files.authority.display()),
            format!(
                "[tls]\ncertificate = \"{}\"\nkey = \"{}\"",
                files.certificate.display(),
                files.key.display()
            ),
        ),
    }
}

fn keys(setup: &Setup) -> anyhow::Result<String> {
    for kind in ["rsa", "ed25519"] {
        let path = setup.folder.join(format!("{kind}.pem"));
        if !path.exists() {
            let mut command = std::process::Command::new(&setup.programs.authrelay);
            command
                .args(["keygen", "relay.example", "--selector", kind, "--kind", kind, "--output"])
                .arg(path);
            run(&mut command)?;
        }
    }
    let key = |kind: &str| {
        let file = setup.folder.join(format!("{kind}.pem"));
        format!("{{ selector = \"{kind}\", key_file = \"{}\" }}", file.display())
    };
    Ok(format!("dkim = [{}, {}]", key("rsa"), key("ed25519")))
}
