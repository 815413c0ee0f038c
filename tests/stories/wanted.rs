//! What nobody watches: publishers are told, and may save it.

use plenum::engine::command::{Command, LayerLimit, Reply, SlotWish, Wish};
use plenum::engine::event::{Change, Kind};
use plenum::engine::ids::TrackId;

use crate::guest::Guest;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

/// Somebody with three layers of camera who saves what nobody watches, and somebody who watches.
fn meet(seed: u64, devices: impl IntoIterator<Item = Device>) -> (World, Person, Person, TrackId) {
    let mut world = World::new(seed);
    let camera = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    world.client_mut(camera).is_thrifty = true;
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 0));
    world.run_for(secs(2));
    let track = world.track_of(camera, Kind::Video);
    (world, camera, viewer, track)
}

/// Which layers a publisher was told last that somebody wants.
fn told(world: &World, publisher: Person) -> Option<Vec<(String, bool)>> {
    let mut events = world.client(publisher).events.iter().rev();
    events.find_map(|(_, change)| match change {
        Change::LayersWanted(told) => Some(
            told.layers
                .iter()
                .map(|layer| (layer.rid.clone().unwrap_or_default(), layer.wanted))
                .collect(),
        ),
        _ => None,
    })
}

fn wanted(q: bool, h: bool, f: bool) -> Option<Vec<(String, bool)>> {
    let layers = [("q", q), ("h", h), ("f", f)];
    Some(
        layers
            .map(|(rid, wanted)| (rid.to_owned(), wanted))
            .to_vec(),
    )
}

fn sends(world: &World, publisher: Person) -> Vec<bool> {
    let encodings = &world.client(publisher).sources[0].encodings;
    encodings
        .iter()
        .map(|encoding| encoding.is_active)
        .collect()
}

fn layer(world: &World, viewer: Person) -> Option<u8> {
    world.video(viewer, 0).shown.last().map(|shown| shown.layer)
}

#[test]
fn what_nobody_watches_is_not_sent_and_is_back_at_once() {
    let (mut world, camera, viewer, track) = meet(131, [Device::simulcast_camera()]);
    world.pin(viewer, 0, track, Some(180));
    world.run_for(secs(4));
    assert!(sends(&world, camera)[2], "a glance aside changes nothing");
    world.run_for(secs(4));
    assert_eq!(told(&world, camera), wanted(true, false, false));
    assert_eq!(sends(&world, camera), [true, false, false]);

    world.run_for(secs(60));
    let wished_at = world.now();
    world.pin(viewer, 0, track, Some(1_080));
    assert_eq!(told(&world, camera), wanted(true, false, true));
    let took = world.run_until(secs(3), |world| layer(world, viewer) == Some(2));
    let took = took.expect("the large picture");
    assert!(took <= millis(200), "took {took:?}");
    world.run_for(secs(2));
    let video = world.video(viewer, 0);
    let freeze = video.longest_freeze(wished_at, world.now());
    assert!(freeze <= millis(150), "froze for {freeze:?}");
    video.assert_flawless();
}

