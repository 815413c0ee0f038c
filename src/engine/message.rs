//! What clients and servers say to each other through a room: messages, attributes, metadata.
//!
//! Their contents are JSON that means something to applications only. It is carried as text: the
//! engine neither reads nor changes it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::ids::{NameError, ParticipantId, RoomId, SessionId};

/// Longest name of an event, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 64;

/// Some JSON of an application's, as compact text: no line breaks, which events rely on.
///
/// Clones share it, because a message to a room goes to everybody in it.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self::from(&Value::Object(serde_json::Map::new()))
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        let text = to_raw_value(value).expect("a value has no keys but strings");
        Self(text.into())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

/// Not what it says: logs must not tell what people tell each other.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.as_str().len())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What a message is about, in an application's own words: `chat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventName(Box<str>);

impl EventName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MAX_EVENT_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        if !name.chars().all(allowed) {
            return Err(NameError::Character);
        }
        Ok(Self(name.into()))
    }
}

/// `POST messages`: something to be said in a room.
#[derive(Debug)]
pub struct Say {
    /// Where.
    pub room: RoomId,
    /// Who says it; `None` is the server, for whoever administers the room.
    pub from: Option<SessionId>,
    /// Whom to; `None` is everybody else.
    pub to: Option<ParticipantId>,
    /// What it is about.
    pub event: EventName,
    /// What it says.
    pub data: Json,
    /// Whether those who come later are to see it, too. Nothing to one participant is kept.
    pub keep: bool,
}

/// Something that was said in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Tells it apart from the others.
    pub id: String,
    /// Who said it; `None` is the server.
    pub from: Option<ParticipantId>,
    /// Whom to; `None` is everybody else.
    pub to: Option<ParticipantId>,
    /// What it is about.
    pub event: EventName,
    /// What it says.
    pub data: Json,
    /// When it was said, in milliseconds since the Unix epoch.
    #[serde(rename = "at")]
    pub at_ms: u64,
}

impl Message {
    /// About what it takes of memory, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.data.as_str().len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_name_can_be_a_word_of_any_application_but_not_a_text() {
        for good in ["chat", "x", "org.example:typing-2", &"a".repeat(64)] {
            assert!(good.parse::<EventName>().is_ok(), "{good}");
        }
        for bad in ["", "two words", "a\nb", "Grüße", &"a".repeat(65)] {
            assert!(bad.parse::<EventName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn json_is_one_line_and_stays_out_of_logs() {
        let json = Json::from(&json!({"text": "two\nlines", "n": 1}));
        assert_eq!(json.as_str(), r#"{"n":1,"text":"two\nlines"}"#);
        assert_eq!(format!("{json:?}"), "Json(27 bytes)");
        assert_eq!(
            serde_json::to_string(&[json]).expect("it can be written"),
            r#"[{"n":1,"text":"two\nlines"}]"#
        );
    }
}
