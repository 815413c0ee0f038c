//! Stories: whole conferences in virtual time, told from a seed.
//!
//! A [`world::World`] holds a server (the engine, without sockets or threads), guests (each a
//! WebRTC stack of its own) and the network between them. What must never happen is checked on
//! every packet and every event of every story; what a story is about is asserted in the story.
//!
//! A story that fails prints its seed; `STORY_SEED=..` tells it again, or another one.

mod client;
mod guest;
mod link;
mod media;
mod payload;
mod receiver;
mod recording;
mod roster;
mod wire;
mod world;

mod counting;
mod crowd;
mod data;
mod decode;
mod hostile;
mod hosting;
mod inspection;
mod layers;
mod letter;
mod lips;
mod loss;
mod meeting;
mod moving;
mod narrow;
mod pressure;
mod replaying;
mod rooms;
mod slots;
mod speaking;
mod spread;
mod standstill;
mod talking;
mod temporal;
mod wanted;

use std::time::Duration;

/// A number of seconds, where a story says how long something takes.
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A number of milliseconds.
const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
