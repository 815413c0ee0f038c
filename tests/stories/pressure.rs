//! Pressure: one guest who is slow, or floods, costs the others nothing.

use plenum::engine::counters::DropReason;
use plenum::engine::event::Kind;
use str0m_netem::{Bitrate, DataSize};

use crate::guest::Guest;
use crate::link::loss;
use crate::media::Device;
use crate::world::{Person, World};
use crate::{millis, secs};

/// A camera, a microphone, and many who watch.
fn audience(seed: u64, viewers: usize) -> (World, Person, Vec<Person>) {
    let mut world = World::new(seed);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let watch = |world: &mut World| world.enter("lobby", Guest::watching());
    let viewers = (0..viewers).map(|_| watch(&mut world)).collect();
    world.run_for(secs(3));
    (world, ada, viewers)
}

/// Asserts that these viewers noticed nothing, and waited for nothing in the last ten seconds.
fn assert_undisturbed(world: &World, viewers: &[Person]) {
    let from = world.now() - secs(10);
    for viewer in viewers {
        let video = world.video(*viewer, 0);
        video.assert_flawless();
        world.audio(*viewer, 0).assert_flawless();
        let freeze = video.longest_freeze(from, world.now());
        assert!(freeze <= millis(100), "froze for {freeze:?}");
    }
}

#[test]
fn a_viewer_on_a_path_far_too_narrow_delays_nobody_and_is_sent_little() {
    let (mut world, ada, viewers) = audience(121, 20);
    let (slow, others) = viewers.split_first().expect("twenty");
    let asked_before = world.keyframe_requests(ada);
    let queue = DataSize::bytes(100 * 1_000 / 8);
    world
        .down(*slow)
        .change(|config| config.link(Bitrate::kbps(100), queue));
    world.run_for(secs(15));

    assert_undisturbed(&world, others);
    let asked = world.keyframe_requests(ada) - asked_before;
    assert!(
        asked <= 30,
        "{asked} keyframes: one in half a second is the most"
    );
    let counters = world.counters();
    assert!(!counters.drops.contains_key(&DropReason::EgressQueueFull));
    let recent = world.now() - secs(5);
    let heard = world.audio(*slow, 0).since(recent).len();
    assert!(heard >= 200, "{heard} of 250 packets of sound");
}

#[test]
fn a_viewer_who_reports_everything_lost_gets_half_as_much_again_and_delays_nobody() {
    let (mut world, _, viewers) = audience(122, 10);
    let (lossy, others) = viewers.split_first().expect("ten");
    world.down(*lossy).change(|config| config.loss(loss(0.6)));
    let before = world.counters();
    world.run_for(secs(12));
    assert_undisturbed(&world, others);
    let after = world.counters();
    let again = after.rtx_packets_out - before.rtx_packets_out;
    let sent = after.packets_out.video - before.packets_out.video;
    assert!(
        again <= sent / 10 / 2 + 150,
        "{again} were sent again, where {sent} went to ten"
    );
}

#[test]
fn a_viewer_who_asks_for_keyframes_all_the_time_gets_one_in_two_seconds() {
    let (mut world, _, viewers) = audience(125, 5);
    let (greedy, others) = viewers.split_first().expect("five");
    world.ask_always(*greedy);
    let before = world.counters();
    world.run_for(secs(20));
    assert_undisturbed(&world, others);
    let after = world.counters();
    let asked = after.keyframe_requests_in - before.keyframe_requests_in;
    let sent = after.keyframe_requests_out - before.keyframe_requests_out;
    assert!(asked >= 200, "it asked {asked} times");
    assert!((10..=14).contains(&sent), "{sent} were asked of the camera");
}

#[test]
fn who_sends_ten_times_too_much_is_cut_off_at_a_limit_and_nobody_else_notices() {
    let (mut world, _, viewers) = audience(123, 5);
    let eve = world.enter("lobby", Guest::meeting().slots(0, 0));
    world.run_for(secs(2));
    let from = world.client(eve).public;
    let media = world.last_sent(eve, |class| matches!(class, crate::wire::Class::Rtp { .. }));
    let before = world.counters();
    // 200 000 packets in a second, in bursts of 10 ms.
    for _ in 0..100 {
        for _ in 0..2_000 {
            world.inject(eve, from, &media);
        }
        world.run_for(millis(10));
    }
    world.run_for(secs(9));
    assert_undisturbed(&world, &viewers);
    let after = world.counters();
    let limited = after.drops[&DropReason::IngressLimit];
    assert!(
        (150_000..200_000).contains(&limited),
        "{limited} of 200000 were not looked at"
    );
    assert_eq!(after.panics, before.panics);
}

/// The stories watch that no index is sealed twice; here everything happens that makes new ones.
#[test]
fn no_number_is_used_twice_whatever_is_bound_offered_lost_and_restarted() {
    let mut world = World::new(124);
    let camera = || Guest::meeting().with([Device::camera()]).slots(0, 0);
    let people: Vec<Person> = (0..3).map(|_| world.enter("lobby", camera())).collect();
    let simulcast = Guest::meeting().with([Device::simulcast_camera()]);
    let many = world.enter("lobby", simulcast.slots(0, 0));
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(2, 0));
    world.run_for(secs(2));
    world.down(viewer).change(|link| link.loss(loss(0.05)));

    for round in 0..24_usize {
        let shown = if round % 4 == 3 {
            many
        } else {
            people[round % 3]
        };
        let track = world.track_of(shown, Kind::Video);
        world.pin(viewer, round % 2, track, Some([180, 360, 720][round % 3]));
        match round {
            6 => world.reoffer(viewer, &[], 1, 0),
            10 => world.restart_ice_by_offer(viewer),
            14 => world.restart_ice_by_fragment(viewer),
            18 => world.rebind(viewer),
            20 => world.reoffer(viewer, &[Device::microphone()], 0, 1),
            _ => {}
        }
        world.run_for(millis(1_500));
    }
    let counters = world.counters();
    assert!(counters.rtx_packets_out > 50, "retransmissions, too");
    assert!(counters.probe_packets_out > 10, "and probes");
    for slot in world.client(viewer).slots(Kind::Video) {
        assert!(slot.packets > 1_000, "{} packets", slot.packets);
    }
}
