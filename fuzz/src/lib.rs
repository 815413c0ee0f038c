//! What strangers can send, as plain functions of bytes. None may panic, whatever it is given; some
//! also check that what was read means the same in two ways.
//!
//! `cargo test --package fuzz` runs each over its corpus and some thousand changes of it, `tests/fuzz`
//! under libFuzzer, which sees what the bytes reach.

mod http;
mod media;
mod net;
mod signalling;
mod world;

/// One way in for bytes.
#[derive(Debug)]
pub struct Target {
    /// What the command line and the corpus' folder call it.
    pub name: &'static str,
    /// Takes the bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target {
        name: "datagram",
        run: net::datagram,
    },
    Target {
        name: "framing",
        run: net::framing,
    },
    Target {
        name: "session",
        run: world::session,
    },
    Target {
        name: "rtcp",
        run: media::rtcp,
    },
    Target {
        name: "payload",
        run: media::payload,
    },
    Target {
        name: "descriptor",
        run: media::descriptor,
    },
    Target {
        name: "offer",
        run: signalling::offer,
    },
    Target {
        name: "reoffer",
        run: signalling::reoffer,
    },
    Target {
        name: "answer",
        run: signalling::answer,
    },
    Target {
        name: "fragment",
        run: signalling::fragment,
    },
    Target {
        name: "names",
        run: signalling::names,
    },
    Target {
        name: "json",
        run: http::json,
    },
    Target {
        name: "token",
        run: http::token,
    },
];

impl Target {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}
