//! What guests do in a [`World`]: come, leave, wish, offer anew, move, and speak.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use plenum::engine::command::{
    Command, CommandError, Door, Headroom, Join, Joined, Reply, SlotWish, Wish,
};
use plenum::engine::event::Kind;
use plenum::engine::ids::TrackId;
use plenum::engine::ufrag::session_of_ufrag;
use plenum::engine::{Datagram, Transport};

use super::{Guesthouse, Person, World};
use crate::client::{Client, Offered};
use crate::guest::{Guest, Topic};
use crate::link::{Link, delay};
use crate::media::Device;
use crate::roster::{Roster, Seat};

impl World {
    /// Somebody comes, and is let in.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "stories make a guest in the place where they come in"
    )]
    pub(crate) fn enter(&mut self, room: &str, guest: Guest) -> Person {
        self.join(room, &guest)
            .unwrap_or_else(|error| panic!("{room} lets people in: {error}"))
    }

    /// Somebody comes to a door.
    pub(crate) fn join(&mut self, room: &str, guest: &Guest) -> Result<Person, CommandError> {
        let place = self.guests.next();
        let room_tag = self.room_tag(room);
        let home = room_tag as usize % self.engines.len();
        let local = SocketAddr::from(([10, 0, (place >> 8) as u8, place as u8], 40_000));
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(place as u64);
        let mut client = Client::new(
            local,
            self.server,
            (self.began, self.now),
            room_tag,
            guest.takes_red,
            seed,
        );
        client.wants(&guest.topics);
        let offered = client.offer(&guest.devices, guest.video_slots, guest.audio_slots);

        // A codec of a name that the server does not know is none that it could use.
        let offer = match guest.lacks {
            Some(codec) => offered.sdp.replace(codec, "unheard-of"),
            None => offered.sdp.clone(),
        };
        let offer = if guest.is_impostor {
            with_another_fingerprint(&offer)
        } else {
            offer
        };
        let (joined, shard) = self.post(home, room, guest, offer)?;
        client.seat = Some(Seat {
            session: joined.session,
            participant: joined.participant.clone(),
            ice_tag: joined.ice_tag,
            sdp_tag: joined.sdp_tag,
            subscriptions_tag: joined.subscriptions_tag,
        });
        let ids = self.source_ids(guest.devices.len());
        let mut answer = joined.answer;
        if guest.ignores_message_size {
            answer = answer.replace("a=max-message-size:", "a=x-unknown:");
        }
        client.accept(offered, &answer, &ids, self.now);
        let snapshot = self.snapshot_of(shard, joined.session);
        client.roster = Roster::from(&snapshot);

        let link = |direction: u64| {
            Link::new(delay(guest.one_way_delay).seed(seed.wrapping_mul(2).wrapping_add(direction)))
        };
        self.guests.push(Guesthouse {
            client,
            up: link(0),
            down: link(1),
            shard,
            room: room.to_owned(),
            is_meeting: guest.door == Door::Meet,
            is_asleep: false,
            sent: VecDeque::new(),
            ssrcs: BTreeMap::new(),
        });
        self.by_session.insert(joined.session, place);
        self.by_address.insert(local, place);
        self.whereabouts.insert(joined.participant, room.to_owned());
        self.note_ssrcs(place);
        self.settle();
        Ok(Person(place))
    }

    fn post(
        &mut self,
        home: usize,
        room: &str,
        guest: &Guest,
        offer: String,
    ) -> Result<(Joined, usize), CommandError> {
        let room = room.parse().expect("a room's name");
        let join = Join {
            name: guest.name.clone(),
            is_host: guest.is_host,
            is_hidden: guest.is_hidden,
            resume: guest.resume,
            busy: guest.busy.clone(),
            ..Join::new(room, guest.door.clone(), Some(offer))
        };
        let (reply, shard) = match self.command(home, Command::Join(Box::new(join)))? {
            Reply::Elsewhere { shard, mut join } => {
                join.home = Some(home as u16);
                let shard = usize::from(shard);
                (self.command(shard, Command::Join(join))?, shard)
            }
            reply => (reply, home),
        };
        match reply {
            Reply::Joined(joined) => Ok((joined, shard)),
            other => panic!("a join is answered by {other:?}"),
        }
    }

    /// What somebody would offer who never comes.
    pub(crate) fn offer_of(&self, guest: &Guest) -> String {
        let nobody = SocketAddr::from(([198, 51, 100, 66], 4000));
        let times = (self.now, self.now);
        let mut client = Client::new(nobody, self.server, times, 0, false, 1);
        client
            .offer(&guest.devices, guest.video_slots, guest.audio_slots)
            .sdp
    }

    /// Posts any text as an offer to a room's door; for those who should not be let in.
    pub(crate) fn post_offer(
        &mut self,
        room: &str,
        guest: &Guest,
        offer: &str,
    ) -> Result<Joined, CommandError> {
        let shard = self.room_tag(room) as usize % self.engines.len();
        let (joined, _) = self.post(shard, room, guest, offer.to_owned())?;
        self.ghosts.insert(joined.session);
        self.settle();
        Ok(joined)
    }

    /// `DELETE`: leaves in order.
    pub(crate) fn leave(&mut self, person: Person) {
        let session = self.session(person);
        let done = self.command_of(person, Command::Leave { session });
        assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
    }

    /// Somebody who has left is not run any more: in a story of hours there are thousands of them.
    pub(crate) fn forget(&mut self, person: Person) {
        let Person(place) = person;
        let left = self.guests[place].client.closed_because;
        assert!(left.is_some(), "somebody who is there is forgotten");
        self.guests.give_up(place);
        self.by_address.retain(|_, known| *known != place);
        self.by_session.retain(|_, known| *known != place);
    }

    /// `PUT subscriptions`.
    pub(crate) fn wish(&mut self, person: Person, wish: Wish) {
        let session = self.session(person);
        let subscribe = Command::Subscribe {
            session,
            if_match: None,
            wish,
        };
        match self.command_of(person, subscribe) {
            Ok(Reply::Subscribed {
                bindings,
                version,
                subscriptions_tag,
            }) => {
                // The reply says what the events said.
                let client = &mut self.guests[person.0].client;
                if let Some(seat) = &mut client.seat {
                    seat.subscriptions_tag = subscriptions_tag;
                }
                assert_eq!(version, client.roster.version);
                for binding in bindings.iter().filter(|binding| binding.track.is_some()) {
                    assert_eq!(client.roster.bindings.get(&binding.mid), Some(binding));
                }
            }
            other => panic!("a wish is answered by {other:?}"),
        }
    }

    /// `PUT tracks`: mutes a source of a kind, or no longer.
    pub(crate) fn mute(&mut self, person: Person, kind: Kind, muted: bool) {
        let session = self.session(person);
        let client = self.client(person);
        let source = client
            .sources
            .iter()
            .find(|source| source.format.kind() == kind);
        let mid = source.expect("a source of that kind").mid.to_string();
        let muted = BTreeMap::from([(mid, muted)]);
        let done = self.command_of(person, Command::Mute { session, muted });
        assert!(matches!(done, Ok(Reply::Done)), "{done:?}");
    }

    /// Opens one more data channel; somebody who has one needs no new offer for that.
    pub(crate) fn open(&mut self, person: Person, topic: &Topic) {
        self.client_mut(person).open(topic);
        self.wake(person);
    }

    /// Sends something on a data channel.
    pub(crate) fn send(&mut self, person: Person, label: &str, data: &[u8]) {
        self.client_mut(person).send(label, data);
        self.wake(person);
    }

    fn wake(&mut self, person: Person) {
        let now = self.now;
        self.client_mut(person).wake(now);
    }

    /// Closes the connection without a word to HTTP, as a page does that is closed.
    pub(crate) fn hang_up(&mut self, person: Person) {
        let now = self.now;
        self.client_mut(person).close(now);
    }

    /// Wishes a track in a video slot, at a height.
    pub(crate) fn pin(&mut self, person: Person, slot: usize, track: TrackId, height: Option<u32>) {
        let mid = self.video(person, slot).mid.clone();
        let size = height.map(|height| (height * 16 / 9, height));
        let pinned = SlotWish::Track {
            track,
            size,
            frame_rate: None,
            priority: 128,
            paused: false,
        };
        self.wish(
            person,
            Wish {
                slots: BTreeMap::from([(mid, pinned)]),
                rest_auto: true,
            },
        );
    }

    /// `PATCH` with a new offer: more devices, more slots.
    pub(crate) fn reoffer(
        &mut self,
        person: Person,
        devices: &[Device],
        video: usize,
        audio: usize,
    ) {
        let offered = self.client_mut(person).offer(devices, video, audio);
        self.send_offer(person, offered, devices.len());
    }

    /// `PATCH` with a new offer that stops a source.
    pub(crate) fn stop_source(&mut self, person: Person, source: usize) {
        let offered = self.client_mut(person).offer_to_stop(source);
        self.send_offer(person, offered, 0);
    }

    /// `PATCH` with an offer that restarts ICE.
    pub(crate) fn restart_ice_by_offer(&mut self, person: Person) {
        let offered = self.client_mut(person).offer_ice_restart();
        self.send_offer(person, offered, 0);
    }

    fn send_offer(&mut self, person: Person, offered: Offered, devices: usize) {
        let session = self.session(person);
        let if_match = self
            .client(person)
            .seat
            .as_ref()
            .map(|seat| seat.sdp_tag.clone());
        let reoffer = Command::Describe {
            session,
            if_match,
            description: offered.sdp.clone(),
        };
        match self.command_of(person, reoffer) {
            Ok(Reply::Reoffered {
                answer,
                ice_tag,
                sdp_tag,
            }) => {
                let ids = self.source_ids(devices);
                let now = self.now;
                let client = self.client_mut(person);
                client.accept(offered, &answer, &ids, now);
                if let Some(seat) = &mut client.seat {
                    (seat.ice_tag, seat.sdp_tag) = (ice_tag, sdp_tag);
                }
                self.note_ssrcs(person.0);
                self.settle();
            }
            other => panic!("a new offer is answered by {other:?}"),
        }
    }

    /// `PATCH` with a fragment that restarts ICE (RFC 9725 §4.3.3).
    pub(crate) fn restart_ice_by_fragment(&mut self, person: Person) {
        let offered = self.client_mut(person).offer_ice_restart();
        let (ufrag, pwd) = credentials(&offered.sdp);
        let fragment = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
        let session = self.session(person);
        let if_match = Some("*".to_owned());
        match self.command_of(
            person,
            Command::Trickle {
                session,
                if_match,
                fragment,
            },
        ) {
            Ok(Reply::IceRestarted { fragment, ice_tag }) => {
                let (new_ufrag, new_pwd) = credentials(&fragment);
                let (old_ufrag, old_pwd) = credentials(&self.client(person).answer);
                assert_ne!((&new_ufrag, &new_pwd), (&old_ufrag, &old_pwd));
                let now = self.now;
                let client = self.client_mut(person);
                let answer = client
                    .answer
                    .replace(&old_ufrag, &new_ufrag)
                    .replace(&old_pwd, &new_pwd);
                client.accept(offered, &answer, &[], now);
                let seat = client.seat.as_mut().expect("a guest who was let in");
                assert_ne!(seat.ice_tag, ice_tag, "a restart changes the tag");
                seat.ice_tag = ice_tag;
            }
            other => panic!("an ICE restart is answered by {other:?}"),
        }
    }

    /// A restart that the server hears of, and whose answer never reaches the guest.
    pub(crate) fn restart_ice_unheard(&mut self, person: Person) {
        let session = self.session(person);
        let salt = self.rng.u32(1_000_000_000..);
        let fragment = format!("a=ice-ufrag:u{salt}\r\na=ice-pwd:nobodyneverusesit{salt}\r\n");
        let restart = Command::Trickle {
            session,
            if_match: Some("*".to_owned()),
            fragment,
        };
        let answered = self.command_of(person, restart);
        assert!(matches!(answered, Ok(Reply::IceRestarted { .. })));
    }

    /// The NAT gives a guest another port; the old one leads nowhere.
    pub(crate) fn rebind(&mut self, person: Person) {
        let public = &mut self.guests[person.0].client.public;
        public.set_port(public.port() + 1);
        self.by_address.insert(*public, person.0);
    }

    /// Cuts (or mends) a guest's network in both directions.
    pub(crate) fn cut(&mut self, person: Person, is_cut: bool) {
        let house = &mut self.guests[person.0];
        (house.up.is_cut, house.down.is_cut) = (is_cut, is_cut);
    }

    /// What the threads have left of their time was measured.
    pub(crate) fn measure(&mut self, headroom: Headroom) {
        for shard in 0..self.engines.len() {
            let told = self.engines[shard].handle_command(Command::Headroom(headroom), self.now);
            assert!(matches!(told, Ok(Reply::VideoShare { .. })));
        }
        self.settle();
    }

    /// The server has a mistake that shows in somebody's session alone.
    pub(crate) fn panic_in(&mut self, person: Person) {
        let (session, now) = (self.session(person), self.now);
        let shard = self.shard(person);
        self.engines[shard].panic_in(session, now);
        self.settle();
    }

    /// A guest's machine stops dead: nothing comes from it any more.
    pub(crate) fn vanish(&mut self, person: Person) {
        self.cut(person, true);
        self.guests[person.0].is_asleep = true;
    }

    /// Somebody sends a datagram from anywhere, and it is taken for a guest's: as if the
    /// demultiplexer had been fooled.
    pub(crate) fn inject(&mut self, victim: Person, from: SocketAddr, contents: &[u8]) {
        let (ufrag, _) = credentials(&self.client(victim).answer);
        let session = session_of_ufrag(&ufrag).expect("a user fragment of ours");
        let local_ip = Some(self.server.ip());
        let datagram = Datagram {
            session,
            source: from,
            transport: Transport::Udp,
            local_ip,
            at: self.now,
            contents,
        };
        let shard = self.guests[victim.0].shard;
        self.engines[shard].handle_datagram(datagram, self.now);
        self.settle();
    }

    pub(crate) fn up(&mut self, person: Person) -> &mut Link {
        &mut self.guests[person.0].up
    }

    pub(crate) fn down(&mut self, person: Person) -> &mut Link {
        &mut self.guests[person.0].down
    }

    /// Somebody asks for keyframes as often as they can.
    pub(crate) fn ask_always(&mut self, person: Person) {
        for receiver in &mut self.client_mut(person).receivers {
            receiver.is_impatient = true;
        }
    }

    /// Says how loud somebody's microphone is.
    pub(crate) fn speak(&mut self, person: Person, level: i8) {
        for source in &mut self.client_mut(person).sources {
            if source.format.kind() == Kind::Audio {
                source.level = level;
            }
        }
    }

    fn source_ids(&mut self, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| {
                self.sources += 1;
                self.sources
            })
            .collect()
    }

    /// Reads the SSRCs of an answer's slots; those that were known stay as they were.
    fn note_ssrcs(&mut self, place: usize) {
        let house = &mut self.guests[place];
        for (mid, ssrc, rtx) in ssrcs_of(&house.client.answer) {
            let known = house.ssrcs.entry(mid.clone()).or_insert((ssrc, rtx));
            assert_eq!(*known, (ssrc, rtx), "slot {mid} keeps its SSRCs");
            self.wire.declare(Person(place), ssrc, false);
            if let Some(rtx) = rtx {
                self.wire.declare(Person(place), rtx, true);
            }
        }
    }
}

