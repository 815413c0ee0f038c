//! Stories and properties of sharing an estimate.

use proptest::prelude::*;

use super::*;

fn camera() -> [Bitrate; 3] {
    [150, 500, 1_500].map(Bitrate::kbps)
}

fn demand(slot: u16, kind: Kind, layers: &[Bitrate]) -> SlotDemand<'_> {
    SlotDemand {
        slot,
        kind,
        priority: 0,
        height: None,
        is_speaker: false,
        current: None,
        may_rise: true,
        is_kept: false,
        layers,
    }
}

fn share(kbps: u64, demands: &[SlotDemand<'_>]) -> Vec<Choice> {
    allocate(Bitrate::kbps(kbps), demands).choices
}

use Choice::{Layer, Paused};

#[test]
fn sound_comes_first_and_pictures_pause_when_there_is_only_room_for_it() {
    let (voice, camera) = ([Bitrate::kbps(40)], camera());
    let demands = [
        demand(0, Kind::Video, &camera),
        demand(1, Kind::Audio, &voice),
    ];
    assert_eq!(share(120, &demands), [Paused, Layer(0)]);
    assert_eq!(share(20, &demands), [Paused, Layer(0)], "the first always");
    assert_eq!(share(220, &demands), [Layer(0), Layer(0)]);
}

#[test]
fn a_picture_of_which_nothing_proves_that_it_does_not_fit_goes_on_small() {
    let (voice, camera) = ([Bitrate::kbps(40)], camera());
    let mut kept = demand(0, Kind::Video, &camera);
    kept.is_kept = true;
    let demands = [
        demand(1, Kind::Video, &camera),
        kept,
        demand(2, Kind::Audio, &voice),
    ];
    assert_eq!(share(120, &demands), [Paused, Layer(0), Layer(0)]);
}

#[test]
fn everybody_is_seen_before_anybody_is_seen_well() {
    let camera = camera();
    let mut demands: Vec<_> = (0..4)
        .map(|slot| demand(slot, Kind::Video, &camera))
        .collect();
    demands[2].is_speaker = true;
    assert_eq!(share(900, &demands), [Layer(0); 4]);
    assert_eq!(
        share(1_200, &demands),
        [Layer(0), Layer(0), Layer(1), Layer(0)]
    );
}

#[test]
fn what_matters_most_is_raised_first_and_equals_are_raised_alike() {
    let camera = camera();
    let mut demands: Vec<_> = (0..3)
        .map(|slot| demand(slot, Kind::Video, &camera))
        .collect();
    assert_eq!(share(1_700, &demands), [Layer(1), Layer(1), Layer(1)]);
    demands[1].priority = 5;
    assert_eq!(share(2_200, &demands), [Layer(0), Layer(2), Layer(0)]);
}

#[test]
fn of_equals_the_largest_is_raised_first() {
    let camera = camera();
    let mut demands: Vec<_> = (0..2)
        .map(|slot| demand(slot, Kind::Video, &camera))
        .collect();
    demands[0].height = Some(180);
    demands[1].height = Some(720);
    assert_eq!(share(750, &demands), [Layer(0), Layer(1)]);
}

#[test]
fn a_layer_that_flows_stays_where_it_would_not_have_been_begun() {
    let camera = camera();
    let mut only = demand(0, Kind::Video, &camera);
    assert_eq!(share(520, &[only.clone()]), [Layer(0)]);
    only.current = Some(1);
    assert_eq!(share(520, &[only.clone()]), [Layer(1)]);
    assert_eq!(share(499, &[only.clone()]), [Layer(0)]);
    only.may_rise = false;
    assert_eq!(share(5_000, &[only]), [Layer(1)]);
}

#[test]
fn a_probe_aims_at_the_next_step_that_does_not_fit() {
    let camera = camera();
    let demands = [demand(0, Kind::Video, &camera)];
    let allocation = allocate(Bitrate::kbps(300), &demands);
    assert_eq!(allocation.next_step, Some(Bitrate::kbps(550)));
    assert_eq!(allocation.total, Bitrate::kbps(150));
    assert_eq!(allocate(Bitrate::kbps(5_000), &demands).next_step, None);
}

prop_compose! {
    fn any_layers(most: usize)(
        steps in prop::collection::vec(20_u64..1_500, 0..=most),
    ) -> Vec<Bitrate> {
        let mut kbps = 0;
        steps
            .into_iter()
            .map(|more| {
                kbps += more;
                Bitrate::kbps(kbps)
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
struct Owned {
    is_audio: bool,
    priority: u8,
    height: Option<u16>,
    is_speaker: bool,
    current: Option<usize>,
    may_rise: bool,
    is_kept: bool,
    layers: Vec<Bitrate>,
}

prop_compose! {
    fn any_demand()(
        is_audio in any::<bool>(),
        layers in any_layers(4),
        priority in 0_u8..3,
        height in prop::option::of(90_u16..1_100),
        is_speaker in any::<bool>(),
        current in prop::option::of(0_usize..4),
        may_rise in any::<bool>(),
        is_kept in any::<bool>(),
    ) -> Owned {
        let layers = if is_audio { layers.into_iter().take(1).collect() } else { layers };
        let current = current.filter(|current| *current < layers.len());
        Owned { is_audio, priority, height, is_speaker, current, may_rise, is_kept, layers }
    }
}

fn borrow(owned: &[Owned]) -> Vec<SlotDemand<'_>> {
    owned
        .iter()
        .zip(0..)
        .map(|(owned, slot)| SlotDemand {
            slot,
            kind: if owned.is_audio {
                Kind::Audio
            } else {
                Kind::Video
            },
            priority: owned.priority,
            height: owned.height,
            is_speaker: owned.is_speaker,
            current: owned.current,
            may_rise: owned.may_rise,
            is_kept: owned.is_kept,
            layers: &owned.layers,
        })
        .collect()
}

fn cost(demand: &SlotDemand<'_>, choice: Choice) -> u64 {
    match choice {
        Choice::Layer(layer) => demand.layers[layer].as_bps(),
        _ => 0,
    }
}

/// From nothing upwards.
fn level(choice: Choice) -> usize {
    match choice {
        Choice::Layer(layer) => layer + 1,
        _ => 0,
    }
}

proptest! {
    #[test]
    fn never_more_than_the_estimate_but_for_the_first_sound_and_what_is_kept(
        owned in prop::collection::vec(any_demand(), 0..12),
        kbps in 0_u64..20_000,
    ) {
        let demands = borrow(&owned);
        let allocation = allocate(Bitrate::kbps(kbps), &demands);
        let total: u64 = demands
            .iter()
            .zip(&allocation.choices)
            .map(|(demand, choice)| cost(demand, *choice))
            .sum();
        prop_assert_eq!(total, allocation.total.as_bps());
        let sounds = demands.iter().filter(|demand| demand.kind == Kind::Audio);
        let first_sound = sounds
            .filter_map(|demand| demand.layers.first())
            .map(|layer| layer.as_bps())
            .max()
            .unwrap_or(0);
        let kept = demands.iter().filter(|demand| demand.is_kept);
        let kept: u64 = kept
            .filter_map(|demand| demand.layers.first())
            .map(|layer| layer.as_bps())
            .sum();
        prop_assert!(total <= (kbps * 1_000).max(first_sound) + kept);
    }

    #[test]
    fn a_picture_is_paused_only_if_its_cheapest_layer_does_not_fit(
        owned in prop::collection::vec(any_demand(), 0..12),
        kbps in 0_u64..20_000,
    ) {
        let demands = borrow(&owned);
        let allocation = allocate(Bitrate::kbps(kbps), &demands);
        for (demand, choice) in demands.iter().zip(&allocation.choices) {
            prop_assert_eq!(*choice == Choice::Nothing, demand.layers.is_empty());
            if *choice == Choice::Paused {
                let total = allocation.total.as_bps() + demand.layers[0].as_bps();
                prop_assert!(total + total / 10 >= kbps * 1_000, "{total} of {kbps}");
            }
        }
    }

    #[test]
    fn pictures_never_take_what_sound_needs(
        owned in prop::collection::vec(any_demand(), 0..12),
        kbps in 0_u64..20_000,
    ) {
        let demands = borrow(&owned);
        let with_pictures = allocate(Bitrate::kbps(kbps), &demands).choices;
        let sounds: Vec<_> = demands
            .iter()
            .filter(|demand| demand.kind == Kind::Audio)
            .cloned()
            .collect();
        let alone = allocate(Bitrate::kbps(kbps), &sounds).choices;
        let heard: Vec<_> = demands
            .iter()
            .zip(with_pictures)
            .filter(|(demand, _)| demand.kind == Kind::Audio)
            .map(|(_, choice)| choice)
            .collect();
        prop_assert_eq!(heard, alone);
    }

    #[test]
    fn a_better_path_takes_nothing_away_but_for_somebody_else(
        owned in prop::collection::vec(any_demand(), 0..12),
        kbps in 0_u64..20_000,
        more in 0_u64..5_000,
    ) {
        let demands = borrow(&owned);
        let before = allocate(Bitrate::kbps(kbps), &demands).choices;
        let after = allocate(Bitrate::kbps(kbps + more), &demands).choices;
        let gains = |place: usize| level(after[place]) > level(before[place]);
        for (place, demand) in demands.iter().enumerate() {
            if level(after[place]) < level(before[place]) {
                // Who matters as much or more, or was not there at all.
                let excused = demands.iter().enumerate().any(|(other, theirs)| {
                    gains(other) && (rank(theirs) >= rank(demand) || level(before[other]) == 0)
                });
                prop_assert!(excused, "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn the_order_of_slots_does_not_matter(
        owned in prop::collection::vec(any_demand(), 0..12),
        kbps in 0_u64..20_000,
        turn in 0_usize..12,
    ) {
        let demands = borrow(&owned);
        let choices = allocate(Bitrate::kbps(kbps), &demands).choices;
        let mut turned: Vec<_> = demands.iter().cloned().zip(choices).collect();
        if !turned.is_empty() {
            let by = turn % turned.len();
            turned.rotate_left(by);
        }
        let (demands, expected): (Vec<_>, Vec<_>) = turned.into_iter().unzip();
        prop_assert_eq!(allocate(Bitrate::kbps(kbps), &demands).choices, expected);
    }

    #[test]
    fn what_was_chosen_is_chosen_again(
        owned in prop::collection::vec(any_demand(), 0..12),
        kbps in 0_u64..20_000,
    ) {
        let mut demands = borrow(&owned);
        let first = allocate(Bitrate::kbps(kbps), &demands).choices;
        for (demand, choice) in demands.iter_mut().zip(&first) {
            demand.current = match choice {
                Choice::Layer(layer) => Some(*layer),
                _ => None,
            };
        }
        prop_assert_eq!(allocate(Bitrate::kbps(kbps), &demands).choices, first);
    }
}
