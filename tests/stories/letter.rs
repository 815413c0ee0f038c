//! To the letter of `docs/http.md`: E9, R1 and R2.

use std::collections::{BTreeSet, VecDeque};

use plenum::engine::administration::{RoomCommand, RoomDetail};
use plenum::engine::command::Reply;
use plenum::engine::event::Kind;
use plenum::engine::ids::{ParticipantId, TrackId};

use crate::guest::Guest;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

/// How long people come and go, in seconds; an hour where there is time (`PLENUM_LONG=1`).
fn churn_seconds() -> u64 {
    if std::env::var_os("PLENUM_LONG").is_some() {
        3_600
    } else {
        20
    }
}

/// The room as a host sees it.
fn administered(world: &mut World, room: &str) -> (BTreeSet<ParticipantId>, BTreeSet<TrackId>) {
    let room = room.parse().expect("a name");
    let Ok(Reply::Room(detail)) = world.administer(RoomCommand::Show { room }) else {
        panic!("there is no such room");
    };
    let RoomDetail { participants, .. } = *detail;
    let tracks = participants.iter().flat_map(|who| &who.tracks);
    let tracks = tracks.map(|track| track.id).collect();
    (
        participants.into_iter().map(|who| who.info.id).collect(),
        tracks,
    )
}

/// The same, as somebody in it has heard.
fn heard(world: &World, person: Person) -> (BTreeSet<ParticipantId>, BTreeSet<TrackId>) {
    let roster = &world.client(person).roster;
    let participants = roster.participants.keys().cloned().collect();
    (participants, roster.tracks.keys().copied().collect())
}

#[test]
fn e9_a_publisher_who_comes_back_with_another_codec_is_seen_on_without_another_description() {
    let mut world = World::new(130);
    let viewer = world.enter("lobby", Guest::watching_only("ada"));
    let described = |world: &World| {
        let seat = world.client(viewer).seat.as_ref();
        seat.expect("let in").sdp_tag.clone()
    };
    let first = described(&world);
    for camera in [
        Device::h264_camera(),
        Device::camera(),
        Device::h264_camera(),
    ] {
        let ada = world.enter("lobby", Guest::publishing("ada").with([camera]));
        world.run_for(secs(3));
        let seen = world.video(viewer, 0).since(world.now() - secs(1));
        assert!(seen.len() >= 20, "{} pictures", seen.len());
        let source = world.source_of(ada, Kind::Video);
        assert_eq!(world.video(viewer, 0).source(), Some(source));
        world.leave(ada);
        world.run_for(secs(1));
    }
    let video = world.video(viewer, 0);
    assert_eq!((video.torn, video.undecodable), (0, 0));
    assert_eq!(described(&world), first, "nobody described anything anew");
}

#[test]
fn r1_a_hundred_who_join_in_a_second_all_know_the_room_without_another_description() {
    let mut world = World::new(131);
    let mut people = Vec::new();
    for n in 0..100 {
        // Some publish, and nobody needs to see them all.
        let devices = (n % 10 == 0).then(Device::microphone);
        let guest = Guest::meeting().with(devices).slots(1, 1);
        people.push(world.enter("lobby", guest));
        world.run_for(millis(10));
    }
    let tags = |world: &World| -> Vec<String> {
        let seats = people.iter().map(|who| world.client(*who).seat.as_ref());
        seats
            .map(|seat| seat.expect("let in").sdp_tag.clone())
            .collect()
    };
    let first = tags(&world);
    world.run_for(secs(2));
    let room = administered(&mut world, "lobby");
    assert_eq!((room.0.len(), room.1.len()), (100, 10));
    for person in &people {
        assert_eq!(heard(&world, *person), room);
    }
    assert_eq!(tags(&world), first, "nobody described anything anew");
}

#[test]
fn r2_slots_stay_what_they_are_while_ten_a_second_come_and_go() {
    let mut world = World::new(132);
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(3, 2));
    let (mut present, mut gone) = (VecDeque::new(), VecDeque::new());
    let mut bound = 0;
    for n in 0..churn_seconds() * 10 {
        let guest = Guest::meeting().with([Device::microphone()]).slots(0, 0);
        present.push_back(world.enter("lobby", guest));
        if present.len() > 5 {
            let leaving = present.pop_front().expect("six are there");
            world.leave(leaving);
            gone.push_back(leaving);
        }
        // Whoever left has heard of it by now.
        if gone.len() > 20 {
            world.forget(gone.pop_front().expect("some are gone"));
        }
        world.run_for(millis(100));
        // Every slot shows a track that is there, of its kind, and no two the same. (That SSRCs and
        // MIDs never change is checked of everybody, always.)
        let roster = &world.client(viewer).roster;
        let shown: Vec<TrackId> = roster.bindings.values().filter_map(|it| it.track).collect();
        bound += shown.len();
        let each: BTreeSet<TrackId> = shown.iter().copied().collect();
        assert_eq!(each.len(), shown.len(), "twice the same after {n}");
        assert!(
            shown.iter().all(|track| roster.tracks.contains_key(track)),
            "after {n}"
        );
        assert!(roster.bindings.len() <= 5);
    }
    assert!(bound > 0, "something was shown");
    let room = administered(&mut world, "lobby");
    assert_eq!(heard(&world, viewer), room);
    for person in present.into_iter().chain([viewer]) {
        world.leave(person);
    }
    world.run_for(secs(2));
    world.assert_empty();
}