/// User fragment and password of a description or fragment.
fn credentials(sdp: &str) -> (String, String) {
    let value = |name: &str| {
        let line = sdp.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in\n{sdp}"))
            .to_owned()
    };
    (value("a=ice-ufrag:"), value("a=ice-pwd:"))
}

/// MID, SSRC and RTX SSRC of every m-line that is sent on.
fn ssrcs_of(answer: &str) -> Vec<(String, u32, Option<u32>)> {
    let number = |text: &str| {
        text.split([' ', '\r'])
            .next()
            .and_then(|text| text.parse().ok())
    };
    let mut found = Vec::new();
    for section in answer.split("\nm=").skip(1) {
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:"));
        let first = section
            .lines()
            .find_map(|line| number(line.strip_prefix("a=ssrc:")?));
        let group = section
            .lines()
            .find_map(|line| line.strip_prefix("a=ssrc-group:FID "));
        let rtx = group.and_then(|group| number(group.split(' ').nth(1)?));
        let main = group.and_then(number).or(first);
        if let (Some(mid), Some(ssrc)) = (mid, main) {
            found.push((mid.trim().to_owned(), ssrc, rtx));
        }
    }
    found
}

/// An offer of somebody else's certificate.
fn with_another_fingerprint(offer: &str) -> String {
    let name = "a=fingerprint:sha-256 ";
    let lines = offer.lines().map(|line| match line.strip_prefix(name) {
        Some(digits) => {
            let (first, rest) = digits.split_at(2);
            let other = if first == "00" { "01" } else { "00" };
            format!("{name}{other}{rest}\r\n")
        }
        None => format!("{line}\r\n"),
    });
    lines.collect()
}
