//! Somebody hosts a room: locks it, mutes, removes and moves people, and ends it.

use plenum::engine::administration::{RoomCommand, RoomDetail, RoomSettings, Via};
use plenum::engine::command::{CommandError, Reply};
use plenum::engine::event::{Change, CloseReason, Kind, Role};
use plenum::engine::ids::{ParticipantId, RoomId};
use plenum::engine::message::Json;
use plenum::engine::notice::{News, Notice};
use serde_json::json;

use crate::guest::Guest;
use crate::world::{Person, VIEWERS_PER_SHARD, World};
use crate::{millis, secs};

fn lobby() -> RoomId {
    "lobby".parse().expect("a room's name")
}

fn configure(world: &mut World, settings: RoomSettings) -> RoomDetail {
    let command = RoomCommand::Configure {
        room: lobby(),
        settings,
    };
    match world.administer(command) {
        Ok(Reply::Room(detail)) => *detail,
        other => panic!("a room is answered by {other:?}"),
    }
}

fn locked(locked: bool) -> RoomSettings {
    RoomSettings {
        locked: Some(locked),
        ..RoomSettings::default()
    }
}

fn remove(world: &mut World, person: Person) -> Result<Reply, CommandError> {
    let participant = world.participant(person);
    let room = lobby();
    world.administer(RoomCommand::Remove { room, participant })
}

#[test]
fn who_is_hidden_sees_the_others_and_nobody_hears_of_them() {
    let mut world = World::new(76);
    let ada = world.enter("lobby", Guest::meeting());
    let inspector = world.enter("lobby", Guest::hidden());
    world.run_for(secs(1));
    let (ada_id, hidden) = (world.participant(ada), world.participant(inspector));
    let knows = |world: &World, who: Person| -> Vec<ParticipantId> {
        let people = &world.client(who).roster.participants;
        people.keys().cloned().collect()
    };
    assert_eq!(knows(&world, ada), std::slice::from_ref(&ada_id));
    assert!(knows(&world, inspector).contains(&ada_id), "and itself");
    let late = world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
    assert!(!knows(&world, late).contains(&hidden));
    let sees = |event: &(_, Change)| matches!(&event.1, Change::Binding(it) if it.track.is_some());
    assert!(world.client(inspector).events.iter().any(sees));
    world.leave(inspector);
    world.run_for(secs(1));
    let told = |who: Person| format!("{:?}", world.client(who).events);
    for who in [ada, late] {
        assert!(!told(who).contains(hidden.as_str()), "a name was told");
    }
}

#[test]
fn a_locked_room_lets_in_hosts_and_those_who_come_back() {
    let mut world = World::new(71);
    let ada = world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
    let metadata = Some(Json::from(&json!({"topic": "plans"})));
    let detail = configure(
        &mut world,
        RoomSettings {
            metadata,
            ..locked(true)
        },
    );
    assert!(detail.state.locked);
    let told = &world.client(ada).roster.state;
    assert_eq!(told.as_ref(), Some(&detail.state), "everybody knows");

    for stranger in [Guest::meeting(), Guest::watching(), Guest::publishing("x")] {
        let refused = world.join("lobby", &stranger).err();
        assert_eq!(refused, Some(CommandError::RoomLocked(lobby())));
    }
    let session = world.session(ada);
    let again = world.enter("lobby", Guest::meeting().resuming(session));
    let host = world.enter("lobby", Guest::meeting().hosting());
    world.run_for(secs(1));
    let hosts = world.participant(host);
    let role = world.client(again).roster.participants[&hosts].role;
    assert_eq!(role, Some(Role::Host));

    configure(&mut world, locked(false));
    world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
}

#[test]
fn who_is_removed_is_told_so_and_comes_back_as_a_stranger() {
    let mut world = World::new(72);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    let at = world.now();
    assert!(remove(&mut world, ben).is_ok());
    assert_eq!(world.client(ben).closed_because, Some(CloseReason::Removed));
    let bens = world.participant(ben);
    assert!(world.heard(ada, at, |change| matches!(change,
        Change::ParticipantLeft { id } if *id == bens)));
    world.run_for(secs(1));
    assert!(world.client(ben).is_closed, "the connection, too");
    let gone = remove(&mut world, ben).err();
    assert_eq!(gone, Some(CommandError::NotFound("participant")));

    let former = world.session(ben);
    let again = world.enter("lobby", Guest::meeting().resuming(former));
    assert_ne!(world.participant(again), bens);
    world.run_for(secs(1));
}

#[test]
fn a_track_that_a_host_mutes_is_silent_until_its_publisher_unmutes_it() {
    let mut world = World::new(73);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    let camera = world.track_of(ada, Kind::Video);
    let mute = RoomCommand::Mute {
        room: lobby(),
        participant: world.participant(ada),
        track: camera,
    };
    assert!(world.administer(mute).is_ok());
    let info = &world.client(ada).roster.tracks[&camera];
    assert_eq!((info.muted, info.muted_by), (true, Some(Role::Host)));
    world.run_for(millis(200));
    let shown = world.video(ben, 0).shown.len();
    let heard = world.audio(ben, 0).shown.len();
    world.run_for(secs(2));
    assert_eq!(world.video(ben, 0).shown.len(), shown, "nothing comes");
    assert!(
        world.audio(ben, 0).shown.len() > heard,
        "the other track goes on"
    );

    world.mute(ada, Kind::Video, true);
    world.run_for(secs(1));
    assert_eq!(
        world.video(ben, 0).shown.len(),
        shown,
        "a mute is no unmute"
    );
    world.mute(ada, Kind::Video, false);
    let info = &world.client(ben).roster.tracks[&camera];
    assert_eq!((info.muted, info.muted_by), (false, None));
    let back = world.run_until(secs(2), |world| world.video(ben, 0).shown.len() > shown);
    assert!(back.expect("the picture is back") < millis(700));
    world.run_for(secs(2));
    world.video(ben, 0).assert_flawless();

    let not_theirs = RoomCommand::Mute {
        room: lobby(),
        participant: world.participant(ben),
        track: camera,
    };
    let refused = world.administer(not_theirs).err();
    assert_eq!(refused, Some(CommandError::NotFound("track")));
}

