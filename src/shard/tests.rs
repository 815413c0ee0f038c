//! Shards with their threads, queues and socket.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::engine::SessionKey;
use crate::engine::counters::{Counters, DropReason as EngineDrop};
use crate::engine::ids::SessionId;
use crate::engine::ufrag::ufrag_of_session;
use crate::net::DropReason;

/// Far longer than loopback takes.
const LOST_AFTER: Duration = Duration::from_secs(10);

struct NobodyListens;

impl EventSink for NobodyListens {
    fn publish(&self, _: SessionEvent) {}
}

fn shards(count: u16) -> Shards {
    let socket = MediaSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = ShardsConfig {
        shards: count.try_into().unwrap(),
        advertised: vec![socket.local_addr()],
        advertised_tcp: Vec::new(),
        limits: Limits::default(),
    };
    let events: Arc<dyn EventSink> = Arc::new(NobodyListens);
    Shards::start(&config, socket, &Certificate::generate(), &events).unwrap()
}

fn somebody() -> SessionId {
    SessionId::random(&mut StdRng::seed_from_u64(1))
}

async fn counters(shard: &ShardHandle) -> Counters {
    match shard.command(Command::Counters).await {
        Ok(Reply::Counters(counters)) => *counters,
        other => panic!("{other:?}"),
    }
}

/// Waits until the receiving thread has seen this many datagrams.
fn await_datagrams(shards: &Shards, count: u64) {
    let start = clock::now();
    while shards.socket().counters().datagrams_in() < count {
        assert!(
            start.elapsed() < LOST_AFTER,
            "datagrams are lost on loopback"
        );
        thread::yield_now();
    }
}

/// A connectivity check without integrity, to this user fragment.
fn check(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:abcd");
    let padded = username.len().next_multiple_of(4);
    let mut message = vec![0, 1];
    message.extend((4 + padded as u16).to_be_bytes());
    message.extend([
        0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 6,
    ]);
    message.extend((username.len() as u16).to_be_bytes());
    message.extend(username.as_bytes());
    message.resize(24 + padded, 0);
    message
}

#[tokio::test]
async fn a_command_is_answered_by_the_engine_that_it_was_sent_to() {
    let shards = shards(2);
    for shard in shards.all() {
        let leave = Command::Leave {
            session: somebody(),
        };
        let refused = ShardError::Refused(CommandError::NoSuchSession);
        assert_eq!(shard.command(leave).await.unwrap_err(), refused);
        assert_eq!(counters(shard).await.sessions, 0);
    }
    assert!(shards.by_index(2).is_none());
    // A turn is counted after its replies; all turns are over now.
    shards.shutdown(LOST_AFTER);
    assert!(shards.all().iter().all(|shard| shard.load().wake_ups >= 1));
}

#[test]
fn rooms_are_spread_over_all_shards_and_each_stays_where_it_is() {
    let shards = shards(3);
    let home = |n: usize| {
        let room: RoomId = format!("room-{n}").parse().unwrap();
        shards.home(&room).index()
    };
    let homes: Vec<_> = (0..200).map(home).collect();
    assert_eq!(homes.iter().copied().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(homes, (0..200).map(home).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_for_nobody_is_dropped_where_that_is_known_and_never_answered() {
    let shards = shards(2);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to_second = SessionKey {
        shard: 1,
        index: 5,
        generation: 9,
    };
    let mut rng = StdRng::seed_from_u64(1);
    let checks = [
        check(&ufrag_of_session(to_second, &mut rng)),
        check(&ufrag_of_session(
            SessionKey {
                shard: 9,
                ..to_second
            },
            &mut rng,
        )),
        check("foreign"),
        vec![0x80, 96, 0, 1],
    ];
    for datagram in &checks {
        client
            .send_to(datagram, shards.socket().local_addr())
            .unwrap();
    }
    await_datagrams(&shards, 4);
    let net = shards.socket().counters();
    // Those that were received together are handed over after they were counted.
    let second = shards.by_index(1).unwrap();
    let start = clock::now();
    while second.load().turnaround.count() == 0 {
        assert!(
            start.elapsed() < LOST_AFTER,
            "the shard did not get its datagram"
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(net.drops(DropReason::UnknownUfrag), 2);
    assert_eq!(net.drops(DropReason::UnknownAddress), 1);
    assert_eq!(
        counters(second)
            .await
            .drops
            .get(&EngineDrop::UnknownSession),
        Some(&1)
    );
    assert_eq!(
        counters(&shards.all()[0]).await.drops.values().sum::<u64>(),
        0
    );
    assert_eq!(net.datagrams_out(), 0);
}

#[test]
fn whoever_asks_is_told_his_address_on_the_media_port_and_on_the_one_for_that() {
    let any = "127.0.0.1:0".parse().unwrap();
    let (media, stun) = (MediaSocket::bind(any), MediaSocket::bind(any));
    let (media, stun) = (media.unwrap(), stun.unwrap());
    let ports = [media.local_addr(), stun.local_addr()];
    let config = ShardsConfig {
        shards: NonZeroU16::MIN,
        advertised: vec![media.local_addr()],
        advertised_tcp: Vec::new(),
        limits: Limits::default(),
    };
    let sockets = Sockets {
        stun: Some(stun),
        ..Sockets::from(media)
    };
    let events: Arc<dyn EventSink> = Arc::new(NobodyListens);
    let shards = Shards::start(&config, sockets, &Certificate::generate(), &events).unwrap();

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LOST_AFTER)).unwrap();
    let question = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    for port in ports {
        client.send_to(&question, port).unwrap();
        let mut answer = [0; 64];
        let (length, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!((length, from), (32, port));
        assert_eq!(answer[8..20], [7; 12], "the transaction");
        let told = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
        assert_eq!(told, client.local_addr().unwrap().port());
    }
    shards.shutdown(LOST_AFTER);
    assert_eq!(shards.socket().counters().stun_answers(), 2);
}

#[tokio::test]
async fn a_shard_that_is_behind_says_so_at_once() {
    let (mailbox, _mail) = crossbeam_channel::bounded(1);
    let (datagrams, _batches) = crossbeam_channel::bounded(1);
    let shard = ShardHandle {
        index: 0,
        mailbox,
        datagrams,
        load: Arc::default(),
        waker: Waker(Parker::new().unparker().clone()),
    };
    let (first, second) = (
        shard.command(Command::Counters),
        shard.command(Command::Counters),
    );
    let overloaded = tokio::select! {
        biased;
        _ = first => unreachable!("nobody reads the mailbox"),
        result = second => result,
    };
    assert_eq!(overloaded.unwrap_err(), ShardError::Overloaded);
    assert_eq!(shard.queued_commands(), 1);
}

#[tokio::test]
async fn after_the_end_commands_are_refused_and_the_port_is_free() {
    let shards = shards(2);
    let address = shards.socket().local_addr();
    shards.shutdown(LOST_AFTER);
    shards.shutdown(LOST_AFTER);
    for shard in shards.all() {
        assert_eq!(
            shard.command(Command::Counters).await.unwrap_err(),
            ShardError::Stopped
        );
    }
    drop(shards);
    MediaSocket::bind(address).unwrap();
}
