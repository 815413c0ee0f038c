//! Bad links: what is lost is sent again, what comes out of order is put in order.

use std::time::Duration;

use crate::guest::Guest;
use crate::link::loss;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

#[test]
fn a_voice_that_is_sent_twice_is_heard_over_a_path_that_loses_a_fifth() {
    let listen = |seed, microphone: Device| {
        let mut world = World::new(seed);
        let ada = Guest {
            takes_red: true,
            ..Guest::meeting().with([microphone]).slots(0, 0)
        };
        let ada = world.enter("lobby", ada);
        let plain = world.enter("lobby", Guest::meeting().with([]).slots(0, 1));
        let knows = Guest {
            takes_red: true,
            ..Guest::meeting().with([]).slots(0, 1)
        };
        let knows = world.enter("lobby", knows);
        world.run_for(secs(2));
        world.up(ada).change(|link| link.loss(loss(0.2)));
        let began = world.now();
        world.run_for(secs(60));
        let heard = |person| world.audio(person, 0).since(began).len() as f64 / 3_000.0;
        let redundant = |person| world.audio(person, 0).redundant;
        (
            (heard(plain), redundant(plain)),
            (heard(knows), redundant(knows)),
        )
    };
    let ((once, _), _) = listen(181, Device::microphone());
    assert!((0.78..0.82).contains(&once), "{once} of what is sent once");
    let ((heard, redundant), (heard_too, passed)) = listen(181, Device::redundant_microphone());
    // What is left is what was lost twice in a row: a fifth of a fifth.
    assert!(heard > 0.95, "{heard} without redundancy at the receiver");
    assert_eq!(redundant, 0, "who does not know redundancy gets none");
    assert!(heard_too > 0.95, "{heard_too} with it");
    assert!(passed > 2_000, "{passed} passed on with their redundancy");
}

/// A camera and somebody who watches it, for a while, over links with random loss.
fn watch_over(seed: u64, up_loss: f32, down_loss: f32) -> (World, Person, Person) {
    let mut world = World::new(seed);
    let camera = world.enter("lobby", Guest::publishing("camera"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(2));
    world.up(camera).change(|link| link.loss(loss(up_loss)));
    world.down(viewer).change(|link| link.loss(loss(down_loss)));
    world.run_for(secs(20));
    (world, camera, viewer)
}

/// Asserts that a viewer saw nearly all of the last twenty seconds without a freeze.
fn assert_watchable(world: &World, viewer: Person, longest_freeze: Duration) {
    let from = world.now() - secs(20);
    let video = world.video(viewer, 0);
    let shown = video.since(from).len();
    assert!(shown >= 475, "{shown} of 500 pictures");
    let freeze = video.longest_freeze(from, world.now());
    assert!(freeze <= longest_freeze, "froze for {freeze:?}");
}

#[test]
fn a_viewer_with_two_percent_of_loss_notices_nothing() {
    let (mut world, camera, viewer) = watch_over(21, 0.0, 0.02);
    assert_watchable(&world, viewer, millis(500));
    assert_eq!(world.video(viewer, 0).lost, 0);
    let counters = world.counters();
    assert!(
        counters.rtx_packets_out >= 10,
        "{} were sent again",
        counters.rtx_packets_out
    );
    assert_eq!(
        world.keyframe_requests(camera),
        1,
        "only the viewer's first picture"
    );
}

#[test]
fn a_viewer_with_five_percent_of_loss_still_sees_everything() {
    let (mut world, _, viewer) = watch_over(22, 0.0, 0.05);
    // Five rounds of reports: str0m asks again every 100 to 150 ms.
    assert_watchable(&world, viewer, millis(700));
    let lost = world.video(viewer, 0).lost;
    assert!(lost <= 5, "{lost} of 1000 packets stayed lost");
    let counters = world.counters();
    let (sent_again, asked) = (counters.rtx_packets_out, counters.nacked_packets_in);
    assert!(
        sent_again <= asked,
        "{sent_again} were sent again, {asked} asked for"
    );
}

#[test]
fn a_publisher_with_five_percent_of_loss_is_seen_without_a_freeze() {
    let (world, camera, viewer) = watch_over(23, 0.05, 0.0);
    assert_watchable(&world, viewer, millis(700));
    let lost = world.video(viewer, 0).lost;
    assert!(lost <= 5, "{lost} of 1000 packets stayed lost");
    assert!(world.keyframe_requests(camera) <= 3);
}

#[test]
fn what_comes_out_of_order_costs_neither_picture_nor_keyframe() {
    let mut world = World::new(24);
    let camera = world.enter("lobby", Guest::publishing("camera"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(2));
    world
        .up(camera)
        .change(|link| link.reorder_gap(7).jitter(millis(8)));
    world
        .down(viewer)
        .change(|link| link.reorder_gap(5).jitter(millis(8)));
    world.run_for(secs(20));

    assert_watchable(&world, viewer, millis(150));
    let video = world.video(viewer, 0);
    assert_eq!((video.lost, video.torn, video.undecodable), (0, 0, 0));
    assert_eq!(world.keyframe_requests(camera), 1);
}

#[test]
fn two_people_on_bad_wifi_keep_talking() {
    let mut world = World::new(25);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    for person in [ada, ben] {
        let bad = |link: str0m_netem::NetemConfig| {
            link.loss(str0m_netem::GilbertElliot::wifi_lossy())
                .jitter(millis(10))
        };
        world.up(person).change(bad);
        world.down(person).change(bad);
    }
    world.run_for(secs(30));

    for person in [ada, ben] {
        let from = world.now() - secs(30);
        let video = world.video(person, 0);
        let freeze = video.longest_freeze(from, world.now());
        assert!(freeze <= millis(2_500), "froze for {freeze:?}");
        assert!(
            video.since(from).len() > 675,
            "{} of 750 pictures",
            video.since(from).len()
        );
        assert!(
            world.audio(person, 0).since(from).len() > 1_200,
            "most of 1500 sounds"
        );
    }
}
