//! Those who mean no good, and those who only send nonsense.

use std::net::SocketAddr;

use plenum::engine::command::CommandError;
use plenum::engine::counters::DropReason;
use plenum::engine::event::{CloseReason, Kind};

use crate::client::Client;
use crate::guest::Guest;
use crate::wire::Class;
use crate::world::World;
use crate::{millis, secs};

/// Where no guest ever is. That nothing is sent there is watched in every story.
const ATTACKER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 66)),
    6_666,
);

#[test]
fn a_hello_from_an_address_that_proved_nothing_does_nothing() {
    let mut world = World::new(81);
    let mallory = world.enter("attic", Guest::publishing("mallory"));
    world.run_for(millis(200));
    let hello = world.last_sent(mallory, |class| class == Class::Dtls);

    let ada = world.enter("lobby", Guest::publishing("ada"));
    for _ in 0..20 {
        world.inject(ada, ATTACKER, &hello);
        world.run_for(millis(10));
    }
    world.run_for(secs(2));
    assert!(
        world.client(ada).connected_at.is_some(),
        "ada connects all the same"
    );
    assert_eq!(world.counters().drops[&DropReason::UnvalidatedSource], 20);
}

#[test]
fn who_shows_another_certificate_than_the_offer_names_is_not_let_in() {
    let mut world = World::new(96);
    let viewer = world.enter("lobby", Guest::meeting().with([]));
    let mallory = world.enter("lobby", Guest::meeting().impersonating());
    world.run_for(secs(5));
    assert_eq!(world.counters().connected_sessions, 1, "the viewer alone");
    let roster = &world.client(viewer).roster;
    assert!(
        !roster
            .participants
            .contains_key(&world.participant(mallory))
    );
    assert!(roster.tracks.is_empty() && world.video(viewer, 0).shown.is_empty());
    world.run_for(secs(20));
    assert!(world.client(mallory).closed_because.is_some());
    assert_eq!(world.counters().sessions, 1, "nothing is kept of her");
}

#[test]
fn a_check_with_a_wrong_password_teaches_nothing_and_gets_no_answer() {
    let mut world = World::new(82);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let sent_before = world.wire.datagrams;
    let mut check = world.last_sent(ada, |class| class == Class::Stun);
    // The last eight bytes are the fingerprint, before it stands the integrity.
    let place = check.len() - 12;
    check[place] ^= 1;
    for _ in 0..10 {
        world.inject(ada, ATTACKER, &check);
    }
    assert_eq!(world.wire.datagrams, sent_before, "no answer to anybody");
    let media = world.last_sent(ada, |class| matches!(class, Class::Rtp { .. }));
    world.inject(ada, ATTACKER, &media);
    let drops = world.counters().drops;
    assert_eq!(
        drops[&DropReason::StunIntegrity] + drops.get(&DropReason::Unrecognized).unwrap_or(&0),
        10
    );
    assert_eq!(drops[&DropReason::UnvalidatedSource], 1);
    world.run_for(secs(2));
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn a_flood_of_checks_with_wrong_passwords_moves_nothing_and_those_that_hold_are_answered() {
    let mut world = World::new(93);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let mut wrong = world.last_sent(viewer, |class| class == Class::Stun);
    // In the integrity, before the fingerprint: whoever does not check it takes the message.
    let place = wrong.len() - 12;
    wrong[place] ^= 1;
    let moved_at = world.now();
    world.rebind(viewer);
    let public = world.client(viewer).public;
    // 20 000 a second, from somewhere else and in the viewer's own name.
    for _ in 0..500 {
        for _ in 0..50 {
            world.inject(viewer, ATTACKER, &wrong);
            world.inject(viewer, public, &wrong);
        }
        world.run_for(millis(5));
    }
    world.run_for(secs(20));
    assert_eq!(world.client(viewer).closed_because, None);
    assert!(
        !world.client(viewer).is_disconnected,
        "its checks were answered"
    );
    let freeze = world.video(viewer, 0).longest_freeze(moved_at, world.now());
    assert!(freeze <= millis(4_000), "froze for {freeze:?}");
    assert_eq!(world.client(ada).closed_because, None);
    let drops = world.counters().drops;
    let refused = drops.get(&DropReason::StunIntegrity).unwrap_or(&0)
        + drops.get(&DropReason::Unrecognized).unwrap_or(&0);
    assert_eq!(refused, 50_000);
}

#[test]
fn a_check_that_is_sent_again_from_a_thousand_addresses_teaches_eight_and_moves_nothing() {
    let mut world = World::new(94);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let check = world.last_sent(viewer, |class| class == Class::Stun);
    let from = world.now();
    let address = |n: u16| SocketAddr::from(([198, 51, 100, (n % 250) as u8 + 1], 7_000 + n));
    for n in 0..1_000 {
        let now = world.now();
        // The answer goes where the check came from, once, and is no larger.
        world.wire.consented(address(n), now);
        let before = world.wire.bytes_to(address(n));
        world.inject(viewer, address(n), &check);
        let answered = world.wire.bytes_to(address(n)) - before;
        assert!(
            answered as usize <= check.len(),
            "{answered} bytes for {}",
            check.len()
        );
        world.run_for(millis(2));
    }
    // Who was proven to be at an address may send from there; all but a few have been forgotten.
    let media = world.last_sent(viewer, |class| class == Class::Rtcp);
    let refused = |world: &mut World| {
        let drops = world.counters().drops;
        *drops.get(&DropReason::UnvalidatedSource).unwrap_or(&0)
    };
    let before = refused(&mut world);
    (0..1_000).for_each(|n| world.inject(viewer, address(n), &media));
    assert!(refused(&mut world) - before >= 992);
    world.run_for(secs(5));
    for slot in [world.video(viewer, 0), world.audio(viewer, 0)] {
        slot.assert_flawless();
        let freeze = slot.longest_freeze(from, world.now());
        assert!(freeze <= millis(300), "froze for {freeze:?}");
    }
    assert_eq!(world.client(ada).closed_because, None);
}

#[test]
fn media_that_is_sent_again_or_forged_reaches_nobody() {
    let mut world = World::new(83);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(3));
    let from = world.client(ada).public;
    let media = world.last_sent(ada, |class| matches!(class, Class::Rtp { .. }));
    let report = world.last_sent(ada, |class| class == Class::Rtcp);
    for _ in 0..50 {
        world.inject(ada, from, &media);
        world.inject(ada, from, &report);
    }
    let mut forged = media.clone();
    // The next sequence number, with what authenticated the last.
    forged[3] = forged[3].wrapping_add(1);
    world.inject(ada, from, &forged);
    for length in 0..40 {
        world.inject(ada, from, &media[..length.min(media.len())]);
        world.inject(ada, from, &report[..length.min(report.len())]);
    }
    world.run_for(secs(3));
    assert_eq!(world.counters().panics, 0);
    // Whatever reached the viewer twice would have failed the story.
    world.video(viewer, 0).assert_flawless();
    world.audio(viewer, 0).assert_flawless();
}

