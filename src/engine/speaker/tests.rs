//! Rooms in which people speak, cough, and talk at once.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// What somebody does, by the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    /// A quiet room: around -85 dBov.
    Listening,
    /// Words of 200 to 500 ms with short pauses, around -30 dBov.
    Speaking,
    /// One loud noise without a pause.
    Coughing,
    /// Sends nothing: discontinuous transmission.
    Gone,
}

struct Person {
    doing: Doing,
    /// Until when the word, or the pause after it, lasts.
    until_ms: u64,
    in_word: bool,
}

/// A room in virtual time, in which a packet of everybody comes each 20 ms, with some jitter.
struct Room {
    detector: SpeakerDetector<usize>,
    people: Vec<Person>,
    start: Instant,
    now_ms: u64,
    rng: StdRng,
    changes: Vec<(u64, usize)>,
}

/// Some moment; which one makes no difference.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant cannot be had otherwise"
)]
fn some_time() -> Instant {
    Instant::now()
}

impl Room {
    fn new(people: usize, seed: u64) -> Self {
        let listening = || Person {
            doing: Doing::Listening,
            until_ms: 0,
            in_word: false,
        };
        let mut room = Self {
            detector: SpeakerDetector::default(),
            people: (0..people).map(|_| listening()).collect(),
            start: some_time(),
            now_ms: 0,
            rng: StdRng::seed_from_u64(seed),
            changes: Vec::new(),
        };
        room.run(2000);
        room
    }

    fn set(&mut self, person: usize, doing: Doing) {
        self.people[person].doing = doing;
        self.people[person].until_ms = 0;
        self.people[person].in_word = false;
    }

    fn level(&mut self, person: usize) -> Option<u8> {
        let (now_ms, rng) = (self.now_ms, &mut self.rng);
        let person = &mut self.people[person];
        match person.doing {
            Doing::Gone => None,
            Doing::Listening => Some(rng.random_range(82..90)),
            Doing::Coughing => Some(rng.random_range(10..20)),
            Doing::Speaking => {
                if now_ms >= person.until_ms {
                    person.in_word = !person.in_word;
                    let length = if person.in_word {
                        rng.random_range(200..500)
                    } else {
                        rng.random_range(40..120)
                    };
                    person.until_ms = now_ms + length;
                }
                Some(if person.in_word {
                    rng.random_range(22..40)
                } else {
                    rng.random_range(75..88)
                })
            }
        }
    }

    fn run(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            for person in 0..self.people.len() {
                if let Some(level) = self.level(person) {
                    let jitter = Duration::from_micros(self.rng.random_range(0..8000));
                    let at = self.start + Duration::from_millis(self.now_ms) + jitter;
                    self.detector.level(person, level, at);
                }
            }
            self.now_ms += 20;
            let now = self.start + Duration::from_millis(self.now_ms);
            if let Some(change) = self.detector.poll(now) {
                self.changes.push((self.now_ms, change.to));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_speaker_is_noticed_within_a_second(seed: u64, people in 2usize..6) {
        let mut room = Room::new(people, seed);
        for speaker in [0, 1, 0, people - 1] {
            let since = room.now_ms;
            room.set(speaker, Doing::Speaking);
            room.run(1000);
            prop_assert_eq!(room.detector.dominant(), Some(speaker), "after {} ms", since);
            room.run(4000);
            room.set(speaker, Doing::Listening);
        }
    }

    #[test]
    fn a_cough_never_takes_the_floor(seed: u64, gap_ms in 800u64..3000, talking: bool) {
        let mut room = Room::new(3, seed);
        if talking {
            room.set(0, Doing::Speaking);
            room.run(3000);
        }
        let before = room.changes.len();
        for _ in 0..5 {
            room.set(1, Doing::Coughing);
            room.run(200);
            room.set(1, Doing::Listening);
            room.run(gap_ms);
        }
        prop_assert_eq!(room.changes.len(), before);
    }

    #[test]
    fn two_who_talk_at_once_do_not_make_the_picture_flicker(seed: u64) {
        let mut room = Room::new(4, seed);
        room.set(0, Doing::Speaking);
        room.set(2, Doing::Speaking);
        room.run(60_000);
        for pair in room.changes.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= 2000, "{:?}", room.changes);
        }
        prop_assert!(room.changes.iter().all(|&(_, speaker)| speaker == 0 || speaker == 2));
    }

    #[test]
    fn a_speaker_who_sends_nothing_in_pauses_is_heard_like_others(seed: u64) {
        let mut room = Room::new(2, seed);
        room.set(0, Doing::Speaking);
        room.run(3000);
        room.set(0, Doing::Gone);
        room.set(1, Doing::Speaking);
        room.run(1000);
        prop_assert_eq!(room.detector.dominant(), Some(1));
    }
}

#[test]
fn packets_of_sixty_milliseconds_make_a_speaker_too() {
    let start = some_time();
    let mut detector = SpeakerDetector::default();
    let mut noticed = None;
    for step in 0..60u32 {
        let now = start + Duration::from_millis(60) * step;
        detector.level('a', if step < 20 { 85 } else { 30 }, now);
        detector.level('b', 85, now);
        noticed = noticed.or(detector.poll(now).map(|change| (step, change.to)));
    }
    let (step, speaker) = noticed.expect("speech of two seconds");
    assert_eq!(speaker, 'a');
    assert!((20..20 + 17).contains(&step), "noticed at step {step}");
}

#[test]
fn whoever_leaves_makes_room_for_the_next() {
    let mut room = Room::new(2, 1);
    room.set(0, Doing::Speaking);
    room.run(2000);
    assert_eq!(room.detector.dominant(), Some(0));
    room.detector.remove(0);
    room.set(0, Doing::Gone);
    assert_eq!(room.detector.dominant(), None);
    room.set(1, Doing::Speaking);
    room.run(1000);
    assert_eq!(room.detector.dominant(), Some(1));
    room.detector.remove(1);
    assert_eq!(room.detector.poll_timeout(), None);
}

#[test]
fn the_loudest_are_those_heard_just_now() {
    let start = some_time();
    let mut detector = SpeakerDetector::default();
    for step in 0..10u32 {
        let now = start + Duration::from_millis(20) * step;
        for (voice, level) in [('a', 60), ('b', 30), ('c', 45), ('d', 127)] {
            detector.level(voice, level, now);
        }
    }
    let now = start + Duration::from_millis(180);
    assert_eq!(detector.loudest(2, now).as_slice(), ['b', 'c']);
    assert_eq!(
        detector.loudest(9, now).as_slice(),
        ['b', 'c', 'a'],
        "silence is not loud"
    );
    let later = now + Duration::from_millis(100);
    detector.level('a', 60, later);
    assert_eq!(
        detector
            .loudest(3, later + Duration::from_millis(51))
            .as_slice(),
        ['a']
    );
}
