"""Runs inside the booted container, as root: installs the package and lives with it as an administrator would.

What was answered with 250 has to reach the upstream exactly once, whatever happens in between. Prints one line for each
step; the last line is "all passed" or says what went wrong.
"""

import glob
import os
import re
import resource
import signal
import smtplib
import socket
import socketserver
import subprocess
import sys
import threading
import time
import traceback

CONFIG = """\
hostname = "relay.test"
[listeners.smtp]
address = "systemd"
[listeners.submission]
address = "systemd"
tls = "required"
[listeners.submissions]
address = "systemd"
tls = "implicit"
[http.http]
address = "systemd"
tls = "off"
[clients.app]
networks = ["127.0.0.0/8", "::1"]
token_sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
[businesses.acme]
url = "https://acme.example"
[otp]
secondary = true
countries = ["US"]
[senders.no-reply]
from = "Acme <no-reply@acme.example>"
[upstreams.provider]
host = "127.0.0.1"
port = 2600
tls = "plain"
breaker.longest = "2s"
[upstreams.outbox]
kind = "outbox"
[queue]
key_credential = "queue.key"
"""

SOCKETS = [f"authrelay-{name}.socket" for name in ("smtp", "submission", "submissions", "http")]
PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "http": 8025}


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def shows(unit, name):
    return run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()


def pid():
    return int(shows("authrelay.service", "MainPID"))


def until(what, condition, limit=60):
    """Waits for what has no event that could be awaited from here."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {limit} s in vain for: {what}")


def equal(found, wanted, what):
    assert found == wanted, f"{what}: {found!r} instead of {wanted!r}"


class Upstream:
    """The provider: counts each message by the number in its header."""

    def __init__(self):
        self.seen, self.lock, self.server = {}, threading.Lock(), None
        # Up to this number a message may have come twice.
        self.in_doubt = 0

    def up(self):
        upstream = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                self.say("220 provider")
                while line := self.rfile.readline():
                    word = line.split()[0].upper() if line.split() else b""
                    if word == b"DATA":
                        self.say("354 go on")
                        self.message()
                    elif word == b"QUIT":
                        return self.say("221 bye")
                    else:
                        self.say("250 ok")

            def message(self):
                text = b""
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    text += line
                with upstream.lock:
                    for number in re.findall(rb"^X-Number: (\d+)", text, re.M):
                        upstream.seen[int(number)] = upstream.seen.get(int(number), 0) + 1
                self.say("250 taken")

            def say(self, line):
                self.wfile.write(line.encode() + b"\r\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                """A connection that broke: the other side was killed."""

        self.server = Server(("127.0.0.1", 2600), Session)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    def await_all(self, numbers):
        until("all that was accepted at the provider", lambda: set(numbers) <= set(self.seen), 120)
        with self.lock:
            repeated = {number: times for number, times in self.seen.items() if times > (2 if number <= self.in_doubt else 1)}
        equal(repeated, {}, "messages that came more than once")


def mail(number):
    return (
        f"From: shop@acme.example\r\nTo: p{number}@customer.example\r\nSubject: Reset your password\r\n"
        f"X-Number: {number}\r\n\r\nSomebody asked to reset the password of your account. To choose a new one, follow "
        f"this link:\r\nhttps://acme.example/reset?token=3q2-7w{number}\r\nIf it was not you, ignore this message.\r\n"
    )


class Sender:
    """An application without a queue: what is answered with anything but 250 is an error here."""

    def __init__(self):
        self.next, self.lock, self.accepted, self.errors = 0, threading.Lock(), [], []

    def number(self):
        with self.lock:
            self.next += 1
            return self.next

    def send(self, host="127.0.0.1"):
        number = self.number()
        with smtplib.SMTP(host, 25, "app.test", timeout=120) as client:
            client.sendmail("shop@acme.example", [f"p{number}@customer.example"], mail(number))
        with self.lock:
            self.accepted.append(number)
        return number

    def send_again_if_cut_off(self):
        """The watchdog's signal wakes the stopped process for a moment, in which it may take a connection with it."""
        try:
            self.send()
        except smtplib.SMTPServerDisconnected:
            self.send()

    def load(self, threads=4):
        return Load(self, threads)


class Load:
    """Sends as fast as it goes for the length of a `with`."""

    def __init__(self, sender, threads):
        self.sender, self.stop = sender, threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(threads)]

    def work(self):
        while not self.stop.is_set():
            try:
                self.sender.send()
            except (OSError, smtplib.SMTPException) as error:
                self.sender.errors.append(repr(error))

    def __enter__(self):
        before = len(self.sender.accepted)
        for thread in self.threads:
            thread.start()
        until("the load", lambda: len(self.sender.accepted) > before)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(180)


upstream, sender = Upstream(), Sender()