#[test]
fn random_bytes_from_the_right_address_end_nothing() {
    let mut world = World::new(84);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    for round in 0..2_000 {
        let length = world.rng.usize(0..1_600);
        let mut noise: Vec<u8> = (0..length).map(|_| world.rng.u8(..)).collect();
        if let Some(first) = noise.first_mut() {
            // One of every kind: STUN, DTLS, RTP and RTCP.
            *first = [0, 22, 128, 128, 255][round % 5];
        }
        if let Some(second) = noise.get_mut(1)
            && round % 5 == 3
        {
            *second = 200 + (round % 7) as u8;
        }
        let from = world.client(ada).public;
        world.inject(ada, from, &noise);
        if round % 20 == 0 {
            world.run_for(millis(10));
        }
    }
    world.run_for(secs(3));
    assert_eq!(world.counters().panics, 0);
    assert_eq!(world.client(ada).closed_because, None);
    let recent = world.video(viewer, 0).since(world.now() - secs(1)).len();
    assert!(recent >= 24, "{recent} pictures in the last second");
}

#[test]
fn alerts_in_the_clear_during_the_handshake_end_nothing() {
    // A fatal one (RFC 5246 §7.2), as anybody on the path can make it before there are keys.
    let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let mut world = World::new(89);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    let from = world.client(ada).public;
    for _ in 0..200 {
        world.inject(ada, from, &alert);
        world.run_for(millis(2));
    }
    world.run_for(secs(3));
    assert!(world.client(ada).connected_at.is_some(), "ada connects");
    let pictures = world.video(viewer, 0).since(world.now() - secs(1)).len();
    assert!(pictures >= 24, "{pictures} in the last second");
}

