//! Hands one target to libFuzzer: `PLENUM_FUZZ_TARGET=offer guided CORPUS`. See `tests/fuzz`.

#![no_main]
#![allow(
    unsafe_code,
    reason = "libFuzzer calls a C function by name; its macro makes it"
)]

use std::sync::OnceLock;

use fuzz::Target;

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = CHOSEN.get_or_init(|| {
        let name = std::env::var("PLENUM_FUZZ_TARGET").expect("PLENUM_FUZZ_TARGET names a target");
        Target::named(&name).expect("a target of that name")
    });
    (target.run)(bytes);
});
