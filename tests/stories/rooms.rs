//! Rooms never mix, whatever happens in them.

use plenum::engine::event::Kind;

use crate::guest::Guest;
use crate::link::loss;
use crate::media::{Device, SILENT, SPEAKING};
use crate::millis;
use crate::secs;
use crate::world::{Person, World};

const ROOMS: [&str; 4] = ["lobby", "attic", "cellar", "garden"];

/// Does something at random that guests do. What must not happen is watched by the world.
fn something(world: &mut World, present: &mut Vec<Person>) {
    let anybody = |world: &mut World, present: &[Person]| {
        (!present.is_empty()).then(|| present[world.rng.usize(0..present.len())])
    };
    match world.rng.u8(0..16) {
        0..=3 if present.len() < 12 => {
            let room = ROOMS[world.rng.usize(0..ROOMS.len())];
            let guest = match world.rng.u8(0..5) {
                0 => Guest::publishing(&format!("p{}", world.rng.u32(..))),
                1 => Guest::watching(),
                2 => Guest::meeting().with([Device::simulcast_camera(), Device::microphone()]),
                _ => Guest::meeting(),
            };
            present.push(world.enter(room, guest));
        }
        4 if !present.is_empty() => {
            let place = world.rng.usize(0..present.len());
            let person = present.swap_remove(place);
            world.leave(person);
        }
        5 if !present.is_empty() => {
            let place = world.rng.usize(0..present.len());
            let person = present.swap_remove(place);
            world.hang_up(person);
        }
        6..=7 => {
            if let Some(person) = anybody(world, present) {
                let level = if world.rng.bool() { SPEAKING } else { SILENT };
                world.speak(person, level);
            }
        }
        8 => {
            // Also a track of another room may be wished for: it must not come.
            if let (Some(viewer), Some(shown)) = (anybody(world, present), anybody(world, present))
            {
                let tracks: Vec<_> = world.client(shown).roster.tracks.keys().copied().collect();
                let has_slot = world.client(viewer).slots(Kind::Video).next().is_some();
                if let (true, Some(track)) = (has_slot, tracks.first()) {
                    world.pin(viewer, 0, *track, Some(180));
                }
            }
        }
        9 => {
            if let Some(person) = anybody(world, present) {
                world.rebind(person);
            }
        }
        10 => {
            if let Some(person) = anybody(world, present) {
                world.restart_ice_by_fragment(person);
            }
        }
        11 => {
            if let Some(person) = anybody(world, present) {
                let share = world.rng.f32() * 0.1;
                world
                    .up(person)
                    .change(|link| link.loss(loss(share)).reorder_gap(9));
                world
                    .down(person)
                    .change(|link| link.loss(loss(share)).reorder_gap(9));
            }
        }
        12 if !present.is_empty() => {
            let place = world.rng.usize(0..present.len());
            let person = present.swap_remove(place);
            world.vanish(person);
        }
        13 => {
            if let Some(person) = anybody(world, present).filter(|person| world.is_meeting(*person))
            {
                let (session, room) = (world.session(person), world.room(person).to_owned());
                present.retain(|other| *other != person);
                present.push(world.enter(&room, Guest::meeting().resuming(session)));
            }
        }
        14 => {
            if let Some(person) = anybody(world, present)
                && world.is_meeting(person)
                && world.client(person).sources.len() > 1
            {
                world.stop_source(person, 0);
            }
        }
        _ => {
            if let Some(person) = anybody(world, present)
                && world.client(person).sources.len() < 4
                && !world.client(person).receivers.is_empty()
                && world.is_meeting(person)
            {
                world.reoffer(person, &[Device::screen()], 1, 0);
            }
        }
    }
}

#[test]
fn rooms_never_mix_whatever_their_guests_do() {
    for seed in 0..6 {
        let mut world = World::with_shards(900 + seed, 2);
        let mut present = Vec::new();
        for _ in 0..40 {
            something(&mut world, &mut present);
            let pause = world.rng.u64(1..600);
            world.run_for(millis(pause));
        }
        for person in present {
            world.leave(person);
        }
        // Those who vanished are still believed to be there.
        world.run_for(secs(31));
        world.assert_empty();
    }
}
