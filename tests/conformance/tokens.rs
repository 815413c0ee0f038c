//! Who may do what: W25, and every way in which a token can be wrong.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::offers::{CHROMIUM, CHROMIUM_MEETS, CHROMIUM_PLAYS, LIBDATACHANNEL};
use crate::server::{Answer, FRAGMENT, JSON, SDP, World};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server under test has a real clock"
)]
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// A token that may do everything in `demo`, for an hour.
fn claims() -> Value {
    json!({
        "exp": now() + 3600, "room": "demo", "identity": "ada",
        "grants": {"publish": true, "subscribe": true, "data": true},
    })
}

/// The same with some claims changed, or removed where they are null.
fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let claims = claims.as_object().expect("an object").clone();
    claims
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect()
}

fn signed(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &secret()).expect("it can be signed")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that tests can say json! in place"
)]
pub(crate) fn token_with(changes: Value) -> String {
    signed(&claims_with(&changes))
}

async fn world() -> World {
    World::with(|settings| settings.auth.key = Some(SECRET.parse().expect("long enough"))).await
}

pub(crate) async fn send(
    world: &World,
    method: &str,
    path: &str,
    kind: (&str, &str),
    token: &str,
    body: &str,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [kind, ("authorization", &bearer)];
    world.send(method, path, &headers, body.to_owned()).await
}

pub(crate) async fn post(world: &World, door: &str, token: &str, offer: &str) -> Answer {
    send(world, "POST", door, SDP, token, offer).await
}

#[track_caller]
pub(crate) fn is_unauthorized(answer: &Answer) {
    answer.is(401, "unauthorized");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer"), "{challenge}");
}

