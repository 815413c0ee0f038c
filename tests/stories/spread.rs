//! A room with more viewers than one shard should carry: the others are on another shard, and
//! none of them notices.

use plenum::engine::administration::{RoomCommand, RoomSettings};
use plenum::engine::command::Command;
use plenum::engine::event::{Change, Kind};
use plenum::engine::ids::{RoomId, SessionId};
use plenum::engine::message::{Json, Say};
use serde_json::json;

use crate::guest::Guest;
use crate::link::loss;
use crate::media::Device;
use crate::world::{Person, VIEWERS_PER_SHARD, World};
use crate::{millis, secs};

/// A publisher, a full home shard, and one more viewer, who is elsewhere.
fn outgrown(seed: u64, device: Device) -> (World, Person, Vec<Person>, Person) {
    let mut world = World::with_shards(seed, 2);
    let devices = [Device::microphone(), device];
    let ada = world.enter("lobby", Guest::publishing("ada").with(devices));
    let near = (1..VIEWERS_PER_SHARD)
        .map(|_| world.enter("lobby", Guest::watching()))
        .collect();
    let far = world.enter("lobby", Guest::watching());
    assert_ne!(world.shard(far), world.shard(ada));
    (world, ada, near, far)
}

#[test]
fn viewers_on_another_shard_see_and_hear_what_those_at_home_do() {
    let (mut world, ada, near, far) = outgrown(81, Device::camera());
    world.run_for(secs(10));
    for viewer in near.into_iter().chain([far]) {
        for (kind, slot) in [
            (Kind::Video, world.video(viewer, 0)),
            (Kind::Audio, world.audio(viewer, 0)),
        ] {
            slot.assert_flawless();
            assert_eq!(slot.source(), Some(world.source_of(ada, kind)));
        }
        let waited = world.video(viewer, 0).shown[0].at;
        assert!(waited - world.now() <= secs(1));
    }
    assert!(world.keyframe_requests(ada) <= 2);
}

