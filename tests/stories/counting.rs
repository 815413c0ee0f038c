//! Everything that an engine counts moves when its cause comes about.
//!
//! Each story brings about some causes; all their counters together are exported as a server
//! exports them, and none may have stayed at nothing. So a counter that nobody counts, or a
//! reason that no drop has, fails here.

use std::net::SocketAddr;

use plenum::engine::administration::RoomCommand;
use plenum::engine::command::{Command, Reply};
use plenum::engine::counters::Counters;
use plenum::engine::event::{CloseReason, Kind};
use plenum::metrics::{Format, Metrics};
use str0m_netem::{Bitrate, DataSize};

use crate::guest::{Guest, Topic};
use crate::link::loss;
use crate::media::Device;
use crate::wire::Class;
use crate::world::{Person, World};
use crate::{millis, secs};

/// What is exported of engines alone; the rest moves in `tests/operation`, which reads this list.
const FAMILIES: &[&str] = &[
    "plenum_rooms",
    "plenum_sessions",
    "plenum_sessions_connected",
    "plenum_tracks",
    "plenum_subscriptions",
    "plenum_sessions_opened_total",
    "plenum_sessions_closed_total",
    "plenum_panics_total",
    "plenum_packets_total",
    "plenum_payload_bytes_total",
    "plenum_datagrams_queued_total",
    "plenum_data_messages_total",
    "plenum_drops_total",
    "plenum_keyframe_requests_total",
    "plenum_nacked_packets_total",
    "plenum_rtx_packets_total",
    "plenum_probe_packets_total",
    "plenum_starved_slots_total",
    "plenum_red_recovered_packets_total",
    "plenum_unread_descriptors_total",
    "plenum_cut_slots_total",
    "plenum_paths",
    "plenum_path_estimate_bytes_per_second",
    "plenum_path_target_bytes_per_second",
    "plenum_path_allocated_bytes_per_second",
    "plenum_path_overloads_total",
    "plenum_path_queue_seconds",
    "plenum_join_seconds",
    "plenum_forward_delay_seconds",
    "plenum_keyframe_wait_seconds",
];

/// What no story can bring about, and the test that does.
const ELSEWHERE: &[(&str, &str)] = &[
    // A whole second of a stage can be told by its engine alone; the answer by HTTP alone.
    (
        "plenum_join_seconds_count{stage=\"http\"}",
        "tests/operation",
    ),
    (
        "plenum_join_seconds_count{stage=\"http\"}",
        "tests/operation",
    ),
    // A receiver that authenticates what it then garbles: no client of ours can be made to.
    (
        "plenum_drops_total{reason=\"rtcp_malformed\"}",
        "engine::feedback::tests",
    ),
    // No client of ours sends what it cannot read itself.
    (
        "plenum_unread_descriptors_total{reason=\"malformed\"}",
        "engine::tests",
    ),
    (
        "plenum_unread_descriptors_total{reason=\"no_structure\"}",
        "engine::tests",
    ),
    // str0m lets nothing through twice; this is the second fence before a nonce is used again.
    (
        "plenum_drops_total{reason=\"duplicate\"}",
        "engine::timeline::tests",
    ),
    // Needs a shard that stands still while another one goes on.
    (
        "plenum_drops_total{reason=\"relay_queue_full\"}",
        "shard::relay::tests",
    ),
];

const STORIES: &[fn() -> Vec<Counters>] = &[
    a_call_over_bad_links,
    a_path_too_narrow_for_pictures,
    strangers_and_forgers,
    a_publisher_who_sends_too_much,
    data_of_all_kinds,
    viewers_who_cannot_be_served,
    every_way_to_go,
];

#[test]
fn everything_that_is_counted_moves_when_its_cause_comes_about() {
    let counted: Vec<Counters> = STORIES.iter().flat_map(|story| story()).collect();
    let text = Metrics::new().encode(&counted, 0, Format::Prometheus);
    let moved = |line: &str| -> Option<(String, bool)> {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        let family = name.strip_suffix("_count").unwrap_or(name);
        FAMILIES
            .contains(&family)
            .then(|| (series.to_owned(), value != "0"))
    };
    let series: Vec<(String, bool)> = text.lines().filter_map(moved).collect();
    for family in FAMILIES {
        let of_it = |(name, _): &(String, bool)| name.starts_with(family);
        assert!(series.iter().any(of_it), "{family} is not exported");
    }
    let is_elsewhere = |name: &str| ELSEWHERE.iter().any(|(known, _)| *known == name);
    let still: Vec<_> = series
        .iter()
        .filter(|(name, has_moved)| !has_moved && !is_elsewhere(name))
        .map(|(name, _)| name)
        .collect();
    assert!(still.is_empty(), "never moved: {still:#?}");
}

