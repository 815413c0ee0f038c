//! Tokens that end: by their own time, or because their key or their entry was withdrawn.

use std::fs;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use crate::offers::{CHROMIUM, CHROMIUM_PLAYS};
use crate::peer::Peer;
use crate::server::{FRAGMENT, World};
use crate::tokens::{
    SECRET, is_unauthorized, now, post, public, secret, send, signed_by, token_with,
    world_with_keys,
};

/// Longer than it takes to look at files, which is done each second.
const LOOKED: Duration = Duration::from_secs(2);
/// A revoked token has effect within two seconds, and later only where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_withdrawn_key_ends_what_was_opened_with_it() {
    let other = EncodingKey::from_secret(b"another secret that is long enough, too");
    let kept = public(&other, Algorithm::HS256, "kept");
    let keys = json!({"keys": [public(&secret(), Algorithm::HS256, "withdrawn"), kept]});
    let (world, _folder, path) = world_with_keys(&keys).await;
    let withdrawn = signed_by(&secret(), Algorithm::HS256, Some("withdrawn"));
    let stays = signed_by(&other, Algorithm::HS256, Some("kept"));
    let mut peer = Peer::publisher().await;
    let joined = post(&world, "/whip/demo", &withdrawn, &peer.offer).await;
    peer.connect(&joined.body).await;
    let watched = post(&world, "/whep/demo", &stays, CHROMIUM_PLAYS).await;

    // What cannot be used is not.
    fs::write(&path, "{").expect("it can be written");
    tokio::time::sleep(LOOKED).await;
    assert_eq!(world.ask("GET", joined.session()).await.status, 204);
    fs::write(&path, json!({"keys": [kept]}).to_string()).expect("it can be written");
    let ended = tokio::time::timeout(PATIENCE, peer.closed_by_server());
    ended.await.expect("soon");
    let state = format!("{}/state", joined.session());
    let state = world.ask("GET", &state).await.body;
    assert!(state.contains("\"expired\""), "{state}");
    is_unauthorized(&post(&world, "/whip/demo", &withdrawn, CHROMIUM).await);
    assert_eq!(world.ask("GET", watched.session()).await.status, 204);
}

#[tokio::test]
async fn a_fixed_token_that_is_taken_out_of_its_file_ends_what_was_opened_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.json");
    let entry = |token: &str, identity: &str| {
        json!({
            "token": token, "room": "demo", "identity": identity,
            "grants": {"publish": true, "subscribe": true},
        })
    };
    let (gone, kept) = (
        "a-stream-key-that-is-withdrawn",
        "a-stream-key-that-is-kept",
    );
    let both = json!({"tokens": [entry(gone, "studio"), entry(kept, "van")]});
    fs::write(&path, both.to_string()).expect("it can be written");
    let file = path.clone();
    let world = World::with(|settings| {
        settings.auth.static_tokens = Some(file);
        settings.auth.end_on_expiry = true;
    })
    .await;
    let mut peer = Peer::publisher().await;
    let joined = post(&world, "/whip/demo", gone, &peer.offer).await;
    peer.connect(&joined.body).await;
    let stays = post(&world, "/whep/demo", kept, CHROMIUM_PLAYS).await;
    assert_eq!(stays.status, 201, "{stays:?}");

    let one = json!({"tokens": [entry(kept, "van")]});
    fs::write(&path, one.to_string()).expect("it can be written");
    let ended = tokio::time::timeout(PATIENCE, peer.closed_by_server());
    ended.await.expect("soon");
    is_unauthorized(&post(&world, "/whip/demo", gone, CHROMIUM).await);
    assert_eq!(world.ask("GET", stays.session()).await.status, 204);
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_a_newer_one_was_shown() {
    let world = World::with(|settings| {
        settings.auth.key = Some(SECRET.parse().expect("long enough"));
        settings.auth.end_on_expiry = true;
    })
    .await;
    let short = token_with(json!({"exp": now() + 4}));
    let ends = post(&world, "/whep/demo", &short, CHROMIUM_PLAYS).await;
    let stays = post(&world, "/whep/demo", &short, CHROMIUM_PLAYS).await;
    assert_eq!((ends.status, stays.status), (201, 201));
    let (session, fragment) = (stays.session(), "a=end-of-candidates\r\n");
    let longer = token_with(json!({}));
    let answer = send(&world, "PATCH", session, FRAGMENT, &longer, fragment).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    world.forgets(ends.session()).await;
    assert_eq!(world.ask("GET", session).await.status, 204);
    is_unauthorized(&post(&world, "/whep/demo", &short, CHROMIUM_PLAYS).await);
}
