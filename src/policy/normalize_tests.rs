//! Spellings of one text, and that the short ways come to what the long ones do.

use super::*;

#[test]
fn spellings_of_one_text_become_one() {
    for text in [
        "Didn’t you sign-in?  E-MAIL",
        "didn't you \"sign in\"?\te-mail",
        "DIDN\u{2018}T you *sign_in*?! (e\u{2010}mail)",
        "di\u{200b}dn't you si\u{ad}gn in? e mail\u{feff}",
        "ｄidn't you ｓign in? e mail",
    ] {
        assert_eq!(normalize(text), "didn't you sign in . e mail", "{text}");
    }
    assert_eq!(normalize("cafe\u{301} CAFÉ"), "café café");
    assert_eq!(normalize("Invitaţie, Şterge"), normalize("invitație, șterge"));
    assert_eq!(normalize("v1.2 at example.com. Bye."), "v1 2 at example com . bye .");
    assert_eq!(normalize("確認してください。次"), "確認してください . 次");
    assert_eq!(normalize("ﾊﾟｽﾜｰﾄﾞ！次"), "パスワード . 次");
    assert_eq!(normalize("Mật khẩu"), normalize("ma\u{323}\u{302}t kh\u{e2}\u{309}u"));
    assert_eq!(normalize("ΚΩΔΙΚΟΣ ΕΠΑΛΗΘΕΥΣΗΣ"), normalize("Κωδικός επαλήθευσης"));
    assert_eq!(normalize("Пароль изменён"), "пароль изменен");
}

#[test]
fn letters_that_stay_are_in_normal_form_and_join_nothing_before_them() {
    for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|&c| is_stable(c)) {
        let is_first = canonical_combining_class(c) == 0;
        assert!(is_first && is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes, "{c:?}");
    }
}

/// The normal form as it is made of letters of any kind.
fn letter_by_letter(text: &str) -> (String, Noticed) {
    let mut out = String::new();
    let mut writer =
        Writer { out: &mut out, start: 0, word: Scripts::default(), noticed: Noticed::default() };
    for (at, c) in text.char_indices() {
        writer.push(c, text[at + c.len_utf8()..].chars().next());
    }
    let noticed = writer.noticed;
    (out.strip_suffix(' ').map_or(out.clone(), ToOwned::to_owned), noticed)
}

proptest::proptest! {
    #[test]
    fn ascii_is_read_as_any_other_text_is(text in "[a-cA-C0-9 .!?'`\",:\t\r\n\u{1}-]{0,60}") {
        let mut out = String::new();
        let noticed = normalize_into(&mut out, &text);
        proptest::prop_assert_eq!((out, noticed), letter_by_letter(&text));
    }

    #[test]
    fn what_stays_and_what_does_not_make_the_normal_form(
        text in "[a-zé가ㄱ-ㅎか\u{3099}\u{300}-\u{304}\u{1100}-\u{1175}\u{11a8}\u{ff21}ﾊﾟ確\u{93c}क\u{a0}\u{fb01}\u{b4}]{0,24}|\\PC{0,24}",
    ) {
        let composed: String = Composed { rest: &text, run: None }.collect();
        proptest::prop_assert_eq!(composed, text.nfkc().collect::<String>());
    }
}

#[test]
fn letters_that_stand_for_one_another_become_one() {
    for (one, other) in [
        ("ŞİFRENİZİ SIFIRLAYIN", "şifrenizi sıfırlayın"),
        ("gi\u{307}ri\u{307}ş", "GİRİŞ"),
        ("تأكيد الحسـاب إلى", "تَأْكِيدُ الحساب الى"),
        ("بازیابی رمز شما، کد", "بازيابي\u{200f} رمز شما كد"),
        ("w\u{332}e\u{332}binar \u{336}2\u{20e3}", "webinar 2"),
        ("می\u{200c}خواهید", "میخواهید"),
        ("אִימּוּת \u{202b}צ׳אט\u{202c}", "אימות צ'אט"),
        ("ज़रूरत पाँच", "जरूरत पांच"),
        ("رمز ٤٨٢٩ ۴۸۲۹", "رمز 4829 4829"),
        ("कोड ४८२ ৪৮২", "कोड 482 482"),
    ] {
        assert_eq!(normalize(one), normalize(other), "{one}");
    }
}

#[test]
fn words_that_borrow_look_alike_letters_are_read_as_people_read_them() {
    assert_eq!(normalize("webin\u{430}r unsubs\u{441}ribe, p\u{3b1}ssword"), "webinar unsubscribe password");
    assert_eq!(normalize("\u{43f}ap\u{43e}\u{43b}\u{44c}"), "паро\u{43b}\u{44c}");
    assert_eq!(normalize("SMS-\u{43a}\u{43e}\u{434}"), "sms код");
}

#[test]
fn look_alike_letters_are_noticed() {
    let noticed = |text: &str| normalize_into(&mut String::new(), text).mixed_script;
    assert!(noticed("unsub\u{441}ribe"));
    assert!(!noticed("SMS-\u{43a}\u{43e}\u{434}, 10 \u{b5}s"));
    assert!(!noticed("naïve Übung"));
}

#[test]
fn scripts_that_take_more_octets_are_noticed() {
    let noticed = |text: &str| normalize_into(&mut String::new(), text);
    for (text, letters, octets) in [("reset 12", 7, 7), ("Пароль a", 7, 13), ("कड", 2, 6), ("確認", 2, 2)]
    {
        assert_eq!((noticed(text).letters, noticed(text).octets), (letters, octets), "{text}");
    }
}