#[tokio::test]
async fn w25_every_change_needs_a_token_and_looking_does_not() {
    let world = world().await;
    let joined = post(&world, "/whip/demo", &token_with(json!({})), CHROMIUM).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let session = joined.session();
    let below = |what: &str| format!("{session}/{what}");
    let (wishes, tracks, attributes) =
        (below("subscriptions"), below("tracks"), below("attributes"));
    for (method, path, kind) in [
        ("POST", "/whip/demo", SDP),
        ("POST", "/whep/demo", SDP),
        ("POST", "/rooms/demo/sessions", SDP),
        ("PATCH", session, FRAGMENT),
        ("PATCH", session, SDP),
        ("PUT", &wishes, JSON),
        ("PUT", &tracks, JSON),
        ("PUT", &attributes, JSON),
        ("POST", "/rooms/demo/messages", JSON),
        ("DELETE", session, JSON),
    ] {
        let none = world.send(method, path, &[kind], "x").await;
        is_unauthorized(&none);
        assert!(!none.header("www-authenticate").contains("error"));
        let garbage = send(&world, method, path, kind, "garbage", "x").await;
        is_unauthorized(&garbage);
        assert!(garbage.header("www-authenticate").contains("invalid_token"));
    }
    let basic = [SDP, ("authorization", "Basic YWRhOmFkYQ==")];
    is_unauthorized(&world.send("POST", "/whip/demo", &basic, CHROMIUM).await);

    let events = format!("{session}/state");
    for (method, path, status) in [
        ("GET", "/whip/demo", 204),
        ("OPTIONS", "/whip/demo", 200),
        ("OPTIONS", session, 200),
        ("GET", session, 204),
        ("GET", &events, 200),
    ] {
        assert_eq!(
            world.ask(method, path).await.status,
            status,
            "{method} {path}"
        );
    }
    assert_eq!(world.sessions().await, 1);
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_401() {
    let world = World::with(|settings| {
        settings.auth.key = Some(SECRET.parse().expect("long enough"));
        settings.auth.token_audience = Some("plenum".into());
        settings.auth.token_issuer = Some("https://issuer.example".into());
    })
    .await;
    let good = json!({"aud": "plenum", "iss": "https://issuer.example"});
    let with = |changes: Value| {
        let mut all = good.clone();
        let changes = changes.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(changes);
        token_with(all)
    };
    let answer = post(&world, "/whip/demo", &with(json!({})), CHROMIUM).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let several = with(json!({"aud": ["other", "plenum"]}));
    let answer = post(&world, "/whep/demo", &several, CHROMIUM_PLAYS).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let skewed = with(json!({"exp": now() - 30, "nbf": now() + 30}));
    let answer = post(&world, "/whep/demo", &skewed, CHROMIUM_PLAYS).await;
    assert_eq!(answer.status, 201, "clocks differ: {answer:?}");

    for wrong in [
        json!({"exp": now() - 90}),
        json!({"exp": 0}),
        json!({"exp": null}),
        json!({"exp": "tomorrow"}),
        json!({"exp": -1}),
        json!({"nbf": now() + 90}),
        json!({"nbf": "later"}),
        json!({"aud": "another"}),
        json!({"aud": ["another"]}),
        json!({"aud": null}),
        json!({"iss": "https://another.example"}),
        json!({"iss": null}),
        json!({"room": null}),
        json!({"room": ""}),
        json!({"room": "a/b"}),
        json!({"room": 7}),
        json!({"identity": null}),
        json!({"identity": "../ada"}),
        json!({"name": "x".repeat(65)}),
        json!({"grants": {"publish": "everything"}}),
        json!({"grants": {"publish": ["kitchen"]}}),
        json!({"grants": {"publish": true, "subscribe": true, "hidden": true}}),
    ] {
        let answer = post(&world, "/whip/demo/ada2", &with(wrong.clone()), CHROMIUM).await;
        assert_eq!(answer.status, 401, "{wrong}: {answer:?}");
        is_unauthorized(&answer);
    }
    // An audience where none is expected is for somebody else (RFC 7519, section 4.1.3).
    let world = self::world().await;
    is_unauthorized(&post(&world, "/whip/demo", &with(json!({})), CHROMIUM).await);
}

#[tokio::test]
async fn a_forged_token_is_401() {
    let world = world().await;
    let good = signed(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let other_key = EncodingKey::from_secret(b"another secret that is long enough, too");
    let stranger = encode(&Header::new(Algorithm::HS256), &claims(), &other_key);
    let hs512 = encode(&Header::new(Algorithm::HS512), &claims(), &secret());
    let with_kid = |kid: &str| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.to_owned());
        encode(&header, &claims(), &secret()).expect("it can be signed")
    };
    for forged in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(43)),
        stranger.expect("it can be signed"),
        hs512.expect("it can be signed"),
        with_kid("../../../../dev/null"),
        with_kid("' OR 1=1 --"),
        with_kid(""),
        token_with(json!({"padding": "x".repeat(8 * 1024)})),
        "x".repeat(8 * 1024),
        "...".to_owned(),
    ] {
        let answer = post(&world, "/whip/demo", &forged, CHROMIUM).await;
        assert_eq!(answer.status, 401, "{forged:.60}: {answer:?}");
        is_unauthorized(&answer);
    }
    assert_eq!(world.sessions().await, 0);
}

/// A server whose keys are in a file, with that file.
pub(crate) async fn world_with_keys(keys: &Value) -> (World, TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    fs::write(&path, keys.to_string()).expect("it can be written");
    let file = path.clone();
    let world = World::with(|settings| {
        settings.auth.keys = Some(file);
        settings.auth.end_on_expiry = true;
    })
    .await;
    (world, folder, path)
}

/// A key's public half for the file.
pub(crate) fn public(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let jwk = Jwk::from_encoding_key(key, algorithm).expect("a key");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    jwk["kid"] = kid.into();
    jwk
}

pub(crate) fn signed_by(key: &EncodingKey, algorithm: Algorithm, kid: Option<&str>) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, &claims(), key).expect("it can be signed")
}

