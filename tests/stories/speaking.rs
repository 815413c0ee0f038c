//! Who speaks is seen: by players that follow the speaker, and in slots that choose themselves.

use std::time::Duration;

use plenum::engine::event::{Change, Kind};

use crate::guest::Guest;
use crate::media::{Device, SILENT, SPEAKING};
use crate::world::{Person, World};
use crate::{millis, secs};

/// Makes one person speak and everybody else listen.
fn only_speaks(world: &mut World, speaker: Person, everybody: &[Person]) {
    for person in everybody {
        world.speak(*person, if *person == speaker { SPEAKING } else { SILENT });
    }
}

/// How far a viewer's lips are off, in milliseconds: sound against picture of the same person.
fn lips_ms(world: &World, viewer: Person) -> f64 {
    let playout = |kind| {
        let mut slots = world.client(viewer).slots(kind);
        let last = slots
            .next()
            .and_then(|slot| slot.shown.last())
            .expect("something on show");
        last.playout_ms.expect("a sender report came")
    };
    playout(Kind::Audio) - playout(Kind::Video)
}

#[test]
fn a_players_picture_follows_the_speaker_within_a_second() {
    let mut world = World::new(31);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let ben = world.enter("lobby", Guest::publishing("ben"));
    let viewer = world.enter("lobby", Guest::watching());
    only_speaks(&mut world, ada, &[ada, ben]);
    world.run_for(secs(5));
    assert_eq!(
        world.video(viewer, 0).source(),
        Some(world.source_of(ada, Kind::Video))
    );

    let turned_at = world.now();
    only_speaks(&mut world, ben, &[ada, ben]);
    world.run_for(secs(5));

    for (slot, kind) in [
        (world.video(viewer, 0), Kind::Video),
        (world.audio(viewer, 0), Kind::Audio),
    ] {
        let first = slot
            .first_of(world.source_of(ben, kind), turned_at)
            .expect("ben came on");
        let took = first - turned_at;
        assert!(took <= millis(1_000), "{kind:?} took {took:?}");
        slot.assert_flawless();
        let freeze = slot.longest_freeze(turned_at, world.now());
        assert!(freeze <= millis(200), "{kind:?} froze for {freeze:?}");
        let mid = slot.mid.clone();
        assert_eq!(
            world.wire.gaps(viewer, world.ssrcs(viewer, &mid).0),
            0,
            "one unbroken stream"
        );
    }
    let bens = world.participant(ben);
    assert!(world.heard(viewer, turned_at, |change| {
        *change
            == Change::Speaker {
                participant: Some(bens.clone()),
            }
    }));
}

#[test]
fn silence_that_is_not_sent_is_no_loss_and_a_voice_is_marked() {
    let mut world = World::new(38);
    let ada = world.enter(
        "lobby",
        Guest::meeting().with([Device::microphone()]).slots(0, 0),
    );
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(0, 1));
    world.speak(ada, SPEAKING);
    world.run_for(secs(4));
    let before = world.audio(viewer, 0).voices;
    assert!(before > 100, "{before} packets with a voice");

    // Discontinuous transmission: a packet of comfort noise every 400 ms (RFC 7587 §3.1.3).
    world.speak(ada, SILENT);
    world.client_mut(ada).sources[0].interval = millis(400);
    world.run_for(millis(400));
    let (silent_at, before) = (world.now(), world.audio(viewer, 0).voices);
    world.run_for(secs(20));
    let audio = world.audio(viewer, 0);
    assert_eq!(audio.voices, before, "no voice");
    assert!(audio.since(silent_at).len() >= 49, "noise is forwarded");
    audio.assert_flawless();

    world.client_mut(ada).sources[0].interval = millis(20);
    world.speak(ada, SPEAKING);
    world.run_for(secs(4));
    let audio = world.audio(viewer, 0);
    assert!(audio.voices > before + 100, "the voice is back");
    audio.assert_flawless();
    let counters = world.counters();
    assert_eq!(
        (counters.nacked_packets_in, counters.rtx_packets_out),
        (0, 0)
    );
    let session = world.client(viewer).receivers.iter().map(|slot| slot.lost);
    assert_eq!(session.sum::<u64>(), 0);
}