def write_config(text):
    with open("/etc/authrelay/authrelay.toml", "w") as file:
        file.write(text)


def installs_and_enables_nothing():
    run("dpkg", "-i", "/test/old.deb")
    for unit in ["authrelay.service", *SOCKETS]:
        equal(run("systemctl", "is-enabled", unit, check=False).stdout.strip(), "disabled", unit)
        equal(run("systemctl", "is-active", unit, check=False).stdout.strip(), "inactive", unit)
    found = run("stat", "-c", "%U:%G %a", "/etc/authrelay", "/etc/authrelay/certs", "/etc/authrelay/authrelay.toml")
    equal(found.stdout.split("\n")[:3], ["root:authrelay 750", "root:authrelay 750", "root:authrelay 640"], "folders")
    assert os.path.exists("/usr/share/bash-completion/completions/authrelay")
    run("authrelay", "check", "--quiet")
    run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/authrelay.service")


def starts_by_its_own_defaults():
    """The packaged configuration as it is: a try-out on the loopback."""
    run("systemctl", "start", "authrelay")
    with smtplib.SMTP("127.0.0.1", 2525, "app.test") as client:
        client.sendmail("shop@acme.example", ["anna@customer.example"], mail(0))
    until("the maildir", lambda: glob.glob("/var/lib/authrelay/maildir/new/*"))
    run("systemctl", "stop", "authrelay")


def a_config_that_is_wrong_ends_with_its_own_status():
    write_config("nonsense = 1\n")
    assert run("systemctl", "start", "authrelay", check=False).returncode != 0
    equal(shows("authrelay.service", "ExecMainStatus"), "78", "exit status")
    equal(shows("authrelay.service", "ActiveState"), "failed", "it is not started again")
    # Somebody who connects does not make it start over and over.
    run("systemctl", "start", "authrelay-smtp.socket", check=False)
    try:
        socket.create_connection(("127.0.0.1", 25), 5).close()
    except OSError:
        pass
    until("the start to fail", lambda: shows("authrelay.service", "ActiveState") == "failed")
    until("the port to be closed", lambda: shows("authrelay-smtp.socket", "ActiveState") == "failed", 120)
    starts = run("journalctl", "--unit", "authrelay.service", "--grep", "error: unknown key", "--output", "cat").stdout
    tries = starts.count("error: unknown key")
    assert 2 <= tries <= 12, f"{tries} starts"
    run("systemctl", "stop", "authrelay-smtp.socket", "authrelay.service", check=False)
    run("systemctl", "reset-failed")


def a_missing_socket_is_told():
    write_config(CONFIG.replace("key_credential", "#key_credential"))
    assert run("systemctl", "start", "authrelay", check=False).returncode != 0
    journal = run("journalctl", "--unit", "authrelay.service", "--output", "cat", "-n", "20").stdout
    assert "systemctl enable --now authrelay-smtp.socket" in journal, journal
    equal(shows("authrelay.service", "ExecMainStatus"), "78", "exit status")
    run("systemctl", "reset-failed")


def makes_the_key_a_credential():
    """A new queue, with its key from a systemd credential that is sealed to this machine."""
    run("rm", "-rf", "/var/lib/authrelay/queue.db", "/var/lib/authrelay/queue.db-wal", "/var/lib/authrelay/queue.db-shm")
    os.rename("/var/lib/authrelay/queue.key", "/root/queue.key")
    os.makedirs("/etc/credstore.encrypted", mode=0o700, exist_ok=True)
    sealed = "/etc/credstore.encrypted/authrelay.queue.key"
    run("systemd-creds", "encrypt", "--with-key=host", "--name=queue.key", "/root/queue.key", sealed)
    os.makedirs("/etc/systemd/system/authrelay.service.d", exist_ok=True)
    with open("/etc/systemd/system/authrelay.service.d/test.conf", "w") as file:
        file.write(f"[Service]\nLoadCredentialEncrypted=queue.key:{sealed}\nWatchdogSec=8\n")
    run("systemctl", "daemon-reload")
    write_config(CONFIG)


def never_runs_as_root_and_listens_everywhere():
    run("systemctl", "enable", "--now", "authrelay.service", *SOCKETS)
    with open(f"/proc/{pid()}/status") as file:
        status = file.read()
    user = run("id", "-u", "authrelay").stdout.strip()
    equal(re.search(r"^Uid:\t(.*)$", status, re.M)[1].split(), [user] * 4, "user")
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        equal(int(re.search(rf"^{kind}:\t(\w+)$", status, re.M)[1], 16), 0, kind)
    with open(f"/proc/{pid()}/limits") as file:
        limits = file.read()
    # Where the machine around the container allows less, it is that.
    files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert re.search(rf"Max open files +{files} ", limits) and re.search(r"Max core file size +0 ", limits), limits
    upstream.up()
    sender.send()
    sender.send("::1")
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP_SSL("127.0.0.1", 465, "app.test", context=context) as client:
        equal(client.noop()[0], 250, "465")
    with smtplib.SMTP("127.0.0.1", 587, "app.test") as client:
        client.starttls(context=context)
        equal(client.noop()[0], 250, "587")
    with socket.create_connection(("127.0.0.1", 8025), 10) as client:
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200"), "8025"
    upstream.await_all(sender.accepted)
    assert "listening: " in shows("authrelay.service", "StatusText")
    # This machine trusts no authority: what is asked of the daemon needs none.
    assert "provider" in run("authrelay", "status").stdout