#[tokio::test]
async fn each_key_is_for_one_algorithm_and_is_found_by_its_name() {
    let rng = SystemRandom::new();
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng);
    let ec = EncodingKey::from_ec_der(ec.expect("randomness").as_ref());
    let ed = Ed25519KeyPair::generate_pkcs8v1(&rng).expect("randomness");
    let ed = EncodingKey::from_ed_der(ed.as_ref());
    let ec_public = public(&ec, Algorithm::ES256, "ec");
    let keys = json!({"keys": [
        public(&secret(), Algorithm::HS256, "hs"),
        ec_public,
        public(&ed, Algorithm::EdDSA, "ed"),
    ]});
    let (world, _folder, _) = world_with_keys(&keys).await;
    for token in [
        signed_by(&secret(), Algorithm::HS256, Some("hs")),
        signed_by(&ec, Algorithm::ES256, Some("ec")),
        signed_by(&ed, Algorithm::EdDSA, Some("ed")),
    ] {
        let answer = post(&world, "/whep/demo", &token, CHROMIUM_PLAYS).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    // The public key as an HMAC secret: known as algorithm confusion.
    let x = ec_public["x"].as_str().expect("a coordinate");
    let confused = EncodingKey::from_secret(x.as_bytes());
    for token in [
        signed_by(&confused, Algorithm::HS256, Some("ec")),
        signed_by(&secret(), Algorithm::HS256, Some("ec")),
        signed_by(&ec, Algorithm::ES256, Some("hs")),
        signed_by(&ed, Algorithm::EdDSA, Some("ec")),
        signed_by(&secret(), Algorithm::HS256, Some("nobody")),
        signed_by(&secret(), Algorithm::HS256, None),
    ] {
        let answer = post(&world, "/whep/demo", &token, CHROMIUM_PLAYS).await;
        is_unauthorized(&answer);
    }
}

#[tokio::test]
async fn a_good_token_that_does_not_reach_so_far_is_403() {
    let world = world().await;
    let viewer = json!({"grants": {"subscribe": true}});
    let speaker = json!({"grants": {"publish": ["microphone"], "subscribe": true}});
    let sender = json!({"grants": {"publish": true}});
    let nobody = json!({"grants": null});
    let elsewhere = json!({"room": "other"});
    for (door, changes, offer) in [
        ("/whip/demo", &elsewhere, CHROMIUM),
        ("/whep/demo", &elsewhere, CHROMIUM_PLAYS),
        ("/rooms/demo/sessions", &elsewhere, CHROMIUM_MEETS),
        ("/whip/demo", &viewer, CHROMIUM),
        ("/rooms/demo/sessions", &viewer, CHROMIUM_MEETS),
        ("/whip/demo", &speaker, CHROMIUM),
        ("/rooms/demo/sessions", &speaker, CHROMIUM_MEETS),
        ("/whep/demo", &sender, CHROMIUM_PLAYS),
        ("/rooms/demo/sessions", &sender, CHROMIUM_MEETS),
        ("/whip/demo", &nobody, CHROMIUM),
        ("/whip/demo/grace", &json!({}), CHROMIUM),
    ] {
        let answer = post(&world, door, &token_with(changes.clone()), offer).await;
        assert_eq!(answer.status, 403, "{door} {changes}: {answer:?}");
        assert_eq!(answer.problem(), "forbidden");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
    }
    assert_eq!(world.sessions().await, 0);

    let everywhere = json!({"room": "*", "grants": {"publish": true, "admin": true}});
    for (door, changes, offer) in [
        ("/whep/demo", &viewer, CHROMIUM_PLAYS),
        ("/whip/demo/ada", &sender, CHROMIUM),
        ("/whip/any/grace", &everywhere, CHROMIUM),
    ] {
        let answer = post(&world, door, &token_with(changes.clone()), offer).await;
        assert_eq!(answer.status, 201, "{door} {changes}: {answer:?}");
    }
}

