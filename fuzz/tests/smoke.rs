//! Each target over its corpus and some thousand changes of it: the same ones each time.

use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

use fuzz::{TARGETS, Target};

/// Changes of the corpus per target. All of them together take some ten seconds unoptimized.
const ROUNDS: usize = 1_000;

/// How many times as many where there is time (`PLENUM_LONG=1`).
const LONGER: usize = 100;

/// Longest input: the largest body.
const MAX_BYTES: usize = 16 * 1024;

/// Panics, also those that the server survives.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn nothing_that_strangers_send_makes_anything_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(info);
    }));
    std::thread::scope(|scope| {
        for target in &TARGETS {
            scope.spawn(|| run(target));
        }
    });
}

fn run(target: &Target) {
    let corpus = corpus(target.name);
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    for input in &corpus {
        call(target, input);
    }
    let mut rng = fastrand::Rng::with_seed(1);
    let rounds = if env::var_os("PLENUM_LONG").is_some() {
        ROUNDS * LONGER
    } else {
        ROUNDS
    };
    for _ in 0..rounds {
        let mut input = rng.choice(&corpus).expect("a corpus").clone();
        for _ in 0..rng.usize(1..=4) {
            change(&mut input, &corpus, &mut rng);
        }
        input.truncate(MAX_BYTES);
        call(target, &input);
    }
}

/// The input is printed where it made something panic, so that it can be kept.
fn call(target: &Target, input: &[u8]) {
    let before = PANICS.load(Ordering::Relaxed);
    let outcome = panic::catch_unwind(|| (target.run)(input));
    let panicked = PANICS.load(Ordering::Relaxed) != before;
    assert!(
        outcome.is_ok() && !panicked,
        "{} with {:?}",
        target.name,
        input.escape_ascii().to_string()
    );
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut fastrand::Rng) {
    let at = rng.usize(0..=input.len());
    match rng.u8(0..8) {
        0 => input.truncate(at),
        1 => input.insert(at, rng.u8(..)),
        2 if at < input.len() => drop(input.remove(at)),
        3 => {
            let other = rng.choice(corpus).expect("a corpus");
            let from = rng.usize(0..=other.len());
            let to = (from + rng.usize(0..64)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        4 => {
            let end = (at + rng.usize(0..64)).min(input.len());
            let again: Vec<u8> = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        5 if at + 2 <= input.len() => {
            let extreme = *rng.choice(&[0u16, 1, 0x7fff, 0x8000, 0xffff]).expect("one");
            input[at..at + 2].copy_from_slice(&extreme.to_be_bytes());
        }
        _ if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
        _ => input.push(rng.u8(..)),
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| fs::read(file).expect("a file"))
        .collect()
}
