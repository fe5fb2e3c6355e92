//! Exim from Debian's package, with a spool, a port and a configuration of its own. A process a message, and delivery begins
//! at once, as Debian sets it up.

use std::fs;
use std::process::Command;

use super::{Running, Setup, command, local, log, run, running};
use crate::group::Group;

pub(super) fn start(setup: &Setup) -> anyhow::Result<Running> {
    let port = setup.ports.main;
    let folder = &setup.folder;
    let (config, spool) = (folder.join("exim.conf"), folder.join("spool"));
    fs::create_dir_all(&spool)?;
    run(Command::new("chown").arg("Debian-exim:Debian-exim").arg(&spool))?;
    fs::write(&config, conf(setup, port))?;
    let mut group = Group::new("exim");
    let mut command = command(setup, &group, &setup.programs.exim);
    // In the foreground. A queue runner starts every 30 minutes, as Debian sets it.
    command.arg("-C").arg(&config).args(["-bdf", "-q30m"]).stdout(log(folder)?).stderr(log(folder)?);
    let child = command.spawn()?;
    group.rooted(child.id());
    let mut flush = group.command(&setup.programs.exim);
    flush.arg("-C").arg(&config).arg("-qff");
    Ok(running(group, Some(child), local(port), local(port), Some(flush)))
}

fn conf(setup: &Setup, port: u16) -> String {
    let (server_tls, client_tls) = match &setup.tls {
        None => (String::new(), String::new()),
        Some(files) => (
            format!(
                "tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n",
                files.certificate.display(),
                files.key.display()
            ),
            format!("  hosts_require_tls = *\n  tls_verify_certificates = {}\n", files.authority.display()),
        ),
    };
    let no_tls = if setup.tls.is_none() { "tls_advertise_hosts =\n" } else { "" };
    format!(
        r"spool_directory = {spool}
log_file_path = {spool}/log/%slog
primary_hostname = relay.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
pid_file_path = {folder}/exim.pid
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
message_size_limit = 20M
acl_smtp_rcpt = accept_all
acl_smtp_data = accept_all
host_lookup =
rfc1413_hosts =
deliver_drop_privilege
{no_tls}{server_tls}
begin acl
accept_all:
  accept
begin routers
gateway:
  driver = manualroute
  route_list = * localhost byname
  self = send
  transport = sink
begin transports
sink:
  driver = smtp
  port = {sink}
  hosts_try_fastopen =
{client_tls}begin retry
* * F,2h,15m; G,16h,1h,1.5; F,4d,6h
begin rewrite
*@* no-reply@relay.example Ff
",
        spool = setup.folder.join("spool").display(),
        folder = setup.folder.display(),
        sink = setup.sink.port(),
    )
}
