//! The process itself: no core dumps, no way into its memory, nothing secret on command lines or in what children get.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::harness::config::{client_with_password, small};
use crate::harness::relay::Relay;
use crate::harness::upstream::Upstream;

#[test]
fn a_plain_run_leaves_no_core_and_its_memory_is_private() {
    let provider = Upstream::accepting();
    let relay = Relay::start(&small(provider.address(), "", ""));
    let process = |name: &str| format!("/proc/{}/{name}", relay.process());
    let limits = fs::read_to_string(process("limits")).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{core}");
    // What is not dumpable belongs to root, whoever runs it; run by root itself that can't be told.
    let owner = fs::metadata(process("environ")).expect("its environment").uid();
    assert_eq!(owner, 0, "other programs of this user can read its memory");
    let line = fs::read_to_string(process("cmdline")).expect("its command line");
    let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
    assert_eq!(words.len(), 4, "the program, --config, the file and run: {words:?}");
}

/// What `check --live` starts is told nothing of what stands in our environment.
#[test]
fn a_child_is_given_no_secret() {
    let provider = Upstream::accepting();
    let home = crate::harness::relay::Home::new();
    let secret = "okapi-in-environment";
    let login = "user = \"relay\"\npassword_env = \"PROVIDER_PASSWORD\"";
    let upstream = crate::harness::config::upstream("provider", provider.address(), login);
    let config = format!(
        "{}{}{}{upstream}",
        crate::harness::config::LISTENER,
        client_with_password(""),
        crate::harness::config::NO_REPLY
    );
    home.configure(&config, "debug");
    fs::create_dir(home.file("bin")).expect("a folder");
    let spy =
        home.write("bin/timedatectl", "#!/bin/sh\n{ env; echo \"$@\"; } > \"${0%/*}/seen\"\necho yes\n");
    fs::set_permissions(&spy, fs::Permissions::from_mode(0o755)).expect("changed");
    let mut command = home.command();
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", home.file("bin").display())).env("PROVIDER_PASSWORD", secret);
    command.arg("--config").arg(home.config()).args(["check", "--live", "--dns", "127.0.0.1:9"]);
    let ran = home.run(command, "");
    let seen = fs::read_to_string(home.file("bin/seen")).unwrap_or_else(|_| panic!("no child: {ran:?}"));
    assert!(seen.contains("PATH=") && !seen.contains(secret), "{seen}");
    assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{ran:?}");
}