#[test]
fn of_a_camera_that_nobody_watches_the_smallest_layer_stays() {
    let (mut world, camera, viewer, _) = meet(132, [Device::simulcast_camera()]);
    let nothing = Wish::default();
    world.wish(viewer, nothing);
    world.run_for(secs(8));
    assert_eq!(told(&world, camera), wanted(false, false, false));
    assert_eq!(sends(&world, camera), [true, false, false]);

    let looked_at = world.now();
    world.wish(
        viewer,
        Wish {
            rest_auto: true,
            ..Wish::default()
        },
    );
    let first = world.run_until(secs(3), |world| {
        !world.video(viewer, 0).since(looked_at).is_empty()
    });
    let first = first.expect("a picture");
    assert!(first <= millis(200), "took {first:?}");
    let took = world.run_until(secs(3), |world| layer(world, viewer) == Some(2));
    assert!(took.expect("the large picture") <= millis(400));
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_screen_that_nobody_watches_rests_and_is_back_with_the_first_who_looks() {
    let (mut world, camera, viewer, track) = meet(133, [Device::screen()]);
    let paused = SlotWish::Track {
        track,
        size: None,
        frame_rate: None,
        priority: 128,
        paused: true,
    };
    let mid = world.video(viewer, 0).mid.clone();
    world.wish(
        viewer,
        Wish {
            slots: [(mid, paused)].into(),
            rest_auto: false,
        },
    );
    world.run_for(secs(8));
    assert_eq!(sends(&world, camera), [false]);
    let looked_at = world.now();
    world.pin(viewer, 0, track, None);
    let first = world.run_until(secs(3), |world| {
        !world.video(viewer, 0).since(looked_at).is_empty()
    });
    let first = first.expect("a picture");
    assert!(first <= millis(250), "took {first:?}");
}

#[test]
fn a_publisher_who_does_not_listen_changes_nothing() {
    let (mut world, camera, viewer, track) = meet(134, [Device::simulcast_camera()]);
    world.client_mut(camera).is_thrifty = false;
    world.pin(viewer, 0, track, Some(180));
    world.run_for(secs(20));
    assert_eq!(told(&world, camera), wanted(true, false, false));
    assert_eq!(sends(&world, camera), [true, true, true]);
    world.pin(viewer, 0, track, Some(1_080));
    let took = world.run_until(secs(3), |world| layer(world, viewer) == Some(2));
    assert!(took.expect("the large picture") <= millis(200));
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_layer_that_its_publisher_cannot_send_again_leaves_the_viewer_what_comes() {
    let (mut world, camera, viewer, track) = meet(135, [Device::simulcast_camera()]);
    world.pin(viewer, 0, track, Some(360));
    world.run_for(secs(8));
    assert_eq!(sends(&world, camera), [true, true, false]);
    world.client_mut(camera).is_thrifty = false;
    let wished_at = world.now();
    world.pin(viewer, 0, track, None);
    world.run_for(secs(10));
    assert_eq!(layer(&world, viewer), Some(1), "what there is flows on");
    let video = world.video(viewer, 0);
    let freeze = video.longest_freeze(wished_at, world.now());
    assert!(freeze <= millis(150), "froze for {freeze:?}");
    video.assert_flawless();
}

#[test]
fn an_audience_on_another_shard_has_its_wishes_told() {
    let mut world = World::with_shards(136, 2);
    let devices = [Device::simulcast_camera()];
    let camera = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    world.client_mut(camera).is_thrifty = true;
    let audience: Vec<Person> = (0..6)
        .map(|_| world.enter("lobby", Guest::watching()))
        .collect();
    world.run_for(secs(15));
    let far = audience
        .iter()
        .find(|person| world.shard(**person) != world.shard(camera));
    let far = *far.expect("somebody on the other shard");
    assert_eq!(layer(&world, far), Some(2), "they see the largest");
    assert_eq!(told(&world, camera), wanted(true, false, true));

    for person in &audience {
        let session = world.session(*person);
        let mid = world.video(*person, 0).mid.clone();
        let limit = LayerLimit {
            max_height: Some(180),
            ..LayerLimit::default()
        };
        let limited = Command::LimitLayer {
            session,
            mid,
            limit,
        };
        let done = world.command_of(*person, limited);
        assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
    }
    world.run_for(secs(15));
    assert_eq!(told(&world, camera), wanted(true, false, false));
    assert_eq!(layer(&world, far), Some(0));

    let session = world.session(far);
    let mid = world.video(far, 0).mid.clone();
    let limit = LayerLimit::default();
    let freed = Command::LimitLayer {
        session,
        mid,
        limit,
    };
    let done = world.command_of(far, freed);
    assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
    let took = world.run_until(secs(3), |world| layer(world, far) == Some(2));
    assert!(took.expect("the large picture") <= millis(400));
    world.video(far, 0).assert_flawless();
}
