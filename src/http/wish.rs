//! The JSON that clients send: what their slots should show, and what they have muted.
//!
//! Text that is not JSON is malformed (400); JSON that says something we do not know how to do is
//! unsupported (422) and the answer names the slot. Unknown fields are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;
use crate::engine::command::{SlotWish, Wish};

/// Largest width or height that a client may state, in pixels: beyond any screen.
const MAX_PIXELS: u32 = 16_384;
/// Highest frame rate that a client may state, in frames per second.
const MAX_FRAME_RATE: u32 = 240;
/// Who does not say goes in the middle.
const DEFAULT_PRIORITY: u8 = 128;
/// Longest MID that is repeated in an answer, in characters; ours and browsers' have few.
const MAX_MID_CHARS: usize = 32;

/// The body of `PUT subscriptions`.
#[derive(Deserialize)]
struct WishBody {
    #[serde(default)]
    slots: BTreeMap<String, Value>,
    #[serde(default = "auto")]
    rest: Value,
}

fn auto() -> Value {
    Value::from("auto")
}

/// A slot that shows a track.
#[derive(Deserialize)]
struct TrackWish {
    track: String,
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<u32>,
    priority: Option<u8>,
    #[serde(default)]
    paused: bool,
}

/// The body of `PUT tracks`.
#[derive(Deserialize)]
struct MutedBody {
    muted: BTreeMap<String, bool>,
}

/// Reads the body of `PUT subscriptions`.
pub(super) fn parse_wish(text: &str) -> Result<Wish, Problem> {
    let body: WishBody = parse(text)?;
    let rest_auto = match &body.rest {
        Value::Null => false,
        Value::String(word) if word == "auto" => true,
        _ => return Err(Problem::unprocessable("rest is \"auto\" or null.")),
    };
    let slots = body.slots.into_iter().map(|(mid, value)| {
        let wish = slot_wish(value).map_err(|reason| {
            let mid: String = mid.chars().take(MAX_MID_CHARS).collect();
            Problem::unprocessable(format!("slot {mid}: {reason}"))
        })?;
        Ok((mid, wish))
    });
    Ok(Wish {
        slots: slots.collect::<Result<_, Problem>>()?,
        rest_auto,
    })
}

/// Reads the body of `PUT tracks`.
pub(super) fn parse_muted(text: &str) -> Result<BTreeMap<String, bool>, Problem> {
    parse::<MutedBody>(text).map(|body| body.muted)
}

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad_request(format!("Not JSON at line {line}, column {column}."))
    })?;
    if !value.is_object() {
        // Derived code would take an array for the fields in their order.
        return Err(Problem::unprocessable("The body is not an object."));
    }
    T::deserialize(value).map_err(|error| Problem::unprocessable(error.to_string()))
}

fn slot_wish(value: Value) -> Result<SlotWish, &'static str> {
    match value {
        Value::Null => Ok(SlotWish::Nothing),
        Value::String(word) if word == "auto" => Ok(SlotWish::Auto),
        Value::Object(_) => {
            let wish = TrackWish::deserialize(value)
                .map_err(|_| "a field is missing or of another type")?;
            track_wish(&wish)
        }
        _ => Err("a slot takes a track, null or \"auto\""),
    }
}

