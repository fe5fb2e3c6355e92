//! The words of the mail: our own, five occasions in six languages.

/// One message's words.
pub struct Words {
    pub language: &'static str,
    pub is_invitation: bool,
    pub subject: &'static str,
    pub lead: &'static str,
    /// The text of the button; without one the message carries a code.
    pub action: Option<&'static str>,
    pub foot: &'static str,
}

const fn code(
    language: &'static str,
    subject: &'static str,
    lead: &'static str,
    foot: &'static str,
) -> Words {
    Words { language, is_invitation: false, subject, lead, action: None, foot }
}

const fn link(
    language: &'static str,
    subject: &'static str,
    lead: &'static str,
    action: &'static str,
    foot: &'static str,
) -> Words {
    Words { language, is_invitation: false, subject, lead, action: Some(action), foot }
}

const fn invitation(
    language: &'static str,
    subject: &'static str,
    lead: &'static str,
    action: &'static str,
    foot: &'static str,
) -> Words {
    Words { language, is_invitation: true, subject, lead, action: Some(action), foot }
}

const EN: &str = "If this was not you, ignore this message; nothing will change.";
const DE: &str = "Wenn du das nicht warst, ignoriere diese Nachricht; es ändert sich nichts.";
const FR: &str = "Si vous n'êtes pas à l'origine de cette demande, ignorez ce message.";
const ES: &str = "Si no has sido tú, ignora este mensaje; no cambiará nada.";
const PL: &str = "Jeśli to nie Ty, zignoruj tę wiadomość; nic się nie zmieni.";
const JA: &str = "お心当たりがない場合は、このメールを無視してください。";