def the_first_connection_starts_it():
    run("systemctl", "stop", "authrelay.service", *SOCKETS)
    run("systemctl", "start", *SOCKETS)
    equal(shows("authrelay.service", "ActiveState"), "inactive", "the daemon before the first connection")
    sender.send()
    equal(shows("authrelay.service", "ActiveState"), "active", "the daemon after it")
    upstream.await_all(sender.accepted)


def a_restart_under_load_loses_no_connection():
    with sender.load():
        for _ in range(3):
            before = pid()
            run("systemctl", "restart", "authrelay")
            assert pid() != before
    # A session that was open is told 421 in the end; nobody is refused, and nothing accepted is lost.
    refused = [error for error in sender.errors if "421" not in error and "Disconnected" not in error]
    equal(set(refused), set(), "errors of clients")
    sender.errors.clear()
    upstream.await_all(sender.accepted)


def has_reload():
    there = "reload" in run("authrelay", "--help").stdout
    if not there:
        print("skipped: this version has no `authrelay reload`")
    return there


def reload_under_load():
    if not has_reload():
        return
    with sender.load():
        before = pid()
        for _ in range(20):
            run("systemctl", "reload", "authrelay")
        write_config(CONFIG.replace("hostname", "hostnam"))
        assert run("systemctl", "reload", "authrelay", check=False).returncode != 0, "a wrong file is refused"
        journal = run("journalctl", "--unit", "authrelay.service", "--output", "cat", "-n", "1000").stdout
        assert "hostnam" in journal, journal
        write_config(CONFIG)
        run("systemctl", "reload", "authrelay")
        equal(pid(), before, "the process")
    equal(set(sender.errors), set(), "errors of clients")
    upstream.await_all(sender.accepted)


def a_renewed_certificate_is_put_in_place():
    """As certbot calls the hook, with the certificate that the daemon made for itself."""
    if not has_reload():
        return
    os.makedirs("/root/live", exist_ok=True)
    run("cp", "/var/lib/authrelay/tls/certificate.pem", "/root/live/fullchain.pem")
    run("cp", "/var/lib/authrelay/tls/key.pem", "/root/live/privkey.pem")
    run("env", "RENEWED_LINEAGE=/root/live", "/usr/lib/authrelay/deploy-hook")
    files = ["/etc/authrelay/certs/fullchain.pem", "/etc/authrelay/certs/privkey.pem"]
    found = run("stat", "-c", "%U:%G %a", *files).stdout.split("\n")[:2]
    equal(found, ["root:authrelay 640"] * 2, "the files")
    write_config(CONFIG + '[tls]\ncertificate = "certs/fullchain.pem"\nkey = "certs/privkey.pem"\n')
    before = pid()
    run("env", "LEGO_CERT_PATH=/root/live/fullchain.pem", "LEGO_CERT_KEY_PATH=/root/live/privkey.pem", "/usr/lib/authrelay/deploy-hook")
    equal(pid(), before, "the process")
    write_config(CONFIG)
    run("systemctl", "reload", "authrelay")


def a_process_that_stands_still_is_started_anew():
    upstream.down()
    numbers = [sender.send() for _ in range(20)]
    before, started = pid(), time.monotonic()
    os.kill(before, signal.SIGSTOP)
    # It gets no answer from the stopped process, and one from the next.
    count = len(sender.accepted)
    late = threading.Thread(target=sender.send_again_if_cut_off)
    late.start()
    until("the watchdog", lambda: pid() not in (0, before), 60)
    print(f"  a new process after {time.monotonic() - started:.1f} s")
    for unit in SOCKETS:
        equal(shows(unit, "ActiveState"), "active", f"{unit} after the crash")
    upstream.up()
    late.join(60)
    equal(len(sender.accepted), count + 1, "messages sent to the stopped process")
    sender.send()
    upstream.await_all(numbers + sender.accepted)


def a_kill_loses_nothing():
    with sender.load():
        killed = pid()
        os.kill(killed, signal.SIGKILL)
        until("a new process", lambda: pid() not in (0, killed) and shows("authrelay.service", "ActiveState") == "active")
    refused = [error for error in sender.errors if "ConnectionRefused" in error]
    equal(set(refused), set(), "the sockets stay open")
    sender.errors.clear()
    # What was being handed over when it was killed may come twice: the provider's answer was lost with the process.
    upstream.in_doubt = sender.next
    upstream.await_all(sender.accepted)


