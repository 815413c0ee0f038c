//! Tokens at the edges of time, files that cannot be used, and whatever a stranger may send.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Parser;
use proptest::prelude::*;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// When the tokens here are made.
const NOON: Duration = Duration::from_secs(1_800_000_000);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    request: TokenRequest,
}

fn minted(options: &str) -> Result<String, MintError> {
    let words = options.split_whitespace();
    let cli = Cli::try_parse_from(["token"].into_iter().chain(words)).unwrap();
    cli.request.mint(SystemTime::UNIX_EPOCH + NOON)
}

fn auth(change: impl FnOnce(&mut AuthSettings)) -> Result<Auth, KeyError> {
    let mut settings = AuthSettings::default();
    change(&mut settings);
    Auth::new(&settings)
}

fn with_secret() -> Auth {
    auth(|settings| settings.key = Some(SECRET.parse().unwrap())).unwrap()
}

/// What a token allows so long after it was made.
fn pass(auth: &Auth, token: &str, later: i64) -> Result<Option<Pass>, Problem> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("bearer {token}"));
    headers.insert(AUTHORIZATION, value.unwrap());
    let now = NOON.as_secs().checked_add_signed(later).unwrap();
    auth.pass(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now))
        .map_err(|refused| refused.problem)
}

#[test]
fn a_token_from_the_command_line_does_what_it_says_until_it_expires() {
    let options = format!(
        "--key {SECRET} --room demo --identity ada --publish=camera,microphone --subscribe --ttl 1h"
    );
    let token = minted(&options).unwrap();
    let auth = with_secret();
    let pass_now = pass(&auth, &token, 0).unwrap().unwrap();
    assert_eq!(pass_now.identity.as_str(), "ada");
    assert_eq!(pass_now.expires_at, Some(NOON.as_secs() + 3600));
    let sources = [Publishable::Camera, Publishable::Microphone];
    assert_eq!(
        pass_now.grants,
        Grants {
            publish: Publish::Only(sources.into()),
            subscribe: true,
            ..Grants::default()
        }
    );
    assert!(pass(&auth, &token, 3600 + 59).is_ok(), "clocks differ");
    assert!(pass(&auth, &token, 3600 + 60).is_err());
    let strict = auth_that_ends();
    assert!(pass(&strict, &token, 3599).is_ok());
    assert!(pass(&strict, &token, 3600).is_err());

    let all = minted(&format!(
        "--key {SECRET} --room * --identity x --publish --ttl 7d"
    ));
    let all = pass(&auth, &all.unwrap(), 6 * 86_400).unwrap().unwrap();
    assert_eq!((all.room, all.grants.publish), (None, Publish::All(true)));
}

fn auth_that_ends() -> Auth {
    auth(|settings| {
        settings.key = Some(SECRET.parse().unwrap());
        settings.end_on_expiry = true;
    })
    .unwrap()
}

#[test]
fn a_token_that_no_server_would_take_is_not_made() {
    for refused in [
        format!("--key {SECRET} --room a/b --identity ada"),
        format!("--key {SECRET} --room demo --identity a/b"),
        "--room demo --identity ada".to_owned(),
    ] {
        assert!(minted(&refused).is_err(), "{refused}");
    }
    for ttl in [
        "",
        "h",
        "1",
        "0s",
        "1y",
        "-1h",
        "400d",
        "99999999999d",
        "1\u{e9}",
    ] {
        let words = ["token", "--room", "x", "--identity", "y", "--ttl", ttl];
        assert!(Cli::try_parse_from(words).is_err(), "{ttl}");
    }
}

#[test]
fn a_secret_that_can_be_tried_out_is_refused_at_start() {
    assert_eq!(SECRET[1..].parse::<Secret>(), Err(SecretError));
    let secret: Secret = SECRET.parse().unwrap();
    assert!(!format!("{secret:?}").contains(SECRET));
}

fn key_file_error(folder: &Path, text: &str) -> String {
    let path = folder.join("keys");
    fs::write(&path, text).unwrap();
    match auth(|settings| settings.keys = Some(path)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was taken: {text}"),
    }
}

