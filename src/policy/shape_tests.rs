//! One template, many people; other templates.

use super::*;

fn of(raw: &str, to: &str) -> Shape {
    shape(&Message::new(raw.replace('\n', "\r\n").into_bytes()), &[Address::parse(to).unwrap()])
}

/// Fifty people, as applications know them.
fn people() -> Vec<(String, String)> {
    let first = ["Anna", "Jürgen", "marie", "O'Brien", "Ng", "Łukasz", "Zoë", "Will", "Mary Jane", "Иван"];
    let last = ["Smith", "de la Cruz", "Grün", "Li", "Åberg"];
    let mut people = Vec::new();
    for (row, first) in first.iter().enumerate() {
        for (column, last) in last.iter().enumerate() {
            let local = match column {
                0 => format!("user{row}.{column}"),
                1 => format!("a.smith{row}"),
                2 => format!("team+{row}"),
                3 => "info".to_owned(),
                _ => format!("x_{row}-li"),
            };
            people.push((format!("{first} {last}"), format!("{local}@c{row}.example")));
        }
    }
    people
}

const INVITATION: &str = "To: {header}\nSubject: {name}, Bob invited you to join Acme ({number})\n\
    Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nHello {name},\n\n\
    Bob Builder has invited you, {name}, to join the team {number} on the board.\n\
    Open https://u{number}.acme.example/i/{token} to accept the invitation.\n\
    Sent to {address}, who can say no until 2026-11-{day}.\n\nYour code: {number}\n";

fn made(template: &str, name: &str, address: &str, number: usize) -> String {
    let header =
        if number.is_multiple_of(2) { format!("\"{name}\" <{address}>") } else { address.to_owned() };
    template
        .replace("{header}", &header)
        .replace("{name}", name)
        .replace("{address}", address)
        .replace("{number}", &(1000 + number * 37).to_string())
        .replace("{token}", &format!("tok{number}en"))
        .replace("{day}", &(1 + number % 28).to_string())
}

#[test]
fn one_template_to_fifty_people_has_one_shape() {
    // A name in small letters that stands neither in the address nor in the header is a word like any other.
    let known = |(number, (name, _)): &(usize, (String, String))| {
        number.is_multiple_of(2) || !name.split(' ').any(|word| word.starts_with(char::is_lowercase))
    };
    let people: Vec<_> = people().into_iter().enumerate().filter(known).collect();
    assert!(people.len() > 40);
    let shapes: Vec<Shape> = people
        .iter()
        .map(|(number, (name, address))| of(&made(INVITATION, name, address, *number), address))
        .collect();
    for (shape, (_, person)) in shapes.iter().zip(&people) {
        let texts = |shape: &Shape| (shape.subject.clone(), shape.template.clone());
        assert_eq!(texts(shape), texts(&shapes[0]), "{person:?}");
    }
}

#[test]
fn other_templates_have_other_shapes() {
    let other = INVITATION.replace("has invited you", "has moved you").replace("accept", "see");
    let shared = INVITATION.replace("invited you to join", "shared a file with");
    let shapes: Vec<Shape> = [INVITATION, &other, &shared]
        .into_iter()
        .map(|template| of(&made(template, "Anna Smith", "anna@c.example", 1), "anna@c.example"))
        .collect();
    assert!(shapes[0] != shapes[1] && shapes[0] != shapes[2] && shapes[1] != shapes[2]);
    let elsewhere = INVITATION.replace("acme.example", "evil.example");
    assert_ne!(of(&made(&elsewhere, "Anna", "anna@c.example", 1), "anna@c.example"), shapes[0]);
}

#[test]
fn html_and_scripts_without_spaces_have_shapes() {
    let html = "To: {header}\nSubject: x\nContent-Type: text/html; charset=utf-8\n\n<p>Hi <b>{name}</b>, come and \
                work with us</p><a href=\"https://a.example/{token}\">Join the team</a>\n";
    let japanese = "To: {header}\nSubject: {name}さん、チームへの招待\nContent-Type: text/plain; charset=utf-8\n\
                    Content-Transfer-Encoding: 8bit\n\n{name}さん、チームに招待されました。下のリンクから参加してください。\n";
    let other = japanese.replace("参加", "確認");
    let shape =
        |template: &str, name, number| of(&made(template, name, "u1@c.example", number), "u1@c.example");
    assert_eq!(shape(html, "Anna", 2), shape(html, "Bert Brown", 4));
    assert_ne!(shape(html, "Anna", 2), shape(&html.replace("work", "play"), "Anna", 2));
    assert_eq!(shape(japanese, "山田太郎", 2), shape(japanese, "佐藤花子", 4));
    assert_ne!(shape(japanese, "山田太郎", 2), shape(&other, "山田太郎", 2));
}

#[test]
fn names_without_capitals_are_found_by_where_they_stand() {
    let plain = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n";
    let of = |subject: &str, line: &str, name: &str| {
        let raw = format!("Subject: {subject}\n{plain}{line}\n").replace("{name}", name);
        of(&raw, "u1@c.example")
    };
    for (subject, line, names) in [
        ("{name}, دعوة للانضمام", "مرحبا {name}، لقد تمت دعوتك للانضمام إلى الفريق", ["أحمد علي", "فاطمة"]),
        ("הזמנה לצוות", "שלום {name}, הוזמנת להצטרף לצוות שלנו", ["דנה", "יוסי כהן"]),
        ("टीम का निमंत्रण", "नमस्ते {name}, आपको टीम में शामिल होने के लिए आमंत्रित किया गया है", ["अनीता", "राज कुमार"]),
        (
            "チームへの招待",
            "{name}様、チームに招待されました。下のリンクから参加してください。",
            ["山田", "佐藤花子"],
        ),
        ("join our team", "hi {name}, you are asked to join our team today", ["marie", "jan willem"]),
        ("join our team", "you are asked to join \"{name}\" by its owner", ["blue sky", "kites and more"]),
    ] {
        assert_eq!(of(subject, line, names[0]), of(subject, line, names[1]), "{line}");
        assert_ne!(of(subject, line, names[0]), of(subject, &format!("{line} {line}"), names[0]), "{line}");
    }
}

#[test]
fn user_names_made_of_a_name_are_the_recipient_s() {
    let of = |user: &str, to: &str| {
        of(&format!("Subject: x\n\nin case you forgot your username is {user} today\n"), to)
    };
    assert_eq!(of("jtester", "jo.tester@c.example"), of("ahohenberg", "anna.hohenberg@c.example"));
    assert_ne!(of("jtester", "jo.tester@c.example"), of("another", "anna.hohenberg@c.example"));
}

#[test]
fn codes_alone_have_a_shape_by_their_words() {
    let code = "Subject: Your Sign-In Code\n\nCode: {number}\n\nit expires soon\n";
    let first = of(&made(code, "", "anna@c.example", 1), "anna@c.example");
    assert_eq!(first, of(&made(code, "", "anna@c.example", 2), "anna@c.example"));
    let other = code.replace("expires soon", "is for your bank");
    assert_ne!(first, of(&made(&other, "", "anna@c.example", 2), "anna@c.example"));
    assert_eq!(format!("{first:?}"), "Shape(17 + 15 octets)");
}

proptest::proptest! {
    #[test]
    fn any_bytes_have_a_shape(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        let to = [Address::parse("anna@c.example").unwrap()];
        let message = Message::new(raw);
        proptest::prop_assert_eq!(shape(&message, &to), shape(&message, &to));
    }
}