/// All of them.
pub const TEXTS: &[Words] = &[
    code("en", "Your sign-in code", "Use this code to sign in to Kestrel. It is valid for ten minutes.", EN),
    code(
        "en",
        "Your verification code",
        "Enter this two-factor authentication code to finish signing in to Kestrel.",
        EN,
    ),
    link(
        "en",
        "Reset your password",
        "You asked us to reset the password of your Kestrel account. The link works for one hour.",
        "Choose a new password",
        EN,
    ),
    link(
        "en",
        "Confirm your email address",
        "Thank you for signing up for Kestrel. Please confirm your email address to activate your account.",
        "Confirm email address",
        EN,
    ),
    invitation(
        "en",
        "Marie invited you to join the team Harbour on Kestrel",
        "Marie Oneill has invited you to join the team Harbour on Kestrel.",
        "Accept the invitation",
        "If you do not know Marie, ignore this invitation.",
    ),
    code(
        "de",
        "Dein Anmeldecode",
        "Mit diesem Code meldest du dich bei Kestrel an. Er gilt zehn Minuten.",
        DE,
    ),
    code(
        "de",
        "Dein Bestätigungscode",
        "Gib diesen Code für die Zwei-Faktor-Authentifizierung ein, um die Anmeldung bei Kestrel abzuschließen.",
        DE,
    ),
    link(
        "de",
        "Passwort zurücksetzen",
        "Du hast angefordert, das Passwort deines Kestrel-Kontos zurückzusetzen. Der Link gilt eine Stunde.",
        "Neues Passwort wählen",
        DE,
    ),
    link(
        "de",
        "Bestätige deine E-Mail-Adresse",
        "Danke für deine Registrierung bei Kestrel. Bitte bestätige deine E-Mail-Adresse, um dein Konto zu aktivieren.",
        "E-Mail-Adresse bestätigen",
        DE,
    ),
    invitation(
        "de",
        "Marie hat dich in das Team Hafen auf Kestrel eingeladen",
        "Marie Oneill hat dich eingeladen, dem Team Hafen auf Kestrel beizutreten.",
        "Einladung annehmen",
        "Wenn du Marie nicht kennst, ignoriere diese Einladung.",
    ),
    code(
        "fr",
        "Votre code de connexion",
        "Utilisez ce code pour vous connecter à Kestrel. Il est valable dix minutes.",
        FR,
    ),
    code(
        "fr",
        "Votre code de vérification",
        "Saisissez ce code d'authentification à deux facteurs pour terminer votre connexion à Kestrel.",
        FR,
    ),
    link(
        "fr",
        "Réinitialisation de votre mot de passe",
        "Vous avez demandé à réinitialiser le mot de passe de votre compte Kestrel. Le lien expire dans une heure.",
        "Choisir un nouveau mot de passe",
        FR,
    ),
    link(
        "fr",
        "Confirmez votre adresse e-mail",
        "Merci de votre inscription à Kestrel. Veuillez confirmer votre adresse e-mail pour activer votre compte.",
        "Confirmer mon adresse e-mail",
        FR,
    ),
    invitation(
        "fr",
        "Marie vous invite à rejoindre l'équipe Port sur Kestrel",
        "Marie Oneill vous a invité à rejoindre l'équipe Port sur Kestrel.",
        "Accepter l'invitation",
        "Si vous ne connaissez pas Marie, ignorez cette invitation.",
    ),
    code(
        "es",
        "Tu código de inicio de sesión",
        "Usa este código para iniciar sesión en Kestrel. Caduca en diez minutos.",
        ES,
    ),
    code(
        "es",
        "Tu código de verificación",
        "Introduce este código de verificación en dos pasos para terminar de iniciar sesión en Kestrel.",
        ES,
    ),
    link(
        "es",
        "Restablecer tu contraseña",
        "Has solicitado restablecer la contraseña de tu cuenta de Kestrel. El enlace caduca en una hora.",
        "Elegir una nueva contraseña",
        ES,
    ),
    link(
        "es",
        "Confirma tu correo electrónico",
        "Gracias por registrarte en Kestrel. Confirma tu dirección de correo electrónico para activar tu cuenta.",
        "Confirmar mi correo",
        ES,
    ),
    invitation(
        "es",
        "Marie te ha invitado a unirte al equipo Puerto en Kestrel",
        "Marie Oneill te ha invitado a unirte al equipo Puerto en Kestrel.",
        "Aceptar la invitación",
        "Si no conoces a Marie, ignora esta invitación.",
    ),
    code(
        "pl",
        "Twój kod logowania",
        "Użyj tego kodu, aby zalogować się do Kestrel. Jest ważny przez dziesięć minut.",
        PL,
    ),
    code(
        "pl",
        "Twój kod weryfikacyjny",
        "Wpisz ten kod uwierzytelniania dwuskładnikowego, aby dokończyć logowanie do Kestrel.",
        PL,
    ),
    link(
        "pl",
        "Zresetuj hasło",
        "Otrzymaliśmy prośbę o zresetowanie hasła do Twojego konta Kestrel. Link jest ważny przez godzinę.",
        "Ustaw nowe hasło",
        PL,
    ),
    link(
        "pl",
        "Potwierdź swój adres e-mail",
        "Dziękujemy za rejestrację w Kestrel. Potwierdź swój adres e-mail, aby aktywować konto.",
        "Potwierdź adres e-mail",
        PL,
    ),
    invitation(
        "pl",
        "Marie zaprasza Cię do zespołu Port w Kestrel",
        "Marie Oneill zaprosiła Cię do dołączenia do zespołu Port w Kestrel.",
        "Przyjmij zaproszenie",
        "Jeśli nie znasz Marie, zignoruj to zaproszenie.",
    ),
    code(
        "ja",
        "ログインコードのお知らせ",
        "このコードを入力してKestrelにログインしてください。有効期限は10分です。",
        JA,
    ),
    code(
        "ja",
        "認証コードのお知らせ",
        "Kestrelへのログインを完了するには、この二段階認証コードを入力してください。",
        JA,
    ),
    link(
        "ja",
        "パスワードの再設定",
        "Kestrelアカウントのパスワード再設定のリクエストを受け付けました。リンクの有効期限は1時間です。",
        "新しいパスワードを設定する",
        JA,
    ),
    link(
        "ja",
        "メールアドレスの確認",
        "Kestrelにご登録いただきありがとうございます。アカウントを有効にするため、メールアドレスを確認してください。",
        "メールアドレスを確認する",
        JA,
    ),
    invitation(
        "ja",
        "MarieさんからKestrelのチーム「港」への招待が届いています",
        "Marie OneillさんがあなたをKestrelのチーム「港」に招待しました。",
        "招待を承認する",
        "Marieさんに心当たりがない場合は、この招待を無視してください。",
    ),
];
