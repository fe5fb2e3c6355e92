//! What stays as it is for as long as the process lives: its sockets, and where its queue is. A reload that asks for
//! something else there says so, and changes the rest.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::http::{self, Bind};
use crate::smtp;

/// The state directory was to move, and with it files whose names nobody wrote down.
#[derive(Debug, thiserror::Error)]
#[error(
    "state_directory can't change while authrelay runs: it is {} and was to be {}; put it back, or move its content and \
     restart",
    running.display(), wanted.display()
)]
pub(super) struct StateDirectoryMoved {
    running: PathBuf,
    wanted: PathBuf,
}

/// Puts what can't change back into `wanted`. Says what waits for a restart, one line each.
pub(super) fn keep(running: &Config, wanted: &mut Config) -> Result<Vec<String>, StateDirectoryMoved> {
    if running.state_directory != wanted.state_directory {
        return Err(StateDirectoryMoved {
            running: running.state_directory.clone(),
            wanted: wanted.state_directory.clone(),
        });
    }
    let mut waiting = Vec::new();
    smtp_listeners(&running.listeners, &mut wanted.listeners, &mut waiting);
    http_listeners(&running.http, &mut wanted.http, &mut waiting);
    path("control_socket", &running.control_socket, &mut wanted.control_socket, &mut waiting);
    path("path in [queue]", &running.queue.path, &mut wanted.queue.path, &mut waiting);
    let (active, asked) = (running.queue.active, &mut wanted.queue.active);
    if (active.messages, active.bytes) != (asked.messages, asked.bytes) {
        waiting.push("active_messages and active_bytes in [queue] stay as they were".to_owned());
        *asked = active;
    }
    if running.log.format != wanted.log.format {
        waiting.push("format in [log] stays as it was".to_owned());
        wanted.log.format = running.log.format;
    }
    Ok(waiting)
}

/// What is open stays open, where it is; its settings may change.
fn smtp_listeners(
    running: &[smtp::ListenerConfig],
    wanted: &mut Vec<smtp::ListenerConfig>,
    waiting: &mut Vec<String>,
) {
    let mut asked = std::mem::take(wanted);
    for open in running {
        let name = &open.name;
        let Some(at) = asked.iter().position(|listener| listener.name == *name) else {
            waiting.push(format!("listener {name} stays open at {}, though it was removed", open.at));
            wanted.push(open.clone());
            continue;
        };
        let settings = asked.remove(at);
        if settings.at != open.at {
            waiting.push(format!("listener {name} stays at {}, not {} yet", open.at, settings.at));
        }
        wanted.push(smtp::ListenerConfig { at: open.at, ..settings });
    }
    waiting.extend(asked.iter().map(|new| format!("listener {} at {} is not opened yet", new.name, new.at)));
}

fn http_listeners(
    running: &[http::ListenerConfig],
    wanted: &mut Vec<http::ListenerConfig>,
    waiting: &mut Vec<String>,
) {
    let asked = std::mem::take(wanted);
    for open in running {
        let (name, place) = (&open.name, at(open));
        let found = asked.iter().find(|listener| listener.name == *name);
        let Some(settings) = found else {
            waiting.push(format!("[http.{name}] stays open at {place}, though it was removed"));
            wanted.push(open.clone());
            continue;
        };
        // What may be found at a place, and without which password, was judged for the place that was asked for. So where
        // that waits, all of it does.
        let changed = if settings.bind != open.bind {
            Some(format!("not at {} yet", at(settings)))
        } else if settings.tls != open.tls {
            Some(format!("{} TLS until then", if open.tls { "with" } else { "without" }))
        } else if settings.client_ca != open.client_ca {
            Some("not with another client_ca yet".to_owned())
        } else {
            None
        };
        match changed {
            Some(changed) => {
                waiting.push(format!("[http.{name}] stays as it was, at {place}, {changed}"));
                wanted.push(open.clone());
            }
            None => wanted.push(settings.clone()),
        }
    }
    let is_new = |listener: &&http::ListenerConfig| running.iter().all(|open| open.name != listener.name);
    let new = asked.iter().filter(is_new);
    waiting.extend(new.map(|new| format!("[http.{}] at {} is not opened yet", new.name, at(new))));
}

fn at(listener: &http::ListenerConfig) -> String {
    match &listener.bind {
        Bind::Tcp(address) => address.to_string(),
        Bind::Unix(path, _) => path.display().to_string(),
        Bind::Systemd => "the sockets of its systemd unit".to_owned(),
    }
}

fn path(what: &str, running: &Path, wanted: &mut PathBuf, waiting: &mut Vec<String>) {
    if running != wanted {
        waiting.push(stays(what, running, wanted));
        running.clone_into(wanted);
    }
}

