//! How long recognition takes, by language and by size: medians of many rounds, one core. `--only LANGUAGE` leaves the other
//! languages out of the data, so that what all of them cost together can be seen against one. `--mail FOLDER` times the
//! messages in a folder (`*.eml`) instead, by size, and what the guards take of each.
//! Run it with `cargo bench --bench recognition`, and with arguments behind `--`.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authrelay::guard::{self, Content};
use authrelay::mail::Message;
use authrelay::policy::{Policy, Recognition, Text, TextLimits};
use tokio::time::Instant;

/// Rounds at least, and for at least this long.
const ROUNDS: usize = 50;
const TIME: Duration = Duration::from_millis(300);

/// The same words in several languages; a long message repeats them.
const TEXTS: [(&str, &str, &str); 8] = [
    (
        "en",
        "Reset your password",
        "You asked us to reset the password of your account. The link works for one hour. ",
    ),
    (
        "de",
        "Passwort zurücksetzen",
        "Du hast ein neues Passwort für dein Konto angefordert. Der Link gilt eine Stunde. ",
    ),
    (
        "fr",
        "Réinitialisation du mot de passe",
        "Vous avez demandé un nouveau mot de passe. Le lien expire dans une heure. ",
    ),
    (
        "es",
        "Restablecer contraseña",
        "Has pedido una nueva contraseña para tu cuenta. El enlace caduca en una hora. ",
    ),
    ("pl", "Zresetuj hasło", "Poprosiłeś o nowe hasło do swojego konta. Link jest ważny przez godzinę. "),
    ("ru", "Сброс пароля", "Вы запросили новый пароль для своей учётной записи. Ссылка действует один час. "),
    (
        "el",
        "Επαναφορά κωδικού",
        "Ζητήσατε νέο κωδικό πρόσβασης για τον λογαριασμό σας. Ο σύνδεσμος ισχύει μία ώρα. ",
    ),
    (
        "ja",
        "パスワードの再設定",
        "アカウントのパスワード再設定のリクエストを受け付けました。リンクは一時間有効です。",
    ),
];

fn main() {
    let argument = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    if let Some(folder) = argument("--mail") {
        return mail(Path::new(&folder));
    }
    let only = argument("--only");
    let compiled = Instant::now();
    let recognition = recognition(only.as_deref());
    println!("made ready in {:?}", compiled.elapsed());
    println!("{:4} {:>9} {:>12} {:>12} {:>12}", "", "octets", "to text", "recognised", "both");
    for (language, subject, text) in TEXTS {
        for size in [500, 8 * 1024, 64 * 1024] {
            let message = message(subject, &text.repeat(size / text.len() + 1));
            let read = median(|| drop(Text::of(&message, &TextLimits::default())));
            let text = Text::of(&message, &TextLimits::default());
            let recognised = median(|| drop(recognition.examine(&text)));
            println!(
                "{language:4} {:>9} {read:>12?} {recognised:>12?} {:>12?}",
                message.raw().len(),
                read + recognised
            );
        }
    }
}

fn recognition(only: Option<&str>) -> Recognition {
    let is_wanted = |name: &str| {
        let language = name.trim_end_matches(".toml");
        only.is_none_or(|only| [only, "categories", "structure"].contains(&language))
    };
    let files = Recognition::shipped_files().iter().copied().filter(|(name, _)| is_wanted(name));
    Recognition::from_files(files).unwrap()
}

/// Sizes that messages are told apart by, in octets.
const SIZES: [usize; 5] = [0, 2_000, 6_000, 12_000, 60_000];
/// How often each message is timed; its best time counts, since whatever else runs only adds to it.
const TRIES: usize = 15;

/// The medians of real messages, by their size.
fn mail(folder: &Path) {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension() == Some(OsStr::new("eml")));
    let messages: Vec<Message> = files.map(|path| Message::new(std::fs::read(path).unwrap())).collect();
    let policy = Policy {
        categories: BTreeMap::new(),
        clients: BTreeMap::new(),
        business_domains: BTreeMap::new(),
        rules: Vec::new(),
        recognition: Arc::new(Recognition::shipped().unwrap()),
        declared_header: String::new(),
    };
    println!("{:>14} {:>9} {:>12} {:>12} {:>12}", "octets", "messages", "to text", "recognised", "guards");
    for bounds in SIZES.windows(2) {
        let these = messages.iter().filter(|message| (bounds[0]..bounds[1]).contains(&message.raw().len()));
        let times: Vec<[Duration; 3]> = these.map(|message| times(&policy, message)).collect();
        let median = |step: usize| {
            let mut all: Vec<Duration> = times.iter().map(|one| one[step]).collect();
            all.sort();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let sizes = format!("{}..{}", bounds[0], bounds[1]);
        let (count, [read, recognised, asked]) = (times.len(), [0, 1, 2].map(median));
        println!("{sizes:>14} {count:>9} {read:>12?} {recognised:>12?} {asked:>12?}");
    }
}

/// The best times of reading a message, recognising it and asking the guards about it.
fn times(policy: &Policy, message: &Message) -> [Duration; 3] {
    let (client, category) = ("bench".into(), "signin".into());
    let guards = guard::mail::Config::default();
    let mut best = [Duration::MAX; 3];
    for _ in 0..TRIES {
        let start = Instant::now();
        let text = Text::of(message, &TextLimits::default());
        let read = start.elapsed();
        drop(policy.recognition.examine(&text));
        let recognised = start.elapsed();
        let content = Content { client: &client, business: None, category: &category, text: &text };
        drop(guard::inspect(&guards, policy, &content));
        let taken = [read, recognised.saturating_sub(read), start.elapsed().saturating_sub(recognised)];
        for (best, taken) in best.iter_mut().zip(taken) {
            *best = taken.min(*best);
        }
    }
    best
}

fn message(subject: &str, text: &str) -> Message {
    let raw = format!(
        "From: Kestrel <app@kestrel.example>\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         {text}\r\n\r\nhttps://app.kestrel.example/go?token=8f14e45fceea167a5a36dedd4bea2543\r\n"
    );
    Message::new(raw.into_bytes())
}

fn median(work: impl Fn()) -> Duration {
    let begun = Instant::now();
    let mut taken = Vec::new();
    while taken.len() < ROUNDS || begun.elapsed() < TIME {
        let start = Instant::now();
        work();
        taken.push(start.elapsed());
    }
    taken.sort();
    taken[taken.len() / 2]
}