#[test]
fn a_viewer_of_a_room_on_a_busy_shard_watches_on_another_one() {
    let mut world = World::with_shards(95, 3);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let home = world.shard(ada) as u16;
    let busy = vec![home, (home + 1) % 3];
    let viewer = world.enter(
        "lobby",
        Guest {
            busy: busy.clone(),
            ..Guest::watching()
        },
    );
    assert!(!busy.contains(&(world.shard(viewer) as u16)));
    let speaker = Guest {
        busy,
        ..Guest::meeting()
    };
    let speaker = world.enter("lobby", speaker);
    assert_eq!(world.shard(speaker), world.shard(ada), "only players move");
    world.leave(speaker);
    world.run_for(secs(3));
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_late_viewer_on_another_shard_has_a_picture_within_a_second() {
    let (mut world, _, _, _) = outgrown(82, Device::camera());
    world.run_for(secs(5));
    let came_at = world.now();
    let late = loop {
        let late = world.enter("lobby", Guest::watching());
        if world.shard(late) != 0 {
            break late;
        }
    };
    world.run_for(secs(2));
    let first = world.video(late, 0).shown.first().expect("a picture").at;
    assert!(first - came_at <= millis(1_000), "{:?}", first - came_at);
}

#[test]
fn what_is_lost_on_the_way_to_another_shards_viewer_is_sent_again_from_there() {
    let (mut world, ada, _, far) = outgrown(83, Device::camera());
    world.run_for(secs(2));
    let asked = world.keyframe_requests(ada);
    world.down(far).change(|link| link.loss(loss(0.02)));
    world.run_for(secs(20));
    assert_eq!(world.video(far, 0).lost, 0);
    assert_eq!(world.keyframe_requests(ada), asked, "nobody else is asked");
}

#[test]
fn a_publisher_who_goes_and_comes_back_is_seen_again_on_every_shard() {
    let (mut world, ada, near, far) = outgrown(84, Device::camera());
    world.run_for(secs(2));
    let left_at = world.now();
    world.leave(ada);
    world.run_for(secs(1));
    for viewer in [near[0], far] {
        let is_gone = |change: &Change| matches!(change, Change::ParticipantLeft { .. });
        assert!(world.heard(viewer, left_at, is_gone));
    }
    let back_at = world.now();
    let ada = world.enter("lobby", Guest::publishing("ada"));
    world.run_for(secs(3));
    for viewer in [near[0], far] {
        let source = world.source_of(ada, Kind::Video);
        let first = world.video(viewer, 0).first_of(source, back_at);
        let waited = first.expect("the new picture") - back_at;
        assert!(waited <= secs(1), "waited {waited:?}");
        world.video(viewer, 0).assert_flawless();
    }
}

#[test]
fn a_viewer_on_another_shard_follows_who_speaks() {
    let (mut world, ada, _, far) = outgrown(85, Device::camera());
    let ben = world.enter("lobby", Guest::publishing("ben"));
    world.run_for(secs(2));
    for (speaker, silent) in [(ben, ada), (ada, ben)] {
        let spoke_at = world.now();
        world.speak(speaker, -20);
        world.speak(silent, -90);
        world.run_for(secs(4));
        let participant = world.participant(speaker);
        let is_it = |change: &Change| matches!(change, Change::Speaker { participant: Some(who) } if *who == participant);
        assert!(world.heard(far, spoke_at, is_it));
        let source = world.source_of(speaker, Kind::Video);
        assert_eq!(world.video(far, 0).source(), Some(source));
    }
}

#[test]
fn layers_and_lip_sync_come_across() {
    let (mut world, ada, _, far) = outgrown(86, Device::simulcast_camera());
    world.run_for(secs(12));
    let shown = world.video(far, 0).shown.last().expect("a picture");
    assert_eq!(shown.layer, 2, "a player without wishes gets the best");
    let silent_at = world.now();
    world.client_mut(ada).sources[1].encodings[2].is_active = false;
    world.run_for(secs(4));
    let video = world.video(far, 0);
    assert_eq!(video.shown.last().expect("a picture").layer, 1);
    let freeze = video.longest_freeze(silent_at, world.now());
    assert!(freeze <= millis(2_000), "froze for {freeze:?}");
    video.assert_flawless();
}

#[test]
fn a_mirror_ends_with_its_last_viewer_and_the_room_with_the_last_of_all() {
    let (mut world, ada, near, far) = outgrown(87, Device::camera());
    world.run_for(secs(2));
    world.leave(far);
    world.run_for(secs(1));
    // Home is full still, so the next one goes there again.
    let far = world.enter("lobby", Guest::watching());
    assert_ne!(world.shard(far), world.shard(ada));
    world.run_for(secs(2));
    world.video(far, 0).assert_flawless();

    world.leave(ada);
    for viewer in near {
        world.leave(viewer);
    }
    world.run_for(secs(1));
    let ada = world.enter("lobby", Guest::publishing("ada"));
    world.run_for(secs(2));
    let source = world.source_of(ada, Kind::Video);
    assert_eq!(world.video(far, 0).source(), Some(source), "it has waited");
    world.leave(ada);
    world.leave(far);
    world.run_for(secs(1));
    world.assert_empty();
}

#[test]
fn a_host_and_a_viewer_on_another_shard_reach_each_other() {
    let (mut world, ada, _, far) = outgrown(89, Device::camera());
    let ben = world.enter("lobby", Guest::meeting().with([]));
    world.run_for(secs(2));
    let lobby = || -> RoomId { "lobby".parse().expect("a name") };
    let say = |from: Option<SessionId>, text: &str| {
        let say = Say {
            room: lobby(),
            from,
            to: None,
            event: "chat".parse().expect("a name"),
            data: Json::from(&json!(text)),
            keep: true,
        };
        Command::Say(Box::new(say))
    };
    let (from_ben, from_far) = (world.session(ben), world.session(far));
    assert!(world.command_of(ben, say(Some(from_ben), "hello")).is_ok());
    assert!(world.command_of(far, say(Some(from_far), "hi")).is_ok());
    let settings = RoomSettings {
        locked: Some(true),
        ..RoomSettings::default()
    };
    let room = lobby();
    assert!(
        world
            .administer(RoomCommand::Configure { room, settings })
            .is_ok()
    );
    let heard = |world: &World, person: Person| -> Vec<String> {
        let text = |change: &Change| match change {
            Change::Message(message) => Some(message.data.as_str().to_owned()),
            _ => None,
        };
        let events = &world.client(person).events;
        events
            .iter()
            .filter_map(|(_, change)| text(change))
            .collect()
    };
    assert_eq!(heard(&world, far), [r#""hello""#]);
    assert_eq!(heard(&world, ben), [r#""hi""#]);
    assert!(world.snapshot(far).state.locked);
    assert_eq!(world.snapshot(far).messages, world.snapshot(ben).messages);
    assert!(
        world.join("lobby", &Guest::watching()).is_err(),
        "wherever they would go"
    );

    let mute = RoomCommand::Mute {
        room: lobby(),
        participant: world.participant(ada),
        track: world.track_of(ada, Kind::Video),
    };
    assert!(world.administer(mute).is_ok());
    world.run_for(millis(200));
    let shown = world.video(far, 0).shown.len();
    world.run_for(secs(1));
    assert_eq!(world.video(far, 0).shown.len(), shown);
    world.mute(ada, Kind::Video, false);
    world.run_for(secs(2));
    assert!(world.video(far, 0).shown.len() > shown);
    world.video(far, 0).assert_flawless();
}
