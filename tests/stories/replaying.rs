//! A call goes badly, and is looked at again later: what was recorded is told once more.

use std::time::Duration;

use plenum::engine::allocation::Choice;
use plenum::engine::command::{Command, CommandError, Headroom, Reply};
use plenum::engine::ids::RoomId;
use plenum::engine::replay::{Review, replay, table};
use plenum::engine::tape::{Ended, Event, MAX_SECONDS, Recording};
use str0m_netem::{Bitrate, DataSize};

use crate::guest::Guest;
use crate::media::Device;
use crate::secs;
use crate::world::{Person, World};

fn lobby() -> RoomId {
    "lobby".parse().expect("a room's name")
}

/// An operator has somebody recorded.
fn record(world: &mut World, person: Person, length: Duration) -> Result<Reply, CommandError> {
    let command = Command::Record {
        room: lobby(),
        participant: Some(world.participant(person)),
        length,
    };
    world.command_of(person, command)
}

/// What was recorded of somebody.
fn recorded(world: &mut World, person: Person) -> Vec<Recording> {
    let command = Command::Recorded {
        room: lobby(),
        participant: world.participant(person),
    };
    match world.command_of(person, command) {
        Ok(Reply::Recorded(recordings)) => recordings,
        other => panic!("answered by {other:?}"),
    }
}

/// Somebody with three layers of camera, and a viewer on a path that breaks down and recovers,
/// recorded from their first packet on.
fn a_bad_call(seed: u64) -> Recording {
    let mut world = World::new(seed);
    let devices = [Device::simulcast_camera(), Device::microphone()];
    let ada = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    let next = Command::Record {
        room: lobby(),
        participant: None,
        length: secs(60),
    };
    assert!(matches!(world.command_of(ada, next), Ok(Reply::Done)));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(5));
    for kbps in [450, 20_000, 90] {
        let queue = DataSize::bytes(kbps * 300 / 8);
        let rate = Bitrate::kbps(kbps as u64);
        world.down(viewer).change(|link| link.link(rate, queue));
        world.run_for(secs(10));
    }
    let mut recordings = recorded(&mut world, viewer);
    assert_eq!(recordings.len(), 1);
    assert!(recorded(&mut world, viewer).is_empty(), "it is given once");
    recordings.remove(0)
}

/// What a replay makes of it, as a file would have it.
fn replayed(recording: &Recording) -> Vec<Review> {
    let file = serde_json::to_string(recording).expect("it can be written");
    let read: Recording = serde_json::from_str(&file).expect("and be read");
    replay(&read, World::new(1).now())
}

#[test]
fn a_bad_call_that_was_recorded_goes_the_same_way_once_more() {
    let recording = a_bad_call(921);
    assert_eq!((recording.began_at_us, recording.ended), (0, None));
    let reviews = replayed(&recording);
    assert!(reviews.len() >= 60, "{} choices", reviews.len());
    let given = |choice: Choice| {
        reviews
            .iter()
            .any(|review| review.choices.contains(&choice))
    };
    for choice in [Choice::Layer(2), Choice::Layer(0), Choice::Paused] {
        assert!(given(choice), "{choice:?} in\n{}", table(&reviews));
    }
    for review in &reviews {
        assert!(!review.differs(), "{review:?}");
        // The same packets and the same reports make the same estimate.
        let deviation = review.deviation().unwrap_or(0.0);
        assert!(deviation < 0.01, "{review:?}");
    }
}

#[test]
fn what_was_left_out_for_the_machine_is_told_from_what_the_path_carries() {
    let mut world = World::new(925);
    let ada = world.enter("lobby", Guest::meeting().with([Device::simulcast_camera()]));
    let next = Command::Record {
        room: lobby(),
        participant: None,
        length: secs(60),
    };
    assert!(matches!(world.command_of(ada, next), Ok(Reply::Done)));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(5));
    for _ in 0..6 {
        world.measure(Headroom::None);
        world.run_for(secs(1));
    }
    let mut recording = recorded(&mut world, viewer).remove(0);
    let reviews = replayed(&recording);
    assert!(!reviews.iter().any(Review::differs), "{}", table(&reviews));
    assert!(table(&reviews).contains("50 % of the video"));
    let shed = reviews
        .iter()
        .filter(|review| review.video_percent.is_some());
    for review in shed {
        let deviation = review.deviation().unwrap_or(0.0);
        assert!(deviation < 0.01, "the path carries what it did: {review:?}");
    }

    // With room on the machine, larger pictures would have been chosen.
    for entry in &mut recording.entries {
        if let Event::Shared(shared) = &mut entry.event {
            shared.video_percent = None;
        }
    }
    assert!(replayed(&recording).iter().any(Review::differs));
}

#[test]
fn a_replay_shows_where_another_choice_would_be_made() {
    let mut recording = a_bad_call(922);
    let altered = recording.entries.iter_mut().rev().find_map(|entry| {
        let Event::Shared(shared) = &mut entry.event else {
            return None;
        };
        let chosen = shared.choices.first_mut()?;
        *chosen = Choice::Layer(7);
        Some(())
    });
    assert!(altered.is_some());
    let reviews = replayed(&recording);
    assert_eq!(reviews.iter().filter(|review| review.differs()).count(), 1);
    assert!(table(&reviews).contains("NOW"));
}

#[test]
fn a_recording_has_headers_and_reports_and_ends_by_itself() {
    let mut world = World::new(923);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    assert!(record(&mut world, ben, secs(2)).is_ok());
    world.run_for(secs(5));
    let recording = recorded(&mut world, ben).remove(0);
    assert_eq!(recording.ended, Some(Ended::Time));
    assert!(recording.began_at_us >= 2_900_000, "he was there before");
    let last = recording.entries.last().expect("something happened");
    assert!(last.at_us < 2_000_000);
    let count = |is_it: fn(&Event) -> bool| {
        let entries = recording.entries.iter();
        entries.filter(|entry| is_it(&entry.event)).count()
    };
    // Both send 50 sounds and 25 pictures of two packets a second.
    assert!(count(|event| matches!(event, Event::Received(_))) >= 180);
    assert!(count(|event| matches!(event, Event::Sent { .. })) >= 180);
    assert!(count(|event| matches!(event, Event::Rtcp { .. })) >= 10);
    world.video(ben, 0).assert_flawless();
    assert!(
        recorded(&mut world, ada).is_empty(),
        "nobody else is recorded"
    );
}

#[test]
fn few_are_recorded_at_a_time_and_nobody_who_is_not_there() {
    let mut world = World::new(924);
    let people: Vec<Person> = (0..5)
        .map(|_| world.enter("lobby", Guest::meeting()))
        .collect();
    for person in &people[..4] {
        assert!(record(&mut world, *person, secs(MAX_SECONDS)).is_ok());
    }
    let refused = record(&mut world, people[4], secs(1)).err();
    assert_eq!(refused, Some(CommandError::Overloaded));
    assert_eq!(recorded(&mut world, people[0]).len(), 1);
    assert!(record(&mut world, people[4], secs(1)).is_ok());
    let nobody = Command::Record {
        room: lobby(),
        participant: Some("nobody".parse().expect("a name")),
        length: secs(1),
    };
    let refused = world.command_of(people[0], nobody).err();
    assert_eq!(refused, Some(CommandError::NotFound("participant")));
}
