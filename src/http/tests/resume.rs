//! A client whose connection breaks again and again sees the same room in the end.

use std::collections::BTreeSet;

use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::event::{Change, ParticipantInfo, SessionEvent};

/// What happens to a room and to one client's connection.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody comes or goes.
    Toggle(u8),
    /// More happens than a log keeps.
    Storm,
    /// The client reads what there is.
    Read,
    /// The connection breaks after this many bytes of the next chunk.
    Cut(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..20u8).prop_map(Step::Toggle),
        1 => Just(Step::Storm),
        3 => Just(Step::Read),
        3 => (0..400usize).prop_map(Step::Cut),
    ]
}

/// The room as it is.
struct Room<'a> {
    world: &'a World,
    session: SessionId,
    present: BTreeSet<u8>,
    version: u64,
    storms: usize,
}

impl Room<'_> {
    fn toggle(&mut self, who: u8) {
        let id = participant(&format!("p{who}"));
        let change = if self.present.remove(&who) {
            Change::ParticipantLeft { id }
        } else {
            self.present.insert(who);
            Change::Participant(ParticipantInfo::new(id))
        };
        self.version += 1;
        let mut snapshot = self
            .world
            .engines
            .snapshot
            .lock()
            .expect("no test panics here");
        snapshot.version = self.version;
        let info = |who| ParticipantInfo::new(participant(&format!("p{who}")));
        snapshot.participants = self.present.iter().map(info).collect();
        drop(snapshot);
        self.world.hub.publish(SessionEvent {
            session: self.session,
            version: self.version,
            change,
        });
    }
}

/// What the client believes.
#[derive(Default)]
struct Client {
    present: BTreeSet<String>,
    version: Option<u64>,
    snapshots: usize,
}

impl Client {
    /// Takes in the whole events of a chunk; the rest is lost with the connection.
    fn take(&mut self, chunk: &str) {
        let whole = chunk.rfind("\n\n").map_or(0, |end| end + 2);
        for event in chunk[..whole].split_terminator("\n\n") {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_else(|| panic!("{name} {event}"))
            };
            let data: Value = serde_json::from_str(field("data: ")).expect("JSON");
            let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
            match field("event: ") {
                "snapshot" => {
                    self.snapshots += 1;
                    self.present = data["participants"]
                        .as_array()
                        .expect("a list")
                        .iter()
                        .map(id)
                        .collect();
                }
                "participant" => drop(self.present.insert(id(&data))),
                "participant-left" => drop(self.present.remove(&id(&data))),
                other => panic!("{other}"),
            }
            let version = field("id: ").parse().expect("a version");
            assert!(
                self.version.is_none_or(|before| before < version),
                "never twice, never backwards"
            );
            self.version = Some(version);
        }
    }
}

async fn connect(world: &World, session: &str, client: &Client) -> Body {
    let last = client.version.map(|version| version.to_string());
    let headers: Vec<_> = last
        .iter()
        .map(|last| ("last-event-id", last.as_str()))
        .collect();
    let response = world
        .open(request(
            Method::GET,
            &format!("{session}/events"),
            &headers,
            "",
        ))
        .await;
    assert_eq!(response.status(), 200);
    response.into_body()
}

async fn chunk(body: &mut Body) -> String {
    let frame = body
        .frame()
        .await
        .expect("the stream goes on")
        .expect("bodies do not fail");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
}

async fn live_through(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = World::new();
    let path = world.joined().await;
    let session = path
        .trim_start_matches("/sessions/")
        .parse()
        .expect("an id");
    let mut room = Room {
        world: &world,
        session,
        present: BTreeSet::new(),
        version: 0,
        storms: 0,
    };
    let mut client = Client::default();
    let mut body = connect(&world, &path, &client).await;
    for step in steps.into_iter().chain([Step::Read]) {
        match step {
            Step::Toggle(who) => room.toggle(who),
            Step::Storm => {
                (0..600u32).for_each(|n| room.toggle((n % 20) as u8));
                room.storms += 1;
            }
            Step::Read => {
                while client.version != Some(room.version) {
                    client.take(&chunk(&mut body).await);
                }
            }
            Step::Cut(bytes) => {
                if client.version != Some(room.version) {
                    let text = chunk(&mut body).await;
                    client.take(&text[..bytes.min(text.len())]);
                }
                body = connect(&world, &path, &client).await;
            }
        }
    }
    let present: BTreeSet<String> = room.present.iter().map(|who| format!("p{who}")).collect();
    prop_assert_eq!(client.present, present);
    prop_assert!(
        client.snapshots <= 1 + room.storms,
        "only what was missed is sent again"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r3_a_stream_cut_anywhere_ends_in_the_same_room(steps in vec(step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(live_through(steps))?;
    }
}