fn stays(what: &str, running: &Path, wanted: &Path) -> String {
    format!("{what} stays {}, not {} yet", running.display(), wanted.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        let fixed = "hostname = \"relay.example\"\ncontrol_socket = \"/run/c.sock\"\n";
        std::fs::write(&path, format!("{fixed}{text}")).unwrap();
        load(Some(&path), &Environment::default()).unwrap().config
    }

    const RUNNING: &str = "state_directory = \"/s\"\n[queue]\npath = \"/q/queue.db\"\n\
        [listeners.a]\naddress = \"127.0.0.1:2501\"\n[listeners.b]\naddress = \"127.0.0.1:2502\"\n\
        [http.h]\naddress = \"127.0.0.1:8001\"\n[http.i]\naddress = \"127.0.0.1:8002\"\n";

    #[test]
    fn what_can_change_changes_and_the_rest_is_told() {
        let running = config(RUNNING);
        let mut wanted = config(
            "state_directory = \"/s\"\nlink_guard = \"strict\"\n[queue]\npath = \"/other/queue.db\"\n\
             active_messages = 77\n[log]\nformat = \"json\"\nlevel = \"debug\"\n\
             [listeners.a]\naddress = \"127.0.0.1:2509\"\ntls = \"off\"\n[listeners.c]\naddress = \"127.0.0.1:2503\"\n\
             [http.h]\naddress = \"127.0.0.1:8009\"\n[http.j]\naddress = \"127.0.0.1:8003\"\n",
        );
        let waiting = keep(&running, &mut wanted).unwrap();
        assert_eq!(
            waiting,
            [
                "listener a stays at 127.0.0.1:2501, not 127.0.0.1:2509 yet",
                "listener b stays open at 127.0.0.1:2502, though it was removed",
                "listener c at 127.0.0.1:2503 is not opened yet",
                "[http.h] stays as it was, at 127.0.0.1:8001, not at 127.0.0.1:8009 yet",
                "[http.i] stays open at 127.0.0.1:8002, though it was removed",
                "[http.j] at 127.0.0.1:8003 is not opened yet",
                "path in [queue] stays /q/queue.db, not /other/queue.db yet",
                "active_messages and active_bytes in [queue] stay as they were",
                "format in [log] stays as it was",
            ]
        );
        let shown: Vec<String> =
            wanted.listeners.iter().map(|one| format!("{} {}", one.name, one.at)).collect();
        assert_eq!(shown, ["a 127.0.0.1:2501", "b 127.0.0.1:2502"]);
        assert_eq!(wanted.listeners[0].tls, smtp::ListenerTls::Off, "a listener's settings change");
        assert_eq!(wanted.log.level, tracing::Level::DEBUG);
        assert_eq!(wanted.http, running.http);
        // What waits is told again the next time.
        let mut again = config(RUNNING);
        assert!(keep(&wanted, &mut again).unwrap().iter().all(|line| !line.contains("2509")));
    }

    /// Where the place is another, what was judged for it is not in force at the old one.
    #[test]
    fn what_is_found_at_an_http_listener_changes_unless_its_place_does() {
        let text = |address: &str, tls: &str, more: &str| {
            format!(
                "state_directory = \"/s\"\n[http.h]\naddress = \"{address}\"\ntls = \"{tls}\"\nserves = [\"admin\"{more}]\n"
            )
        };
        let running = config(&text("127.0.0.1:8001", "off", ""));
        let kept = |wanted: &str| {
            let mut wanted = config(wanted);
            let waiting = keep(&running, &mut wanted).unwrap();
            (waiting, wanted.http[0].serves.len())
        };
        assert_eq!(kept(&text("127.0.0.1:8001", "off", ", \"otp\"")), (Vec::new(), 2));
        let moved = "[http.h] stays as it was, at 127.0.0.1:8001, not at 127.0.0.1:8002 yet".to_owned();
        assert_eq!(kept(&text("127.0.0.1:8002", "off", ", \"otp\"")), (vec![moved], 1));
        let tls = "[http.h] stays as it was, at 127.0.0.1:8001, without TLS until then".to_owned();
        assert_eq!(kept(&text("127.0.0.1:8001", "on", ", \"otp\"")), (vec![tls], 1));
    }

    #[test]
    fn nothing_is_told_where_nothing_waits_and_the_state_stays_where_it_is() {
        let running = config(RUNNING);
        assert!(keep(&running, &mut config(RUNNING)).unwrap().is_empty());
        let error =
            keep(&running, &mut config(&RUNNING.replace("\"/s\"", "\"/t\""))).unwrap_err().to_string();
        assert!(error.contains("it is /s and was to be /t"), "{error}");
    }
}