def a_stop_finishes_what_is_under_way():
    number = sender.number()
    client = smtplib.SMTP("127.0.0.1", 25, "app.test", timeout=60)
    client.ehlo()
    client.mail("shop@acme.example")
    client.rcpt(f"p{number}@customer.example")
    equal(client.docmd("DATA")[0], 354, "DATA")
    head, tail = mail(number).encode().split(b"\r\n\r\n", 1)
    client.send(head + b"\r\n\r\n")
    run("systemctl", "stop", "--no-block", "authrelay")
    until("the stop", lambda: shows("authrelay.service", "ActiveState") == "deactivating")
    client.send(tail + b".\r\n")
    equal(client.getreply()[0], 250, "the message that was being sent")
    sender.accepted.append(number)
    until("the end", lambda: shows("authrelay.service", "ActiveState") == "inactive")
    equal(shows("authrelay.service", "Result"), "success", "result")
    run("systemctl", "stop", *SOCKETS)
    run("systemctl", "start", "authrelay")
    for unit in SOCKETS:
        equal(shows(unit, "ActiveState"), "active", f"{unit}: the ports come with the daemon")
    upstream.await_all(sender.accepted)


def upgrades_with_a_full_queue():
    upstream.down()
    for _ in range(200):
        sender.send()
    with sender.load():
        before = pid()
        run("dpkg", "-i", "--force-confold", "/test/new.deb")
        assert pid() not in (0, before), "the new version runs"
    refused = [error for error in sender.errors if "421" not in error and "Disconnected" not in error]
    equal(set(refused), set(), "errors of clients during the upgrade")
    sender.errors.clear()
    with open("/etc/authrelay/authrelay.toml") as file:
        equal(file.read(), CONFIG, "the configuration")
    found = run("stat", "-c", "%U:%G %a", "/etc/authrelay/authrelay.toml").stdout.strip()
    equal(found, "root:authrelay 640", "the configuration's mode")
    upstream.up()
    upstream.await_all(sender.accepted)


def an_upgrade_that_does_not_know_the_config_leaves_the_old_one_running():
    write_config(CONFIG + "\n[nonsense]\na = 1\n")
    before = pid()
    told = run("dpkg", "-i", "--force-confold", "/test/new.deb")
    assert "the old one runs on" in told.stdout + told.stderr, told.stdout + told.stderr
    equal(pid(), before, "the process")
    sender.send()
    write_config(CONFIG)
    run("systemctl", "restart", "authrelay")
    sender.send()
    upstream.await_all(sender.accepted)


def removes_and_purges():
    with open("/etc/authrelay/certs/own.pem", "w") as file:
        file.write("an administrator's own\n")
    run("dpkg", "-r", "authrelay")
    for unit in ["authrelay.service", *SOCKETS]:
        assert run("systemctl", "is-active", unit, check=False).stdout.strip() != "active", unit
    assert os.path.exists("/var/lib/authrelay/queue.db"), "removal keeps the queue"
    run("dpkg", "-P", "authrelay")
    assert not os.path.exists("/var/lib/authrelay"), "purging takes it away"
    assert not os.path.exists("/etc/authrelay/authrelay.toml")
    assert os.path.exists("/etc/authrelay/certs/own.pem"), "and not what is not ours"
    left = run("find", "/etc/systemd", "-name", "authrelay*.socket").stdout
    equal(left, "", "links of enabled units")


STEPS = [
    installs_and_enables_nothing,
    starts_by_its_own_defaults,
    a_config_that_is_wrong_ends_with_its_own_status,
    a_missing_socket_is_told,
    makes_the_key_a_credential,
    never_runs_as_root_and_listens_everywhere,
    the_first_connection_starts_it,
    a_restart_under_load_loses_no_connection,
    reload_under_load,
    a_renewed_certificate_is_put_in_place,
    a_process_that_stands_still_is_started_anew,
    a_kill_loses_nothing,
    a_stop_finishes_what_is_under_way,
    upgrades_with_a_full_queue,
    an_upgrade_that_does_not_know_the_config_leaves_the_old_one_running,
    removes_and_purges,
]

for step in STEPS:
    began = time.monotonic()
    try:
        step()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        journal = run("journalctl", "--no-pager", "-n", "60", "--unit", "authrelay*", check=False)
        print(journal.stdout)
        print(f"failed: {step.__name__}")
        sys.exit(1)
    print(f"ok: {step.__name__} ({time.monotonic() - began:.1f} s)")
print(f"{len(sender.accepted)} messages were accepted, each of them was handed over")
print("all passed")