#[test]
fn who_is_moved_is_told_where_to_and_encoders_cannot_be() {
    let mut world = World::new(74);
    let ada = world.enter("lobby", Guest::meeting());
    let encoder = world.enter("lobby", Guest::publishing("studio"));
    world.run_for(secs(1));
    let url = "/rooms/attic/sessions".to_owned();
    let move_away = |world: &World, person: Person| RoomCommand::Move {
        room: lobby(),
        participant: world.participant(person),
        url: url.clone(),
    };
    let at = world.now();
    let command = move_away(&world, ada);
    assert!(world.administer(command).is_ok());
    assert!(world.heard(ada, at, |change| *change
        == Change::Moved { url: url.clone() }));
    assert_eq!(world.client(ada).closed_because, Some(CloseReason::Moved));
    let command = move_away(&world, encoder);
    let refused = world.administer(command).err();
    assert!(
        matches!(refused, Some(CommandError::Unsupported(_))),
        "{refused:?}"
    );
    world.run_for(secs(1));
}

#[test]
fn a_room_that_is_made_waits_for_its_guests_and_not_for_ever() {
    let mut world = World::new(75);
    let made = configure(
        &mut world,
        RoomSettings {
            max_participants: Some(1),
            empty_timeout: Some(secs(60)),
            ..RoomSettings::default()
        },
    );
    assert_eq!((made.participants.len(), made.empty_timeout_s), (0, 60));
    world.run_for(secs(59));
    let ada = world.enter("lobby", Guest::meeting());
    world.run_for(secs(120));
    let full = world.join("lobby", &Guest::meeting()).err();
    let room = lobby();
    assert_eq!(full, Some(CommandError::RoomFull { room, limit: 1 }));
    let Ok(Reply::Room(detail)) = world.administer(RoomCommand::Show { room: lobby() }) else {
        panic!("a room")
    };
    let there = &detail.participants[0];
    assert_eq!((there.via, there.tracks.len()), (Via::Room, 2));
    assert_eq!(there.joined_ms - detail.created_ms, 59_000);

    world.leave(ada);
    world.run_for(secs(59));
    assert!(
        world
            .administer(RoomCommand::Show { room: lobby() })
            .is_ok()
    );
    world.run_for(secs(2));
    let gone = world.administer(RoomCommand::Show { room: lobby() }).err();
    assert_eq!(gone, Some(CommandError::NotFound("room")));
    world.assert_empty();
}

#[test]
fn a_room_that_is_ended_is_over_for_all() {
    let mut world = World::new(76);
    configure(&mut world, RoomSettings::default());
    let guests = [
        world.enter("lobby", Guest::meeting()),
        world.enter("lobby", Guest::publishing("studio")),
        world.enter("lobby", Guest::watching()),
    ];
    world.run_for(secs(1));
    assert!(
        world
            .administer(RoomCommand::Close { room: lobby() })
            .is_ok()
    );
    for guest in guests {
        assert_eq!(
            world.client(guest).closed_because,
            Some(CloseReason::RoomEnded)
        );
    }
    world.run_for(secs(1));
    world.assert_empty();
    let gone = world.administer(RoomCommand::Close { room: lobby() }).err();
    assert_eq!(gone, Some(CommandError::NotFound("room")));
}

/// What the world outside was told, in short.
fn news(world: &World) -> Vec<String> {
    let tell = |notice: &Notice| {
        let value = serde_json::to_value(notice).expect("plain data");
        let who = match &notice.news {
            News::ParticipantJoined { participant } | News::ParticipantLeft { participant } => {
                participant.id.to_string()
            }
            News::TrackPublished { track } | News::TrackUnpublished { track } => {
                track.participant.to_string()
            }
            News::RoomStarted | News::RoomEnded => notice.room.to_string(),
        };
        format!("{} {who}", value["event"].as_str().expect("a name"))
    };
    world.notices.iter().map(tell).collect()
}

#[test]
fn the_world_outside_hears_who_comes_publishes_and_goes() {
    let mut world = World::with_shards(86, 2);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    // So many players that some are on the other shard: none of them is anybody's news.
    let players: Vec<Person> = (0..2 * VIEWERS_PER_SHARD)
        .map(|_| world.enter("lobby", Guest::watching()))
        .collect();
    world.run_for(secs(3));
    world.leave(ada);
    for player in players {
        world.leave(player);
    }
    world.run_for(secs(1));

    assert_eq!(
        news(&world),
        [
            "room-started lobby",
            "participant-joined ada",
            "track-published ada",
            "track-published ada",
            "track-unpublished ada",
            "track-unpublished ada",
            "participant-left ada",
            "room-ended lobby",
        ]
    );
}
