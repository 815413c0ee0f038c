//! People share data: topics, to all or to one, and one who cannot keep up.

use plenum::engine::command::{Command, Reply};
use plenum::engine::counters::DropReason;
use plenum::engine::event::Kind;
use plenum::engine::message::{Json, Say};
use plenum::engine::{ChannelLimits, Limits};
use serde_json::{Value, json};

use crate::guest::{Guest, Topic};
use crate::link::loss;
use crate::world::{Person, World};
use crate::{millis, secs};

/// What somebody got on their channels, oldest first, as text.
fn got(world: &World, person: Person) -> Vec<(String, String)> {
    let received = world.client(person).data.iter();
    received
        .map(|(label, data)| (label.clone(), String::from_utf8_lossy(data).into_owned()))
        .collect()
}

fn on(label: &str, text: &str) -> (String, String) {
    (label.to_owned(), text.to_owned())
}

#[test]
fn what_is_sent_on_a_topic_comes_to_all_others_who_have_it_open() {
    let mut world = World::with_shards(81, 2);
    let open = |topics: &[&str]| {
        Guest::meeting().opening(topics.iter().map(|topic| Topic::reliable(topic)))
    };
    let ada = world.enter("lobby", open(&["draw", "note"]));
    let ben = world.enter("lobby", open(&["draw", "note"]));
    let eve = world.enter("lobby", open(&["note"]));
    let elsewhere = world.enter("attic", open(&["draw", "note"]));
    let without = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));

    world.send(ada, "draw", b"line");
    world.send(ada, "note", b"hello");
    world.run_for(millis(200));
    assert_eq!(got(&world, ben), [on("draw", "line"), on("note", "hello")]);
    assert_eq!(got(&world, eve), [on("note", "hello")]);
    for other in [ada, elsewhere, without] {
        assert_eq!(got(&world, other), []);
    }
    let counters = world.counters();
    assert_eq!(
        (counters.data_messages_in, counters.data_messages_out),
        (2, 3)
    );
    world.video(without, 0).assert_flawless();
}

#[test]
fn a_label_with_a_name_is_for_that_participant_alone() {
    let mut world = World::new(82);
    let ada = world.enter("lobby", Guest::meeting().opening([Topic::reliable("note")]));
    let bens = Guest::meeting().opening([Topic::reliable("note")]);
    let ben = world.enter("lobby", bens);
    let eve = world.enter("lobby", Guest::meeting().opening([Topic::reliable("note")]));
    world.run_for(secs(1));

    let to_ben = format!("note@{}", world.participant(ben));
    world.open(ada, &Topic::reliable(&to_ben));
    world.run_for(secs(1));
    world.send(ada, &to_ben, b"psst");
    world.run_for(millis(200));
    assert_eq!(got(&world, ben), [on("note", "psst")]);

    let from_ada = format!("note@{}", world.participant(ada));
    world.open(ben, &Topic::reliable(&from_ada));
    world.run_for(secs(1));
    world.send(ada, &to_ben, b"again");
    world.send(ben, &from_ada, b"yes?");
    world.run_for(millis(200));
    assert_eq!(
        got(&world, ben)[1..],
        [on(&from_ada, "again")],
        "who it is from can be told"
    );
    assert_eq!(got(&world, ada), [on(&to_ben, "yes?")]);
    assert_eq!(got(&world, eve), []);
}

