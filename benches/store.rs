//! How many messages a second the store makes durable, and how many it takes out, at several sizes of a group: so many
//! producers that each wait for their answer, 8 KiB a message.
//! Run it with `cargo bench --bench store`, with a folder on the disk in question as argument.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measuring program"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use authrelay::clock::Clock;
use authrelay::event::Kind;
use authrelay::ident::{CategoryName, Class, ClientName, MessageId};
use authrelay::mail::{Address, Recipient, ReversePath};
use authrelay::policy::SenderPolicy;
use authrelay::queue::store::sqlite::SqliteStore;
use authrelay::queue::{
    Change, ClaimRequest, Entry, Keyring, NewEntry, Payload, Put, Settle, Settlement, State, Store,
};
use authrelay::rewrite::Plan;
use authrelay::secret::Digest;
use bytes::Bytes;
use tokio::time::Instant;

/// A group is at most as large as there are producers.
const PRODUCERS: [usize; 4] = [1, 8, 32, 128];
const CLAIMS: [usize; 3] = [1, 16, 128];
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(std::env::temp_dir).join(format!("store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&folder.join("queue.db")));
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn measure(path: &std::path::Path) {
    let keyring = Arc::new(Keyring::create(&path.with_extension("key")).unwrap());
    let store = Arc::new(SqliteStore::open(path, Arc::clone(&keyring), Clock::System).unwrap());

    let mut queued = 0;
    for producers in PRODUCERS {
        let name = format!("{producers:3} producers, puts");
        queued += produce(&store, producers, &name, |store| async move { _ = put(&store, None).await }).await;
        let name = format!("{producers:3} producers, puts and settles, one each");
        let both = |store: Arc<SqliteStore>| async move {
            let lease = Clock::System.now().plus(Duration::from_mins(15));
            let id = put(&store, Some(lease)).await;
            store.commit(vec![hand_over(id, lease)]).await.unwrap();
        };
        produce(&store, producers, &name, both).await;
    }
    let mut claimed = 0;
    for messages in CLAIMS {
        claimed += claims(&store, messages).await;
    }
    println!("(of {queued} queued)");
    store.close().await.unwrap();
    let begun = Instant::now();
    let again = SqliteStore::open(path, keyring, Clock::System).unwrap();
    println!("start with {claimed} messages under way: {:?}", begun.elapsed());
    again.close().await.unwrap();
}

/// Takes out so many at once, again and again.
async fn claims(store: &SqliteStore, messages: usize) -> usize {
    let begun = Instant::now();
    let mut claimed = 0;
    while begun.elapsed() < TIME {
        let (now, lease) = (Clock::System.now(), Duration::from_mins(15));
        let request = ClaimRequest { class: Class::Urgent, messages, bytes: 32 << 20, now, lease };
        let rows = store.claim(request).await.unwrap();
        if rows.is_empty() {
            break;
        }
        claimed += rows.len();
    }
    println!("claims of {messages}: {:.0} messages/s", rate(claimed, begun));
    claimed
}

async fn produce<F: Future<Output = ()> + Send>(
    store: &Arc<SqliteStore>,
    producers: usize,
    what: &str,
    one: impl Fn(Arc<SqliteStore>) -> F + Copy + Send + Sync + 'static,
) -> usize {
    let before = *store.stats().borrow();
    let begun = Instant::now();
    let producers = (0..producers).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut count = 0;
            while begun.elapsed() < TIME {
                one(Arc::clone(&store)).await;
                count += 1;
            }
            count
        })
    });
    let mut count = 0;
    for producer in producers.collect::<Vec<_>>() {
        count += producer.await.unwrap();
    }
    let after = *store.stats().borrow();
    let commits = after.commits - before.commits;
    let jobs = after.jobs - before.jobs;
    println!("{what}: {:.0}/s, {:.1} jobs a commit", rate(count, begun), jobs as f64 / commits as f64);
    count
}

fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn put(store: &SqliteStore, lease: Option<authrelay::clock::Timestamp>) -> MessageId {
    let id = MessageId::generate();
    let at = Clock::System.now();
    let number = fastrand::u32(..);
    let recipient = Recipient::Mail(Address::parse(&format!("person{number}@example.com")).unwrap());
    let entry = Entry {
        id,
        submission: id,
        client: ClientName::new(["shop", "bank", "club"][number as usize % 3]),
        business: None,
        category: CategoryName::new("signin"),
        rule: "signin/code".to_owned(),
        class: Class::Urgent,
        recipient,
        application_id: Some(format!("<{number}@app.example.com>")),
        report_to: None,
        accepted: at,
        expires: at.plus(Duration::from_mins(10)),
        next_attempt: at,
        attempts: 0,
        in_doubt: 0,
        state: State::Queued,
        reason: None,
        upstream: None,
        reference: None,
    };
    let plan = Plan {
        category: CategoryName::new("signin"),
        business: None,
        sender: SenderPolicy::NoReply,
        reverse_path: ReversePath::Null,
        received: format!(
            "from app by relay.example.com with ESMTPSA id {id};\r\n\tMon, 23 Nov 2026 13:26:00 +0000"
        ),
        date: None,
        message_id: None,
        auto_submitted: true,
    };
    let payload = Payload::Mail { plan, message: Bytes::from(vec![b'x'; 8192]) };
    let recipient_key = Digest::sha256(&number.to_be_bytes());
    let supersede_key = Some(Digest::sha256(&number.to_le_bytes()));
    let entries = vec![NewEntry { entry, recipient_key, supersede_key }];
    let put = Put {
        entries,
        payload,
        dedupe: None,
        settling: None,
        counters: Vec::new(),
        idempotency: None,
        lease,
    };
    store.commit(vec![Change::Put(Box::new(put))]).await.unwrap();
    id
}

fn hand_over(id: MessageId, lease: authrelay::clock::Timestamp) -> Change {
    let at = Clock::System.now();
    let settlement = Settlement {
        state: State::HandedOver,
        next_attempt: at,
        attempts: 1,
        in_doubt: 0,
        reason: None,
        reference: Some("2.0.0 Ok: queued as 4XyzAbc".to_owned()),
        event: Kind::HandedOver,
    };
    Change::Settle(Box::new(Settle { id, lease, upstream: None, settlement, at }))
}