#[test]
fn handshakes_in_pieces_without_end_cost_a_little_and_only_whom_they_are_sent_as() {
    // A piece of a ClientHello that claims to be as long as one can be (RFC 6347 §4.2.2).
    let piece = |at: u32, record: u8| {
        let mut bytes = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, record, 4, 12];
        bytes.extend([1, 255, 255, 255, 0, 0]);
        bytes.extend(&at.to_be_bytes()[1..]);
        bytes.extend([0, 4, 0]);
        bytes.extend([7; 1_024]);
        bytes
    };
    let mut world = World::new(92);
    let ben = world.enter("lobby", Guest::publishing("ben"));
    let viewer = world.enter("lobby", Guest::watching());
    world.run_for(secs(2));
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let from = world.client(ada).public;
    for round in 0..2_000_u32 {
        world.inject(ada, from, &piece(1_024 * (round % 16_000), round as u8));
        world.run_for(millis(2));
    }
    assert_eq!(world.counters().panics, 0);
    // Who was pretended to be ada may have spoilt her handshake; then she is let go.
    world.run_for(secs(16));
    let came = world.client(ada).connected_at.is_some();
    assert!(came != world.client(ada).closed_because.is_some());
    assert_eq!(world.client(ben).closed_because, None);
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn what_one_session_sends_under_its_own_keys_is_nothing_in_another() {
    let mut world = World::new(90);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    let mallory = world.enter("attic", Guest::publishing("mallory"));
    world.run_for(secs(8));
    let from = world.client(ada).public;
    for _ in 0..50 {
        let report = world.last_sent(mallory, |class| class == Class::Rtcp);
        world.inject(ada, from, &report);
        let mut media = world.last_sent(mallory, |class| matches!(class, Class::Rtp { .. }));
        world.inject(ada, from, &media);
        // Under the name of ada's own stream, too.
        let own = world.last_sent(ada, |class| matches!(class, Class::Rtp { .. }));
        media[8..12].copy_from_slice(&own[8..12]);
        world.inject(ada, from, &media);
        world.run_for(millis(20));
    }
    world.run_for(secs(2));
    world.video(viewer, 0).assert_flawless();
    world.audio(viewer, 0).assert_flawless();
    assert_eq!(world.client(ada).closed_because, None);
}

#[test]
fn who_sends_more_than_any_camera_is_capped_and_the_others_go_on() {
    let mut world = World::new(91);
    let ada = world.enter("lobby", Guest::publishing("ada"));
    let viewer = world.enter("lobby", Guest::watching());
    let mallory = world.enter("attic", Guest::publishing("mallory"));
    world.run_for(secs(3));
    let from = world.client(mallory).public;
    let media = world.last_sent(mallory, |class| matches!(class, Class::Rtp { .. }));
    for _ in 0..20_000 {
        world.inject(mallory, from, &media);
    }
    world.run_for(secs(3));
    let capped = world.counters().drops[&DropReason::IngressLimit];
    assert!(capped >= 5_000, "{capped} packets were too many");
    assert_eq!(world.client(ada).closed_because, None);
    world.video(viewer, 0).assert_flawless();
}

#[test]
fn one_name_publishes_once() {
    let mut world = World::new(85);
    world.enter("lobby", Guest::publishing("ada"));
    let again = world.join("lobby", &Guest::publishing("ada"));
    assert!(matches!(again, Err(CommandError::ParticipantExists(_))));
    world.enter("attic", Guest::publishing("ada"));
}

