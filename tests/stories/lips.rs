//! Lips and voices stay together, whatever is switched, muted, late or not reported yet.

use plenum::engine::command::LayerLimit;
use plenum::engine::event::Kind;

use crate::guest::Guest;
use crate::media::{Device, SPEAKING};
use crate::world::{Person, World};
use crate::{millis, secs};

/// How far sound may be from its picture, in milliseconds, before anybody sees it: half of what
/// ITU-R BT.1359 takes for detectable.
const LIPS_MS: f64 = 40.0;

/// How far a viewer's lips are off, in milliseconds: sound against picture.
fn lips_ms(world: &World, viewer: Person) -> f64 {
    let playout = |kind| {
        let mut slots = world.client(viewer).slots(kind);
        let last = slots.next().and_then(|slot| slot.shown.last());
        let last = last.expect("something on show");
        last.playout_ms.expect("a sender report came")
    };
    playout(Kind::Audio) - playout(Kind::Video)
}

/// Somebody with three layers of camera, a microphone and a restless path, and a viewer.
fn watch(seed: u64) -> (World, Person, Person) {
    let mut world = World::new(seed);
    let devices = [Device::simulcast_camera(), Device::microphone()];
    let camera = world.enter("lobby", Guest::meeting().with(devices).slots(0, 0));
    world.up(camera).change(|link| link.jitter(millis(15)));
    world.speak(camera, SPEAKING);
    let viewer = world.enter("lobby", Guest::meeting().with([]).slots(1, 1));
    (world, camera, viewer)
}

fn choose(world: &mut World, viewer: Person, rid: &str) {
    let limit = LayerLimit {
        rid: Some(rid.to_owned()),
        ..LayerLimit::default()
    };
    world.limit_layer(viewer, limit);
}

#[test]
fn sound_and_picture_are_together_a_second_after_they_began() {
    for seed in 161..166 {
        let (mut world, camera, viewer) = watch(seed);
        let began = world.run_until(secs(3), |world| {
            !world.audio(viewer, 0).shown.is_empty() && !world.video(viewer, 0).shown.is_empty()
        });
        began.expect("sound and picture");
        world.run_for(secs(1));
        for slot in [world.audio(viewer, 0), world.video(viewer, 0)] {
            assert!(slot.sender_reports >= 1, "{:?} is reported on", slot.kind);
        }
        // The publisher's own word about its sound comes seconds later, and must not move it.
        for _ in 0..10 {
            let off = lips_ms(&world, viewer);
            assert!(off.abs() <= LIPS_MS, "{off} ms off at {:?}", world.age());
            world.run_for(secs(1));
        }
        assert!(world.client(camera).connected_at.is_some());
    }
}

#[test]
fn lips_stay_where_they_are_over_fifty_switches_and_a_mute() {
    let (mut world, camera, viewer) = watch(167);
    world.run_for(secs(8));
    let mut worst: f64 = 0.0;
    let mut shown = Vec::new();
    for turn in 0..50 {
        choose(&mut world, viewer, ["q", "h", "f"][turn % 3]);
        for _ in 0..5 {
            world.run_for(millis(150));
            worst = worst.max(lips_ms(&world, viewer).abs());
        }
        shown.extend(world.video(viewer, 0).shown.last().map(|shown| shown.layer));
    }
    assert!(worst <= LIPS_MS, "{worst} ms off while layers changed");
    let changes = shown.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 48, "{changes} of 49 switches were seen");

    let all = |world: &mut World, is_active: bool| {
        for encoding in &mut world.client_mut(camera).sources[0].encodings {
            encoding.is_active = is_active;
        }
    };
    all(&mut world, false);
    world.run_for(secs(20));
    all(&mut world, true);
    world.run_for(millis(300));
    let mut worst: f64 = 0.0;
    for _ in 0..20 {
        world.run_for(millis(150));
        worst = worst.max(lips_ms(&world, viewer).abs());
    }
    assert!(
        worst <= LIPS_MS,
        "{worst} ms off after the picture was away"
    );
    world.video(viewer, 0).assert_flawless();
}
