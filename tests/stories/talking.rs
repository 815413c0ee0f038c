//! People talk beside media: messages, raised hands.

use plenum::engine::command::{Command, CommandError, Reply};
use plenum::engine::event::Change;
use plenum::engine::ids::{ParticipantId, SessionId};
use plenum::engine::message::{Json, Message, Say};
use serde_json::json;

use crate::guest::Guest;
use crate::secs;
use crate::world::{Person, World};

fn message(room: &str, from: Option<SessionId>, text: &str) -> Say {
    Say {
        room: room.parse().expect("a room's name"),
        from,
        to: None,
        event: "chat".parse().expect("an event's name"),
        data: Json::from(&json!(text)),
        keep: true,
    }
}

fn say(world: &mut World, person: Person, to: Option<Person>, text: &str) -> String {
    let to = to.map(|to| world.participant(to));
    let room = world.room(person).to_owned();
    let say = Say {
        keep: to.is_none(),
        to,
        ..message(&room, Some(world.session(person)), text)
    };
    match world.command_of(person, Command::Say(Box::new(say))) {
        Ok(Reply::Said { id }) => id,
        other => panic!("a message is answered by {other:?}"),
    }
}

/// What somebody was told, oldest first.
fn heard(world: &World, person: Person) -> Vec<(Option<ParticipantId>, String)> {
    let told = |change: &Change| match change {
        Change::Message(message) => Some(text_of(message)),
        _ => None,
    };
    let events = &world.client(person).events;
    events
        .iter()
        .filter_map(|(_, change)| told(change))
        .collect()
}

fn text_of(message: &Message) -> (Option<ParticipantId>, String) {
    (message.from.clone(), message.data.as_str().to_owned())
}

#[test]
fn what_somebody_says_is_heard_by_all_others_in_the_room_and_by_nobody_else() {
    let mut world = World::with_shards(61, 2);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    let viewer = world.enter("lobby", Guest::watching());
    let elsewhere = world.enter("attic", Guest::meeting());
    world.run_for(secs(2));

    let id = say(&mut world, ada, None, "hello");
    say(&mut world, ada, Some(ben), "psst");
    let from_ada = |text: &str| (Some(world.participant(ada)), json!(text).to_string());
    assert_eq!(heard(&world, ben), [from_ada("hello"), from_ada("psst")]);
    assert_eq!(heard(&world, viewer), [from_ada("hello")]);
    assert_eq!(heard(&world, ada), [], "who speaks knows");
    assert_eq!(heard(&world, elsewhere), []);
    assert!(world.heard(ben, world.now(), |change| matches!(change,
        Change::Message(message) if message.id == id && message.at_ms / 1000 == 1_700_000_002)));

    let nobody = Some("nobody".parse().expect("a name"));
    let to_nobody = Say {
        to: nobody,
        ..message("lobby", Some(world.session(ada)), "?")
    };
    let refused = world.command_of(ada, Command::Say(Box::new(to_nobody)));
    assert_eq!(refused.err(), Some(CommandError::NotFound("participant")));
    let in_another_room = message("attic", Some(world.session(ada)), "?");
    let refused = world.command_of(ada, Command::Say(Box::new(in_another_room)));
    assert_eq!(refused.err(), Some(CommandError::NoSuchSession));
}

#[test]
fn who_comes_late_reads_what_was_kept_and_not_what_was_meant_for_one() {
    let mut world = World::new(62);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
    say(&mut world, ada, None, "one");
    say(&mut world, ada, Some(ben), "secret");
    let from_server = Command::Say(Box::new(message("lobby", None, "two")));
    assert!(world.command_of(ada, from_server).is_ok());
    assert_eq!(
        heard(&world, ada),
        [(None, json!("two").to_string())],
        "the server speaks to all"
    );

    let late = world.enter("lobby", Guest::meeting());
    let kept: Vec<_> = world
        .snapshot(late)
        .messages
        .iter()
        .map(|m| text_of(m))
        .collect();
    let adas = Some(world.participant(ada));
    assert_eq!(
        kept,
        [
            (adas, json!("one").to_string()),
            (None, json!("two").to_string())
        ]
    );
}

#[test]
fn a_raised_hand_is_seen_by_all_and_stays_up_over_a_reconnect() {
    let mut world = World::new(63);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
    let hand = Some(Json::from(&json!({"hand": true})));
    let raise = Command::SetAttributes {
        session: world.session(ada),
        attributes: hand.clone(),
    };
    assert!(world.command_of(ada, raise).is_ok());
    let of_ada = |world: &World| {
        let adas = world.participant(ada);
        world.client(ben).roster.participants[&adas]
            .attributes
            .clone()
    };
    assert_eq!(of_ada(&world), hand);

    let again = world.enter("lobby", Guest::meeting().resuming(world.session(ada)));
    world.run_for(secs(1));
    assert_eq!(world.participant(again), world.participant(ada));
    assert_eq!(of_ada(&world), hand);

    let lower = Command::SetAttributes {
        session: world.session(again),
        attributes: None,
    };
    assert!(world.command_of(again, lower).is_ok());
    assert_eq!(of_ada(&world), None);
    world.run_for(secs(1));
}
