//! Postfix from Debian's package, as an instance with a queue, ports and configuration of its own. What its defaults are,
//! stays: a sync before `250`, 100 processes of a kind, 20 connections to one destination.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Running, Setup, command, local, run, running};
use crate::group::Group;

pub(super) fn start(setup: &Setup) -> anyhow::Result<Running> {
    let port = setup.ports.main;
    let folder = &setup.folder;
    let (config, queue, data) = (folder.join("etc"), folder.join("queue"), folder.join("data"));
    for path in [&config, &queue, &data] {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    run(Command::new("chown").arg("postfix").arg(&data))?;
    fs::write(config.join("main.cf"), main_cf(setup, &queue, &data))?;
    fs::write(config.join("master.cf"), master_cf(port))?;
    // Its files live in a folder that its own user has to reach.
    open_the_way(folder);
    // Makes the folders of the queue with their owners.
    run(Command::new("postfix").arg("-c").arg(&config).args(["set-permissions", "create-missing"]))
        .or_else(|_| run(Command::new("postfix").arg("-c").arg(&config).arg("check")))?;
    let mut group = Group::new("postfix");
    let program = Path::new("/usr/lib/postfix/sbin/master");
    let mut command = command(setup, &group, program);
    // In the foreground, and with its own process group like `postfix start` gives it.
    command.arg("-c").arg(&config).arg("-d").env("MAIL_CONFIG", &config);
    let child = command.spawn()?;
    group.rooted(child.id());
    let mut flush = Command::new("postqueue");
    flush.arg("-c").arg(&config).arg("-f");
    Ok(running(group, Some(child), local(port), local(port), Some(flush)))
}

fn main_cf(setup: &Setup, queue: &Path, data: &Path) -> String {
    let mut text = format!(
        "compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
multi_instance_name = postfix-bench
multi_instance_enable = yes
myhostname = relay.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{port}
smtp_host_lookup = native
sender_canonical_classes = envelope_sender, header_sender
sender_canonical_maps = static:no-reply@relay.example
local_header_rewrite_clients = permit_mynetworks
message_size_limit = 20000000
alias_maps =
alias_database =
",
        queue = queue.display(),
        data = data.display(),
        port = setup.sink.port(),
    );
    if let Some(files) = &setup.tls {
        text = text.replace("relayhost = [127.0.0.1]", "relayhost = [localhost]");
        let more = format!(
            "smtpd_tls_security_level = may
smtpd_tls_chain_files = {}, {}
smtp_tls_security_level = verify
smtp_tls_CAfile = {}
smtp_tls_verify_cert_match = hostname
",
            files.key.display(),
            files.certificate.display(),
            files.authority.display()
        );
        text.push_str(&more);
    }
    text
}

/// Debian's services, but none in a chroot and only this port.
fn master_cf(port: u16) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

/// Every folder above may be passed through.
fn open_the_way(folder: &Path) {
    let above: Vec<PathBuf> = folder.ancestors().take(3).map(Path::to_owned).collect();
    for path in above {
        if let Ok(found) = fs::metadata(&path) {
            let mode = found.permissions().mode() | 0o111;
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        }
    }
}
