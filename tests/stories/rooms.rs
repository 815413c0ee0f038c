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
    let what = world.rng.u8(0..16);
    if what < 4 && present.len() < 12 {
        present.push(somebody_comes(world));
        return;
    }
    let Some(person) = anybody(world, present) else {
        return;
    };
    match what {
        4 | 5 | 12 => {
            present.retain(|other| *other != person);
            match what {
                4 => world.leave(person),
                5 => world.hang_up(person),
                _ => world.vanish(person),
            }
        }
        13 if world.is_meeting(person) => {
            let (session, room) = (world.session(person), world.room(person).to_owned());
            present.retain(|other| *other != person);
            present.push(world.enter(&room, Guest::meeting().resuming(session)));
        }
        6..=7 => {
            let level = if world.rng.bool() { SPEAKING } else { SILENT };
            world.speak(person, level);
        }
        8 => wish(world, present, person),
        9 => world.rebind(person),
        10 => world.restart_ice_by_fragment(person),
        11 => worsen_links(world, person),
        _ => change_sources(world, person, what == 14),
    }
}

fn anybody(world: &mut World, present: &[Person]) -> Option<Person> {
    (!present.is_empty()).then(|| present[world.rng.usize(0..present.len())])
}

fn somebody_comes(world: &mut World) -> Person {
    let room = ROOMS[world.rng.usize(0..ROOMS.len())];
    let guest = match world.rng.u8(0..5) {
        0 => Guest::publishing(&format!("p{}", world.rng.u32(..))),
        1 => Guest::watching(),
        2 => Guest::meeting().with([Device::simulcast_camera(), Device::microphone()]),
        _ => Guest::meeting(),
    };
    world.enter(room, guest)
}

/// Wishes for something that anybody knows of: also a track of another room, which must not come.
fn wish(world: &mut World, present: &[Person], viewer: Person) {
    let Some(shown) = anybody(world, present) else {
        return;
    };
    let track = world.client(shown).roster.tracks.keys().next().copied();
    let has_slot = world.client(viewer).slots(Kind::Video).next().is_some();
    if let (true, Some(track)) = (has_slot, track) {
        world.pin(viewer, 0, track, Some(180));
    }
}

fn worsen_links(world: &mut World, person: Person) {
    let share = world.rng.f32() * 0.1;
    world
        .up(person)
        .change(|link| link.loss(loss(share)).reorder_gap(9));
    world
        .down(person)
        .change(|link| link.loss(loss(share)).reorder_gap(9));
}

/// Stops a source, or shares a screen.
fn change_sources(world: &mut World, person: Person, stops: bool) {
    let client = world.client(person);
    let (sources, has_slots) = (client.sources.len(), !client.receivers.is_empty());
    if !world.is_meeting(person) {
        return;
    }
    if stops && sources > 1 {
        world.stop_source(person, 0);
    } else if !stops && sources < 4 && has_slots {
        world.reoffer(person, &[Device::screen()], 1, 0);
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