#[test]
fn a_file_of_keys_that_cannot_be_used_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let short = r#"{"kty": "oct", "kid": "a", "k": "c2hvcnQ"}"#;
    let long = r#"{"kty": "oct", "kid": "a", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;
    let private = r#"{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
    for (keys, reason) in [
        (String::new(), "no key"),
        ("7".to_owned(), "no kid"),
        (short.to_owned(), "5 bytes"),
        (format!("{long}, {long}"), "kid of another"),
        (
            long.replace("oct\"", "oct\", \"alg\": \"HS512\""),
            "alg is not HS256",
        ),
        (long.replace("\"kid\": \"a\", ", ""), "no kid"),
        (long.replace("oct", "RSA"), "kty"),
        (private.to_owned(), "private"),
        (private.replace("Ed25519", "Ed448"), "kty"),
    ] {
        let said = key_file_error(folder.path(), &format!("{{\"keys\": [{keys}]}}"));
        assert!(
            said.starts_with("--keys ") && said.contains(reason),
            "{said}"
        );
    }
    let said = key_file_error(folder.path(), "{\"secret\": ");
    assert!(
        said.contains("line 1") && !said.contains("secret\""),
        "{said}"
    );
    let missing = auth(|settings| settings.keys = Some(folder.path().join("none")));
    assert!(missing.is_err());
}

#[test]
fn fixed_tokens_are_long_and_say_what_they_allow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    for bad in [
        r#"{"tokens": [{"token": "short", "room": "demo", "identity": "obs"}]}"#,
        r#"{"tokens": [{"token": "long-enough-for-everybody", "identity": "obs"}]}"#,
        r#"{"tokens": [{"token": "long-enough-for-everybody", "room": "/", "identity": "obs"}]}"#,
    ] {
        fs::write(&path, bad).unwrap();
        let refused = auth(|settings| settings.static_tokens = Some(path.clone()));
        let said = refused.err().expect(bad).to_string();
        assert!(said.starts_with("--static-tokens "), "{said}");
        assert!(!said.contains("long-enough"), "{said}");
    }
}

/// A header that means harm, claims and a signature, each in base64url.
fn three_parts() -> impl Strategy<Value = String> {
    // alg none; a path as kid; crit; a key of its own: as any JWT library writes them.
    let header = prop_oneof![
        Just("eyJhbGciOiJub25lIn0".to_owned()),
        Just("eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2V0Yy9wYXNzd2QifQ".to_owned()),
        Just("eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiZXhwIl19".to_owned()),
        Just("eyJhbGciOiJFUzI1NiIsImp3ayI6eyJrdHkiOiJvY3QiLCJrIjoiIn19".to_owned()),
        "[A-Za-z0-9_-]{0,60}",
    ];
    // Claims of somebody who may do everything until the year 2100, and noise.
    let claims = prop_oneof![
        Just("eyJleHAiOjQxMDI0NDQ4MDAsInJvb20iOiIqIiwiaWRlbnRpdHkiOiJ4In0".to_owned()),
        "[A-Za-z0-9_-]{0,200}",
    ];
    (header, claims, "[A-Za-z0-9_-]{0,90}")
        .prop_map(|(header, claims, signature)| format!("{header}.{claims}.{signature}"))
}

proptest! {
    #[test]
    fn what_is_not_signed_opens_nothing(token in "[ -~]{0,300}") {
        prop_assert!(pass(&with_secret(), &token, 0).is_err());
    }

    #[test]
    fn a_token_of_the_right_form_opens_nothing_either(token in three_parts()) {
        prop_assert!(pass(&with_secret(), &token, 0).is_err());
    }

    #[test]
    fn a_token_with_any_letter_changed_opens_nothing(place in 0usize..1000, letter in "[A-Za-z0-9_.-]") {
        let options = format!("--key {SECRET} --room demo --identity ada --publish");
        let good = minted(&options).unwrap();
        let place = place % good.len();
        let mut changed = good.clone();
        changed.replace_range(place..=place, &letter);
        if changed != good {
            prop_assert!(pass(&with_secret(), &changed, 0).is_err(), "{changed}");
        }
    }

    #[test]
    fn any_file_of_keys_is_taken_or_refused(text in ".{0,200}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, text).unwrap();
        prop_assert!(auth(|settings| settings.keys = Some(path)).is_err());
    }
}