fn a_call_over_bad_links() -> Vec<Counters> {
    let mut world = World::new(901);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    let radio = Guest::publishing("radio").with([Device::microphone()]);
    let radio = world.enter("lobby", radio);
    let twice = Guest {
        takes_red: true,
        ..Guest::publishing("twice").with([Device::redundant_microphone()])
    };
    let twice = world.enter("lobby", twice);
    world.run_for(secs(3));
    world.up(twice).change(|link| link.loss(loss(0.3)));
    let in_a_call = world.counters();
    for person in [ada, ben] {
        world.down(person).change(|link| link.loss(loss(0.3)));
    }
    world.ask_always(ben);
    // A packet takes so long that somebody hears younger ones first.
    world.up(radio).is_cut = true;
    world.run_for(millis(20));
    let late = world.last_sent(radio, |class| matches!(class, Class::Rtp { .. }));
    world.up(radio).is_cut = false;
    world.enter("lobby", Guest::watching_only("radio"));
    world.run_for(millis(500));
    let from = world.client(radio).public;
    world.inject(radio, from, &late);
    world.run_for(secs(5));
    world.stand_still(secs(1));
    vec![in_a_call, world.counters()]
}

fn a_path_too_narrow_for_pictures() -> Vec<Counters> {
    let mut world = World::new(902);
    let devices = [Device::simulcast_camera(), Device::microphone()];
    world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(3));
    let mut counted = Vec::new();
    let mut watch = |world: &mut World| {
        for _ in 0..120 {
            world.run_for(millis(100));
            counted.push(world.counters());
        }
    };
    // Pictures of which there is no smaller one.
    world.enter(
        "alone",
        Guest::meeting().with([Device::camera()]).slots(0, 0),
    );
    let other = world.enter("alone", Guest::meeting().with([]).slots(1, 1));
    world.run_for(secs(3));
    let queue = DataSize::bytes(300 * 300 / 8);
    world
        .down(other)
        .change(|link| link.link(Bitrate::kbps(300), queue));
    // One whose first reports take a while.
    let far = Guest {
        one_way_delay: millis(150),
        ..Guest::watching()
    };
    world.enter("lobby", far);
    watch(&mut world);
    for kbps in [80, 20_000] {
        let queue = DataSize::bytes(kbps * 300 / 8);
        let rate = Bitrate::kbps(kbps as u64);
        world.down(viewer).change(|link| link.link(rate, queue));
        watch(&mut world);
    }
    world.down(viewer).change(|link| link.loss(loss(0.3)));
    watch(&mut world);
    // It hears, and is not heard.
    world.up(viewer).is_cut = true;
    watch(&mut world);
    counted
}

fn strangers_and_forgers() -> Vec<Counters> {
    let mut world = World::new(903);
    let stranger = SocketAddr::from(([198, 51, 100, 66], 6_666));
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    let mut check = world.last_sent(ada, |class| class == Class::Stun);
    let place = check.len() - 12;
    check[place] ^= 1;
    let mut media = world.last_sent(ada, |class| matches!(class, Class::Rtp { .. }));
    let mut report = world.last_sent(ada, |class| class == Class::Rtcp);
    let hello = world.last_sent(ada, |class| class == Class::Dtls);
    let from = world.client(ada).public;
    world.inject(ada, stranger, &check);
    world.inject(ada, stranger, &media);
    world.inject(ada, from, &[]);
    // A handshake in which another one's pieces turn up.
    let eve = world.enter("lobby", Guest::publishing("eve"));
    for _ in 0..20 {
        let own = world.client(eve).public;
        world.inject(eve, own, &hello);
        world.run_for(millis(5));
    }
    for forged in [&mut media, &mut report] {
        let last = forged.len() - 1;
        forged[last] ^= 1;
        world.inject(ada, from, forged);
    }
    media.resize(1_473, 0);
    world.inject(ada, from, &media);
    world.leave(ben);
    world.inject(ben, from, &media);
    world.run_for(secs(1));
    vec![world.counters()]
}

