//! The injected carrier is found where it is, nothing else is, and limits hold.
use super::*;

fn search(first_drift: u32, drifts: u32) -> Search {
    Search { first_drift, drifts }
}

#[test]
fn finds_the_injected_carrier_with_the_expected_bytes() {
    let recording = example_inputs::recording();
    let found: Vec<Found> = example_inputs::seti()
        .iter()
        .map(|line| find_spikes(serde_json::from_str(line).unwrap(), &recording).unwrap())
        .collect();
    let best = found.iter().flat_map(|f| &f.spikes).max_by_key(|spike| spike.power).unwrap();
    let injected = (example_inputs::SIGNAL_BIN as usize, example_inputs::SIGNAL_DRIFT);
    assert_eq!((best.bin, best.drift), injected);
    // Rates that miss by a few bins still gather part of the carrier's power.
    let strays = found.iter().flat_map(|f| &f.spikes).filter(|s| s.drift.abs_diff(best.drift) > 12);
    assert_eq!(strays.count(), 0);
    let outputs = found.iter().map(|found| serde_json::to_vec(found).unwrap());
    example_digest::assert_expected(env!("CARGO_MANIFEST_DIR"), outputs);
}

#[test]
fn a_steady_tone_is_one_spike_of_full_power() {
    let tone: Vec<u8> = (0..16)
        .flat_map(|n| match n % 4 {
            0 => [100_i8, 0],
            1 => [0, 100],
            2 => [-100, 0],
            _ => [0, -100],
        })
        .map(i8::cast_unsigned)
        .collect();
    // All power in one of 16 bins is 16 times the mean: below the threshold of 20.
    assert_eq!(find_spikes(search(0, 1), &tone).unwrap().spikes, []);
    let longer = tone.repeat(4);
    let spike = Spike { bin: 16, drift: 0, power: 64 };
    let spikes = find_spikes(search(0, 1), &longer).unwrap().spikes;
    assert_eq!((spikes.len(), spikes[0].bin), (1, spike.bin));
    assert!(spikes[0].power.abs_diff(spike.power) <= 1);
}

#[test]
fn silence_is_no_spike() {
    assert_eq!(find_spikes(search(0, 2), &[0; 64]).unwrap().spikes, []);
}

#[test]
fn ranges_outside_the_limits_are_refused() {
    for (first, drifts) in [(0, 0), (0, MAX_DRIFTS + 1), (MAX_DRIFT, 2), (u32::MAX, 1)] {
        let refused = find_spikes(search(first, drifts), &[0; 64]);
        assert!(matches!(refused, Err(SearchError::Drifts { .. })), "{first} {drifts}");
    }
    assert!(find_spikes(search(MAX_DRIFT, 1), &[0; 64]).is_ok());
}

#[test]
fn recordings_of_impossible_length_are_refused() {
    for bytes in [0, 30, 33, 96] {
        let refused = find_spikes(search(0, 1), &vec![0; bytes]);
        assert!(matches!(refused, Err(SearchError::Length { bytes: b }) if b == bytes));
    }
    assert!(search_file(search(0, 1)).unwrap_err().to_string().contains(RECORDING));
}
