//! What is left of a message after its end, for somebody who has the files and the key: its recipient and what became of it,
//! until its record is pruned; no code, no link, no subject, no text.

use std::collections::BTreeSet;
use std::path::Path;

use authrelay::queue::Keyring;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::harness::config::small;
use crate::harness::mail::message;
use crate::harness::relay::Relay;
use crate::harness::search::find;
use crate::harness::upstream::{Answer, Moment, Upstream};

const FROM: &str = "shop@legacy.example";

/// What a message holds that must not outlast it.
const CONTENT: [&str; 4] = ["739182", "qUoKKa7token", "wombat-reset", "Pangolin"];

/// Where something sealed may stand.
const COLUMNS: [&str; 9] = [
    "message.recipient",
    "message.application_id",
    "message.report_to",
    "message.outcome",
    "payload.plan",
    "payload.body",
    "event.detail",
    "outbox.notice",
    "archive.decision",
];

fn letter(to: &str) -> Vec<u8> {
    message(&[
        "From: Shop <shop@legacy.example>",
        &format!("To: {to}"),
        "Subject: Reset your password, Pangolin",
        "",
        "Somebody asked to reset the password of your account. Your code is 739182. Or follow this link:",
        "https://acme.example/wombat-reset?token=qUoKKa7token",
    ])
}

/// Every value of the queue, opened where the key opens it.
fn opened(state: &Path) -> Vec<Vec<u8>> {
    let keyring = Keyring::load(&state.join("queue.key")).expect("the key");
    let conn = Connection::open_with_flags(state.join("queue.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("a queue");
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").expect("a schema");
    let tables: Vec<String> =
        tables.query_map([], |row| row.get(0)).expect("tables").map(|name| name.expect("a name")).collect();
    let mut values = Vec::new();
    for table in tables {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).expect("a table");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            for column in 0..columns {
                match row.get::<_, Value>(column).expect("a value") {
                    Value::Blob(bytes) => values.push(bytes),
                    Value::Text(text) => values.push(text.into_bytes()),
                    Value::Null | Value::Integer(_) | Value::Real(_) => {}
                }
            }
        }
    }
    let ids: BTreeSet<Vec<u8>> = values.iter().filter(|value| value.len() == 16).cloned().collect();
    let plain: Vec<Vec<u8>> = values
        .iter()
        .filter(|value| value.first() == Some(&1))
        .flat_map(|value| {
            COLUMNS
                .iter()
                .flat_map(|column| ids.iter().map(move |id| (column, id, value)))
                .collect::<Vec<_>>()
        })
        .filter_map(|(column, id, value)| keyring.open(column, id, value).ok().map(|plain| plain.to_vec()))
        .collect();
    values.into_iter().chain(plain).collect()
}

fn holding(values: &[Vec<u8>], text: &str) -> usize {
    values.iter().filter(|value| find(value, text.as_bytes()).is_some()).count()
}

/// The sealed bytes of what waits, a piece of each.
fn sealed_pieces(state: &Path) -> Vec<Vec<u8>> {
    let conn = Connection::open_with_flags(state.join("queue.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("a queue");
    let sql = "SELECT plan FROM payload WHERE plan IS NOT NULL UNION ALL SELECT body FROM payload WHERE body IS NOT NULL";
    let mut statement = conn.prepare(sql).expect("payloads");
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("rows");
    rows.map(|row| row.expect("a value"))
        .map(|sealed| sealed[5..].chunks_exact(16).last().expect("a piece").to_vec())
        .collect()
}

#[test]
fn with_the_key_nothing_of_the_content_is_found_after_the_end() {
    let provider = Upstream::start(|moment| match moment {
        Moment::Rcpt(to) if to.starts_with("failed") => Answer::Reply(
            "550 5.1.1 no such user; 739182 acme.example/wombat-reset?token=qUoKKa7token in \"Reset your password, Pangolin\"",
        ),
        Moment::Rcpt(_) => Answer::Reply("450 4.2.1 later"),
        _ => Answer::Accept,
    });
    let life = "[categories.password-reset]\nlife = \"10s\"\nretry = [\"1s\"]\n";
    let mut relay = Relay::start(&small(provider.address(), "", life));
    let state = relay.home.file("state");
    let ended = |relay: &Relay, to: &str, kind: &str| {
        let id = relay.accept(FROM, &[to], &letter(to));
        relay.wait_event(&id, kind);
        id
    };
    let expired = ended(&relay, "expired@customer.example", "deferred");
    // While they wait the key opens them: the search finds.
    let waiting = opened(&state);
    for text in CONTENT {
        assert!(holding(&waiting, text) > 0, "{text} is not found at all");
    }
    let pieces = sealed_pieces(&state);
    assert_eq!(pieces.len(), 2, "a plan and a body");
    ended(&relay, "failed@customer.example", "failed");
    relay.wait_event(&expired, "expired");
    provider.become_(|_| Answer::Accept);
    let late = ended(&relay, "late@customer.example", "handed-over");

    // The rows say so at once.
    let left = opened(&state);
    for text in CONTENT {
        assert_eq!(holding(&left, text), 0, "{text} outlasts its message");
    }
    assert!(holding(&left, "late@customer.example") > 0, "the recipient is what trace looks for");
    relay.trace(&late);
    // The log of writes holds sealed bytes for a minute at most, and none after a stop.
    assert!(relay.stop().success());
    let files: Vec<Vec<u8>> =
        ["queue.db", "queue.db-wal"].iter().filter_map(|name| std::fs::read(state.join(name)).ok()).collect();
    let found = pieces
        .iter()
        .filter(|piece| files.iter().any(|file| file.windows(16).any(|window| window == **piece)));
    assert_eq!(found.count(), 0, "sealed content outlasts its message");
}