#[test]
fn messages_that_are_posted_come_on_a_channel_too_and_nobody_can_pretend_to_be_the_server() {
    let mut world = World::new(83);
    let ada = world.enter(
        "lobby",
        Guest::meeting().opening([Topic::reliable("messages")]),
    );
    let ben = world.enter(
        "lobby",
        Guest::meeting().opening([Topic::reliable("messages")]),
    );
    world.run_for(secs(1));
    let say = Say {
        room: "lobby".parse().expect("a name"),
        from: Some(world.session(ada)),
        to: None,
        event: "chat".parse().expect("a name"),
        data: Json::from(&json!("hello")),
        keep: false,
    };
    let said = world.command_of(ada, Command::Say(Box::new(say)));
    let Ok(Reply::Said { id }) = said else {
        panic!("a message is answered by {said:?}")
    };
    world.send(ada, "messages", br#"{"id":"x","from":null}"#);
    world.run_for(millis(200));
    let got = got(&world, ben);
    assert_eq!(got.len(), 1, "{got:?}");
    let message: Value = serde_json::from_str(&got[0].1).expect("JSON");
    assert_eq!(
        (&message["id"], &message["data"]),
        (&json!(id), &json!("hello"))
    );
    assert_eq!(message["from"], world.participant(ada).as_str());
    assert_eq!(world.counters().drops[&DropReason::DataUnwanted], 1);
}

#[test]
fn m38_a_reader_who_cannot_keep_up_costs_a_bounded_amount_and_delays_nobody() {
    let mut world = World::new(84);
    let both = || Guest::meeting().opening([Topic::reliable("file"), Topic::lossy("cursor")]);
    let (ada, ben, slow) = (
        world.enter("lobby", both()),
        world.enter("lobby", both()),
        world.enter("lobby", both()),
    );
    world.run_for(secs(3));
    // Nothing of what she is sent arrives any more, so nothing is acknowledged.
    world.down(slow).change(|link| link.loss(loss(1.0)));
    let piece = vec![7; 16 * 1024];
    for n in 0..40 {
        let topic = if n % 2 == 0 { "file" } else { "cursor" };
        world.send(ada, topic, &piece);
        world.run_for(millis(100));
        // A piece takes a few round trips while SCTP begins slowly, and then less than one turn here.
        let behind = n + 1 - got(&world, ben).len();
        assert!(
            behind <= if n < 20 { 3 } else { 1 },
            "ben waits for {behind}"
        );
    }
    let counters = world.counters();
    let lost = counters.drops[&DropReason::DataBacklog];
    assert!(lost > 0, "she is told less");
    assert!(counters.data_messages_out < 80);
    world.video(ben, 0).assert_flawless();
    world.audio(ben, 0).assert_flawless();
    let from = world.now() - secs(4);
    assert!(world.video(ben, 0).longest_freeze(from, world.now()) < millis(100));
}

#[test]
fn a_client_that_floods_loses_its_channel_and_nothing_else() {
    let mut world = World::new(85);
    let ada = world.enter(
        "lobby",
        Guest::meeting().opening([Topic::reliable("flood")]),
    );
    let ben = world.enter(
        "lobby",
        Guest::meeting().opening([Topic::reliable("flood")]),
    );
    world.run_for(secs(2));
    for _ in 0..250 {
        world.send(ada, "flood", b"x");
    }
    world.run_for(secs(1));
    assert!(got(&world, ben).len() <= 200);
    assert!(world.counters().drops[&DropReason::DataLimit] > 0);
    assert!(world.client(ada).channels.is_empty(), "it was closed");
    world.run_for(secs(2));
    world.video(ben, 0).assert_flawless();
    assert!(
        !world
            .client(ada)
            .slots(Kind::Video)
            .next()
            .expect("a slot")
            .shown
            .is_empty()
    );
}

#[test]
fn a_client_has_as_many_channels_as_it_may_have() {
    let mut world = World::new(87);
    let most = Limits::default().channels.channels as usize;
    let labels: Vec<String> = (0..=most).map(|n| format!("topic-{n}")).collect();
    let topics = labels.iter().map(|label| Topic::reliable(label));
    let ada = world.enter("lobby", Guest::meeting().opening(topics));
    world.run_for(secs(2));
    assert_eq!(world.client(ada).channels.len(), most);
    assert_eq!(world.counters().drops[&DropReason::DataLimit], 1);
}

#[test]
fn a_client_hears_how_large_its_messages_may_be_and_larger_ones_cost_it_their_channel() {
    let limits = Limits {
        channels: ChannelLimits {
            message_bytes: 2048,
            ..ChannelLimits::default()
        },
        ..Limits::default()
    };
    let mut world = World::with_limits(88, 1, limits);
    let topics = || [Topic::reliable("file"), Topic::lossy("cursor")];
    let ada = Guest::meeting().opening(topics()).ignoring_message_size();
    let ada = world.enter("lobby", ada);
    let ben = world.enter("lobby", Guest::meeting().opening(topics()));
    world.run_for(secs(2));
    let told = &world.client(ben).answer;
    assert!(told.contains("a=max-message-size:2048\r\n"), "{told}");

    let (fits, large) = ([b'x'; 2048], [b'x'; 2049]);
    for label in ["cursor", "file"] {
        world.send(ada, label, &fits);
        world.send(ada, label, &large);
        world.run_for(millis(500));
    }
    let lengths = world.client(ben).data.iter().map(|(_, data)| data.len());
    assert_eq!(lengths.collect::<Vec<_>>(), [2048, 2048]);
    assert_eq!(world.counters().drops[&DropReason::DataLimit], 2);
    let left = world.client(ada).channels.iter().map(|(_, label)| label);
    assert_eq!(left.collect::<Vec<_>>(), ["cursor"], "a lossy one stays");
}

#[test]
fn a_client_may_come_with_data_alone() {
    let mut world = World::new(86);
    let alone = || {
        Guest::meeting()
            .with([])
            .slots(0, 0)
            .opening([Topic::lossy("cursor")])
    };
    let ada = world.enter("lobby", alone());
    let ben = world.enter("lobby", alone());
    world.run_for(secs(2));
    world.send(ada, "cursor", b"1,2");
    world.run_for(millis(200));
    assert_eq!(got(&world, ben), [on("cursor", "1,2")]);
}