#[test]
fn offers_that_cannot_be_answered_leave_nothing_behind() {
    let mut world = World::new(86);
    let (meet, publish, watch) = (
        Guest::meeting(),
        Guest::publishing("ada"),
        Guest::watching(),
    );
    let offer = world.offer_of(&meet);

    let mut bad: Vec<(Guest, String)> = Vec::new();
    for text in [
        "",
        "v=0",
        "v=1\r\n",
        "hello",
        "\0\0\0",
        "m=audio",
        "a=b\r\n\r\n",
    ] {
        bad.push((meet.clone(), text.to_owned()));
    }
    for (from, to) in [
        ("a=fingerprint:", "a=fingerprimt:"),
        ("a=ice-ufrag:", "a=x:"),
        ("a=ice-pwd:", "a=x:"),
        ("a=setup:actpass", "a=setup:holdconn"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        ("v=0\r\n", ""),
    ] {
        assert!(offer.contains(from), "{from} in {offer}");
        bad.push((meet.clone(), offer.replace(from, to)));
    }
    // Somebody who only receives does not publish, and the other way round.
    bad.push((publish.clone(), world.offer_of(&watch)));
    bad.push((watch.clone(), world.offer_of(&publish)));
    // Two cameras are one too many for one publisher.
    bad.push((publish, offer.clone()));
    for (guest, text) in bad {
        let posted = world.post_offer("lobby", &guest, &text);
        assert!(posted.is_err(), "{:?} let in\n{text}", guest.door);
    }
    // Cut off anywhere, an offer is refused or answered, and never worse.
    for end in (0..offer.len())
        .step_by(17)
        .filter(|end| offer.is_char_boundary(*end))
    {
        let _ = world.post_offer("attic", &meet, &offer[..end]);
    }
    world.run_for(secs(16));
    world.assert_empty();
}

#[test]
fn offers_beyond_all_measure_are_refused_or_answered_and_leave_nothing_behind() {
    let mut world = World::new(89);
    let meet = Guest::meeting();
    let offer = world.offer_of(&meet);
    let candidate = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
    let (head, last) = offer.rsplit_once("m=").expect("it has m-lines");
    let many_lines: String = (0..1000)
        .map(|n| format!("m={}", last.replace("a=mid:", &format!("a=mid:x{n}"))))
        .collect();
    let mids: Vec<&str> = offer
        .lines()
        .filter(|line| line.starts_with("a=mid:"))
        .collect();
    let twice = offer.replace(mids[1], mids[0]);
    let unknown_type = offer.replace("a=rtpmap:96 ", "a=rtpmap:999 ");
    let huge = "a=fmtp:96 x=".to_owned() + &"y".repeat(7 * 1024) + "\r\n";
    for (what, text, is_taken) in [
        (
            "a thousand m-lines",
            format!("{head}{many_lines}"),
            Some(false),
        ),
        (
            "ten thousand candidates",
            offer.clone() + &candidate.repeat(10_000),
            Some(false),
        ),
        (
            "as many candidates as fit",
            offer.clone() + &candidate.repeat(3_500),
            Some(true),
        ),
        ("a name twice", twice, Some(false)),
        ("a payload type that cannot be", unknown_type, None),
        ("huge parameters", offer.clone() + &huge, Some(true)),
        (
            "huge parameters again and again",
            offer.clone() + &huge.repeat(20),
            None,
        ),
        (
            "a line too long",
            offer.clone() + "a=x:" + &"y".repeat(64 * 1024) + "\r\n",
            Some(false),
        ),
    ] {
        let posted = world.post_offer("lobby", &meet, &text);
        if let Some(is_taken) = is_taken {
            assert_eq!(posted.is_ok(), is_taken, "{what}: {:?}", posted.err());
        }
    }
    world.run_for(secs(16));
    world.assert_empty();
}

#[test]
fn an_encoder_that_names_a_profile_which_browsers_do_not_list_is_taken_in() {
    let mut world = World::new(88);
    let now = world.now();
    let guest = Guest::publishing("ada");
    let server = SocketAddr::from(([203, 0, 113, 1], 3478));
    let mut client = Client::new(ATTACKER, server, (now, now), 0, false, 1);
    let offer = client.offer(&guest.devices, 0, 0).sdp;
    // Constrained High, level 5.1, of all the encoder's profiles; and no other codec.
    let mut high = offer;
    for profile in ["42001f", "42e01f", "4d001f", "64001f"] {
        high = high.replace(profile, "640c33");
    }
    for codec in ["VP8", "VP9", "AV1"] {
        high = high.replace(&format!(" {codec}/90000"), " none/90000");
    }
    assert!(high.contains("640c33"), "{high}");
    let answer = world
        .post_offer("lobby", &guest, &high)
        .expect("taken in")
        .answer;
    assert!(answer.contains("H264/90000"), "{answer}");
}

#[test]
fn a_guest_who_hangs_up_is_gone_at_once() {
    let mut world = World::new(87);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    world.run_for(secs(2));
    world.hang_up(ben);
    world.run_for(millis(200));
    assert!(world.client(ben).closed_because.is_some());
    assert!(
        world.client(ada).roster.tracks.len() == 2,
        "only her own are left"
    );
    let slot = world.video(ada, 0);
    assert_eq!(slot.kind, Kind::Video);
    slot.assert_flawless();
}

#[test]
fn a_mistake_of_ours_ends_one_session_and_the_others_lose_nothing() {
    let mut world = World::new(88);
    let ada = world.enter("lobby", Guest::meeting());
    let ben = world.enter("lobby", Guest::meeting());
    let eve = world.enter("lobby", Guest::meeting());
    world.run_for(secs(3));
    world.panic_in(eve);
    world.run_for(secs(3));
    assert_eq!(
        world.client(eve).closed_because,
        Some(CloseReason::Failed),
        "she is told"
    );
    for (one, other) in [(ada, ben), (ben, ada)] {
        for kind in [Kind::Video, Kind::Audio] {
            let slots = world.client(one).slots(kind);
            let source = Some(world.source_of(other, kind));
            let theirs: Vec<_> = slots.filter(|slot| slot.source() == source).collect();
            assert_eq!(theirs.len(), 1);
            theirs[0].assert_flawless();
        }
    }
    let counters = world.counters();
    assert_eq!((counters.panics, counters.sessions), (1, 2));
    world.enter("lobby", Guest::meeting());
    world.run_for(secs(1));
}