fn a_publisher_who_sends_too_much() -> Vec<Counters> {
    let mut world = World::new(904);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    world.run_for(secs(2));
    let from = world.client(ada).public;
    let media = world.last_sent(ada, |class| matches!(class, Class::Rtp { .. }));
    for _ in 0..16_000 {
        world.inject(ada, from, &media[..40]);
    }
    // And a wake-up that brings more than anybody can take in.
    let hasty = Device {
        interval: millis(1),
        ..Device::camera()
    };
    let ben = world.enter(
        "attic",
        Guest::publishing("ben").with([hasty, Device::microphone()]),
    );
    world.enter("attic", Guest::watching());
    world.run_for(secs(2));
    world.up(ben).is_held = true;
    world.run_for(millis(2_500));
    world.up(ben).is_held = false;
    world.run_for(millis(100));
    vec![world.counters()]
}

fn data_of_all_kinds() -> Vec<Counters> {
    let mut world = World::new(905);
    let both = || Guest::meeting().opening([Topic::reliable("draw"), Topic::lossy("messages")]);
    let ada = world.enter("lobby", both());
    let ben = world.enter("lobby", both());
    world.run_for(secs(2));
    // Nobody but the server speaks there.
    world.send(ada, "messages", b"psst");
    world.send(ada, "draw", b"line");
    world.run_for(secs(1));
    world.down(ben).change(|link| link.loss(loss(1.0)));
    for _ in 0..40 {
        world.send(ada, "draw", &[7; 16 * 1024]);
        world.run_for(millis(100));
    }
    for _ in 0..250 {
        world.send(ada, "messages", b"x");
    }
    world.run_for(secs(1));
    let trickle = Command::Trickle {
        session: world.session(ada),
        if_match: None,
        fragment: "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n".repeat(33),
    };
    let trickled = world.command_of(ada, trickle);
    assert!(matches!(trickled, Ok(Reply::Done)), "{trickled:?}");
    vec![world.counters()]
}

fn viewers_who_cannot_be_served() -> Vec<Counters> {
    let mut world = World::new(906);
    let devices = [Device::h264_camera(), Device::microphone()];
    let ada = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    world.run_for(secs(2));
    // One does not know the codec, one is still connecting while media flow.
    let blind = Guest {
        lacks: Some("H264"),
        ..Guest::watching()
    };
    world.enter("lobby", blind);
    let far = Guest {
        one_way_delay: millis(400),
        ..Guest::watching()
    };
    world.enter("lobby", far);
    world.run_for(secs(5));
    let mute = RoomCommand::Mute {
        room: "lobby".parse().expect("a name"),
        participant: world.participant(ada),
        track: world.track_of(ada, Kind::Audio),
    };
    assert!(world.administer(mute).is_ok());
    world.run_for(secs(1));
    vec![world.counters()]
}

fn every_way_to_go() -> Vec<Counters> {
    let mut world = World::new(907);
    let mut room = |reason: CloseReason| {
        let room = format!("room-{}", reason.label());
        let person = world.enter(&room, Guest::meeting());
        (reason, room, person)
    };
    let people: Vec<(CloseReason, String, Person)> = CloseReason::ALL.map(&mut room).into();
    // Has to happen before the others connect: from here on nothing arrives.
    let (.., unreachable) = &people[3];
    assert_eq!(people[3].0, CloseReason::NeverConnected);
    world.vanish(*unreachable);
    world.run_for(secs(2));
    for (reason, room, person) in &people {
        go(&mut world, *reason, room, *person);
    }
    // Who vanished is missed by then.
    world.run_for(secs(20));
    world.shut_down();
    world.run_for(secs(1));
    for (reason, _, person) in &people {
        let told = world.client(*person).closed_because;
        assert_eq!(told, Some(*reason));
    }
    vec![world.counters()]
}

/// Somebody goes, for this reason.
fn go(world: &mut World, reason: CloseReason, room: &str, person: Person) {
    let session = world.session(person);
    let participant = world.participant(person);
    let place = room.parse().expect("a name");
    let administered = match reason {
        CloseReason::Left => return world.leave(person),
        CloseReason::ClosedByPeer => return world.hang_up(person),
        CloseReason::Vanished => return world.vanish(person),
        CloseReason::Failed => return world.panic_in(person),
        CloseReason::NeverConnected | CloseReason::Shutdown => return,
        CloseReason::Resumed => {
            world.enter(room, Guest::meeting().resuming(session));
            return;
        }
        CloseReason::Expired => {
            let done = world.command_of(person, Command::Expel { session });
            assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
            return;
        }
        CloseReason::Removed => RoomCommand::Remove {
            room: place,
            participant,
        },
        CloseReason::RoomEnded => RoomCommand::Close { room: place },
        CloseReason::Moved => RoomCommand::Move {
            room: place,
            participant,
            url: "/rooms/other/sessions".to_owned(),
        },
    };
    let done = world.administer(administered);
    assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
}