#[test]
fn a_cough_turns_no_heads() {
    let mut world = World::new(32);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let ben = world.enter("lobby", Guest::publishing("ben"));
    let viewer = world.enter("lobby", Guest::watching());
    only_speaks(&mut world, ada, &[ada, ben]);
    world.run_for(secs(5));

    world.speak(ben, SPEAKING);
    world.run_for(millis(200));
    world.speak(ben, SILENT);
    let from = world.now();
    world.run_for(secs(3));

    assert_eq!(
        world
            .video(viewer, 0)
            .first_of(world.source_of(ben, Kind::Video), from),
        None
    );
}

#[test]
fn lips_stay_together_however_often_the_picture_changes() {
    let mut world = World::new(33);
    let people: Vec<Person> = ["ada", "ben", "cyd"]
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let far = Duration::from_millis(10 + 40 * place as u64);
            world.enter("lobby", Guest::publishing(name).at_distance(far))
        })
        .collect();
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(12));

    for turn in 0..12 {
        only_speaks(&mut world, people[turn % 3], &people);
        world.run_for(secs(4));
        let source = world.source_of(people[turn % 3], Kind::Video);
        assert_eq!(world.video(viewer, 0).source(), Some(source), "turn {turn}");
        let off = lips_ms(&world, viewer);
        assert!(off.abs() <= 40.0, "{off} ms after turn {turn}");
    }
    world.video(viewer, 0).assert_flawless();
    world.audio(viewer, 0).assert_flawless();
}

#[test]
fn more_people_than_slots_leave_room_for_who_speaks() {
    let mut world = World::new(34);
    let people: Vec<Person> = (0..6)
        .map(|_| world.enter("lobby", Guest::meeting().slots(2, 2)))
        .collect();
    world.run_for(secs(4));
    let (viewer, speaker) = (people[0], people[5]);
    let shown = |world: &World, viewer: Person| -> Vec<Option<u32>> {
        (0..2)
            .map(|slot| world.video(viewer, slot).source())
            .collect()
    };
    for person in &people {
        let shown = shown(&world, *person);
        assert!(
            shown.iter().all(Option::is_some) && shown[0] != shown[1],
            "{shown:?}"
        );
    }
    let before = shown(&world, viewer);
    assert!(!before.contains(&Some(world.source_of(speaker, Kind::Video))));

    let turned_at = world.now();
    only_speaks(&mut world, speaker, &people);
    world.run_for(secs(3));

    let after = shown(&world, viewer);
    assert!(
        after.contains(&Some(world.source_of(speaker, Kind::Video))),
        "{after:?}"
    );
    let stayed = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before == after)
        .count();
    assert_eq!(stayed, 1, "only one of the two pictures changed");
    for slot in 0..2 {
        world.video(viewer, slot).assert_flawless();
        assert!(
            world
                .video(viewer, slot)
                .longest_freeze(turned_at, world.now())
                <= millis(400)
        );
    }
}

#[test]
fn a_muted_camera_gives_its_slot_away() {
    let mut world = World::new(35);
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    let ada = world.enter(
        "lobby",
        Guest::meeting().with([Device::camera()]).slots(0, 0),
    );
    world.run_for(secs(2));
    let ben = world.enter(
        "lobby",
        Guest::meeting().with([Device::camera()]).slots(0, 0),
    );
    world.run_for(secs(2));
    assert_eq!(
        world.video(viewer, 0).source(),
        Some(world.source_of(ada, Kind::Video))
    );

    world.mute(ada, Kind::Video, true);
    world.run_for(secs(1));
    assert_eq!(
        world.video(viewer, 0).source(),
        Some(world.source_of(ben, Kind::Video))
    );
    let track = world.track_of(ada, Kind::Video);
    assert!(world.client(viewer).roster.tracks[&track].muted);
    world.video(viewer, 0).assert_flawless();
}