fn track_wish(wish: &TrackWish) -> Result<SlotWish, &'static str> {
    let size = match (wish.width, wish.height) {
        (None, None) => None,
        (Some(width @ 1..=MAX_PIXELS), Some(height @ 1..=MAX_PIXELS)) => Some((width, height)),
        _ => return Err("width and height come together, from 1 to 16384"),
    };
    if !wish
        .fps
        .is_none_or(|fps| (1..=MAX_FRAME_RATE).contains(&fps))
    {
        return Err("fps is from 1 to 240");
    }
    Ok(SlotWish::Track {
        track: wish.track.parse().map_err(|_| "this is not a track's id")?,
        size,
        frame_rate: wish.fps,
        priority: wish.priority.unwrap_or(DEFAULT_PRIORITY),
        paused: wish.paused,
    })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use proptest::prelude::*;

    use super::*;

    fn status(text: &str) -> u16 {
        parse_wish(text)
            .expect_err(text)
            .into_response()
            .status()
            .as_u16()
    }

    #[test]
    fn the_documented_wish_is_understood() {
        let wish = parse_wish(
            r#"{"slots": {"2": {"track": "k3jq5xw2m4za", "width": 640, "height": 360, "fps": 30,
                                "priority": 200, "paused": true, "unknown": 1},
                          "3": null, "4": "auto"}, "rest": null, "unknown": []}"#,
        )
        .expect("it is documented");
        assert!(!wish.rest_auto);
        assert_eq!(wish.slots["3"], SlotWish::Nothing);
        assert_eq!(wish.slots["4"], SlotWish::Auto);
        assert_eq!(
            wish.slots["2"],
            SlotWish::Track {
                track: "k3jq5xw2m4za".parse().expect("an id"),
                size: Some((640, 360)),
                frame_rate: Some(30),
                priority: 200,
                paused: true,
            }
        );
    }

    #[test]
    fn slots_that_are_not_named_choose_for_themselves() {
        assert_eq!(
            parse_wish("{}").expect("an empty wish"),
            Wish {
                rest_auto: true,
                ..Wish::default()
            }
        );
    }

    #[test]
    fn text_that_is_no_json_is_told_apart_from_a_wish_that_cannot_be() {
        for malformed in ["{", "", "{\"slots\":}", "nonsense", &"[".repeat(10_000)] {
            assert_eq!(status(malformed), 400, "{malformed:.20}");
        }
        for unsupported in [
            "[]",
            "7",
            r#"{"slots": []}"#,
            r#"{"slots": {"0": 1}}"#,
            r#"{"slots": {"0": "loudest"}}"#,
            r#"{"slots": {"0": {}}}"#,
            r#"{"slots": {"0": {"track": "short"}}}"#,
            r#"{"slots": {"0": {"track": "k3jq5xw2m4za", "width": 640}}}"#,
            r#"{"slots": {"0": {"track": "k3jq5xw2m4za", "width": 0, "height": 0}}}"#,
            r#"{"slots": {"0": {"track": "k3jq5xw2m4za", "priority": 256}}}"#,
            r#"{"slots": {"0": {"track": "k3jq5xw2m4za", "fps": 0}}}"#,
            r#"{"rest": "nothing"}"#,
        ] {
            assert_eq!(status(unsupported), 422, "{unsupported}");
        }
    }

    #[test]
    fn muted_tracks_are_named_by_their_mid() {
        let muted =
            parse_muted(r#"{"muted": {"0": true, "audio1": false}}"#).expect("it is documented");
        assert_eq!(
            muted,
            BTreeMap::from([("0".to_owned(), true), ("audio1".to_owned(), false)])
        );
        assert!(parse_muted(r#"{"muted": {"0": "yes"}}"#).is_err());
    }

    /// JSON of the shapes that clients send, and of others.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "auto|k3jq5xw2m4za|.{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let key = "slots|rest|muted|track|width|height|fps|priority|paused|.{0,5}";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..6).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_a_wish_within_bounds_or_422(value in json()) {
            match parse_wish(&value.to_string()) {
                Ok(wish) => for slot in wish.slots.values() {
                    if let SlotWish::Track { size, frame_rate, .. } = slot {
                        let bounds = 1..=MAX_PIXELS;
                        prop_assert!(size.is_none_or(|(width, height)| bounds.contains(&width)
                            && bounds.contains(&height)));
                        prop_assert!(frame_rate.is_none_or(|fps| fps <= MAX_FRAME_RATE));
                    }
                },
                Err(problem) => prop_assert_eq!(problem.into_response().status(), 422),
            }
            if let Err(problem) = parse_muted(&value.to_string()) {
                prop_assert_eq!(problem.into_response().status(), 422);
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,200}") {
            if let Err(problem) = parse_wish(&text) {
                let status = problem.into_response().status().as_u16();
                prop_assert!(status == 400 || status == 422);
            }
        }
    }
}