#[tokio::test]
async fn a_shared_screen_needs_a_grant_of_its_own() {
    let world = world().await;
    let screen = LIBDATACHANNEL.replace("a=mid:video", "a=mid:video\r\na=content:slides");
    let with = |sources: &[&str]| token_with(json!({"grants": {"publish": sources}}));
    let camera = with(&["camera", "microphone"]);
    post(&world, "/whip/demo", &camera, &screen)
        .await
        .is(403, "forbidden");
    let all = with(&["screen", "microphone"]);
    let answer = post(&world, "/whip/demo", &all, &screen).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn a_publisher_goes_by_the_name_in_the_token() {
    let world = world().await;
    let token = token_with(json!({"name": "Ada L."}));
    let joined = post(&world, "/whip/demo?name=Mallory", &token, CHROMIUM).await;
    assert_eq!(joined.header("x-participant"), "ada");
    let state = format!("{}/state", joined.session());
    let state = world.ask("GET", &state).await.body;
    assert!(
        state.contains("\"Ada L.\"") && !state.contains("Mallory"),
        "{state}"
    );
}

#[tokio::test]
async fn nobody_else_changes_or_ends_a_session_but_an_admin_does() {
    let world = world().await;
    let ada = token_with(json!({}));
    let mallory = token_with(json!({"identity": "mallory"}));
    let joined = post(&world, "/rooms/demo/sessions", &ada, CHROMIUM_MEETS).await;
    let session = joined.session();
    let wishes = format!("{session}/subscriptions");
    let elsewhere = token_with(json!({"room": "other"}));
    for token in [&mallory, &elsewhere] {
        for (method, path, kind, body) in [
            ("PATCH", session, FRAGMENT, "a=end-of-candidates\r\n"),
            ("PATCH", session, SDP, CHROMIUM_MEETS),
            ("PUT", &wishes, JSON, "{}"),
            ("DELETE", session, JSON, ""),
        ] {
            let answer = send(&world, method, path, kind, token, body).await;
            assert_eq!(answer.status, 403, "{method}: {answer:?}");
        }
    }
    let id = session.trim_start_matches("/sessions/");
    let bearer = format!("Bearer {mallory}");
    let resume = [SDP, ("authorization", &bearer), ("x-resume", id)];
    let answer = world.send("POST", "/rooms/demo/sessions", &resume, CHROMIUM_MEETS);
    answer.await.is(403, "forbidden");

    let answer = send(&world, "PUT", &wishes, JSON, &ada, "{}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let admin = token_with(json!({"identity": "host", "grants": {"admin": true}}));
    let answer = send(&world, "DELETE", session, JSON, &admin, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_new_offer_cannot_take_more_than_the_token_allows() {
    let world = world().await;
    let viewer = token_with(json!({"grants": {"subscribe": true}}));
    let plays = CHROMIUM_PLAYS;
    let joined = post(&world, "/rooms/demo/sessions", &viewer, plays).await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let sends = plays.replace("a=recvonly", "a=sendrecv");
    let answer = send(&world, "PATCH", joined.session(), SDP, &viewer, &sends).await;
    answer.is(403, "forbidden");
    let answer = send(&world, "PATCH", joined.session(), SDP, &viewer, plays).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn encoders_have_fixed_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.json");
    let stream_key = "a-stream-key-of-40-letters-for-an-encoder";
    let tokens = json!({"tokens": [
        {"token": stream_key, "room": "demo", "identity": "studio", "grants": {"publish": true}},
    ]});
    fs::write(&path, tokens.to_string()).expect("it can be written");
    let world = World::with(|settings| settings.auth.static_tokens = Some(path)).await;
    let answer = post(&world, "/whip/demo", stream_key, CHROMIUM).await;
    assert_eq!(answer.header("x-participant"), "studio");
    let answer = post(&world, "/whip/other", stream_key, CHROMIUM).await;
    answer.is(403, "forbidden");
    is_unauthorized(&post(&world, "/whip/demo", &stream_key[1..], CHROMIUM).await);
    is_unauthorized(&post(&world, "/whip/demo", &token_with(json!({})), CHROMIUM).await);
}

#[tokio::test]
async fn who_may_not_send_data_may_not_talk_and_only_hosts_speak_for_the_server() {
    let world = world().await;
    let grants = |data: bool, admin: bool| {
        let grants = json!({"publish": true, "subscribe": true, "data": data, "admin": admin});
        token_with(json!({"grants": grants}))
    };
    let (silent, guest, host) = (
        grants(false, false),
        grants(true, false),
        grants(false, true),
    );
    for (token, from_session, from_server) in
        [(&silent, 403, 403), (&guest, 202, 403), (&host, 202, 202)]
    {
        let joined = post(&world, "/rooms/demo/sessions", token, CHROMIUM).await;
        let id = joined.session().trim_start_matches("/sessions/");
        for (body, status) in [
            (json!({"session": id, "event": "chat"}), from_session),
            (json!({"event": "chat"}), from_server),
        ] {
            let body = body.to_string();
            let answer = send(&world, "POST", "/rooms/demo/messages", JSON, token, &body).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    let other = token_with(json!({"room": "other"}));
    let body = json!({"event": "chat"}).to_string();
    let answer = send(&world, "POST", "/rooms/demo/messages", JSON, &other, &body).await;
    answer.is(403, "forbidden");
}

#[tokio::test]
async fn a_session_is_told_what_it_may_do_and_hosts_are_marked() {
    let world = world().await;
    let guest = token_with(json!({"grants": {"publish": ["microphone"], "subscribe": true}}));
    let host = token_with(json!({"identity": "hostess",
        "grants": {"publish": true, "subscribe": true, "admin": true}}));
    let snapshot = async |token: &str, offer: &str| {
        let joined = post(&world, "/rooms/demo/sessions", token, offer).await;
        assert_eq!(joined.status, 201, "{joined:?}");
        let state = world
            .ask("GET", &format!("{}/state", joined.session()))
            .await;
        let events: Value = serde_json::from_str(&state.body).expect("JSON");
        events["events"][0]["data"].clone()
    };
    let hosts = snapshot(&host, CHROMIUM_MEETS).await;
    assert_eq!(
        hosts["grants"],
        json!({"publish": ["camera", "microphone", "screen"], "subscribe": true, "data": true, "admin": true})
    );
    assert_eq!(hosts["participants"][0]["role"], "host");
    assert_eq!(
        (&hosts["locked"], &hosts["metadata"]),
        (&json!(false), &json!({}))
    );
    assert_eq!(hosts["messages"], json!([]));

    let guests = snapshot(&guest, CHROMIUM_PLAYS).await;
    assert_eq!(
        guests["grants"],
        json!({"publish": ["microphone"], "subscribe": true, "data": false, "admin": false})
    );
    let me = guests["participants"].as_array().expect("a list");
    assert!(
        me.iter().all(|somebody| somebody.get("role").is_none()),
        "{me:?}"
    );
}

#[tokio::test]
async fn only_hosts_administer_and_only_their_room() {
    let world = world().await;
    let admin = |room: &str| {
        let grants = json!({"publish": true, "subscribe": true, "admin": true});
        token_with(json!({"room": room, "identity": "host", "grants": grants}))
    };
    let guest = token_with(json!({}));
    let joined = post(&world, "/rooms/demo/sessions", &guest, CHROMIUM_MEETS).await;
    let id = joined.header("x-participant");
    let (ada, move_away) = (
        format!("/api/rooms/demo/participants/{id}"),
        format!("/api/rooms/demo/participants/{id}/move"),
    );
    let track = format!("{ada}/tracks/k3jq5xw2m4za");
    let stats = format!("{ada}/stats");
    for (method, path, body) in [
        ("GET", "/api/rooms", ""),
        ("GET", "/api/rooms/demo", ""),
        ("PUT", "/api/rooms/demo", "{}"),
        ("DELETE", "/api/rooms/demo", ""),
        ("GET", &stats, ""),
        ("PUT", &track, r#"{"muted":true}"#),
        ("POST", &move_away, r#"{"room":"demo2"}"#),
        ("DELETE", &ada, ""),
    ] {
        is_unauthorized(&world.send(method, path, &[JSON], body).await);
        let answer = send(&world, method, path, JSON, &guest, body).await;
        answer.is(403, "forbidden");
        if path != "/api/rooms" {
            let other = admin("other");
            let answer = send(&world, method, path, JSON, &other, body).await;
            answer.is(403, "forbidden");
        }
    }
    let body = r#"{"room":"other"}"#;
    let own = admin("demo");
    let answer = send(&world, "POST", &move_away, JSON, &own, body).await;
    answer.is(403, "forbidden");

    let names = async |token: &str| {
        let answer = send(&world, "GET", "/api/rooms", JSON, token, "").await;
        let list: Value = serde_json::from_str(&answer.body).expect("JSON");
        list["rooms"].as_array().expect("a list").len()
    };
    assert_eq!((names(&own).await, names(&admin("*")).await), (1, 1));
    assert_eq!(names(&admin("other")).await, 0);
    let seen = send(&world, "GET", &stats, JSON, &own, "").await;
    let reports: Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!((seen.status, &reports[0]["participant"]), (200, &json!(id)));
    assert_eq!(reports[0]["connected"], false, "it only posted its offer");
    let nobody = "/api/rooms/demo/participants/nobody/stats";
    let answer = send(&world, "GET", nobody, JSON, &own, "").await;
    answer.is(404, "not-found");
    let removed = send(&world, "DELETE", &ada, JSON, &own, "").await;
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(world.sessions().await, 0);
}

#[tokio::test]
async fn only_who_administers_every_room_sends_the_server_away() {
    let world = world().await;
    let admin = |room: &str| {
        let grants = json!({"subscribe": true, "admin": true});
        token_with(json!({"room": room, "identity": "host", "grants": grants}))
    };
    let ask = async |query: &str, token: &str| {
        send(
            &world,
            "POST",
            &format!("/api/drain{query}"),
            JSON,
            token,
            "",
        )
        .await
    };
    is_unauthorized(&world.send("POST", "/api/drain", &[JSON], "").await);
    let guest = token_with(json!({"room": "*"}));
    ask("", &guest).await.is(403, "forbidden");
    ask("", &admin("demo")).await.is(403, "forbidden");
    for query in ["?deadline=86401", "?deadline=soon"] {
        ask(query, &admin("*")).await.is(400, "malformed");
    }
    let taken = post(&world, "/whip/demo", &token_with(json!({})), CHROMIUM).await;
    assert_eq!(taken.status, 201, "none of these counts: {taken:?}");

    let drained = ask("?deadline=600", &admin("*")).await;
    assert_eq!(drained.status, 202, "{drained:?}");
    let said: Value = serde_json::from_str(&drained.body).expect("JSON");
    assert_eq!(said, json!({"deadline_seconds": 600, "sessions": 1}));
    let refused = post(&world, "/whip/demo2", &admin("*"), CHROMIUM).await;
    refused.is(503, "going-away");

    let open = World::start().await;
    let answer = open.send("POST", "/api/drain", &[JSON], "").await;
    answer.is(403, "forbidden");
}

#[tokio::test]
async fn an_identity_has_as_many_sessions_as_it_may_have() {
    let world = World::with(|settings| {
        settings.auth.key = Some(SECRET.parse().expect("long enough"));
        settings.sessions_per_identity = 1;
    })
    .await;
    let (ada, ben) = (
        token_with(json!({})),
        token_with(json!({"identity": "ben"})),
    );
    let first = post(&world, "/whep/demo", &ada, CHROMIUM_PLAYS).await;
    assert_eq!(first.status, 201, "{first:?}");
    let second = post(&world, "/whep/demo", &ada, CHROMIUM_PLAYS).await;
    second.is(429, "too-many-sessions");
    assert!(second.has("retry-after"));
    assert_eq!(world.refusals("identity").await, 1);
    let other = post(&world, "/whep/demo", &ben, CHROMIUM_PLAYS).await;
    assert_eq!(other.status, 201, "{other:?}");
    let left = send(&world, "DELETE", first.session(), JSON, &ada, "").await;
    assert_eq!(left.status, 200);
    let third = post(&world, "/whep/demo", &ada, CHROMIUM_PLAYS).await;
    assert_eq!(third.status, 201, "{third:?}");
}
