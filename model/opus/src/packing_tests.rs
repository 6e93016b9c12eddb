use proptest::prelude::*;

use super::*;

fn frame(fill: u8, length: usize) -> OpusFrame {
    let mut bytes = [fill; FRAME_BYTES_MOST];
    // One frame of 20 ms, wideband.
    bytes[0] = 9 << 3;
    OpusFrame::new(&bytes[..length]).unwrap()
}

fn frames() -> impl Strategy<Value = Vec<OpusFrame>> {
    let one = (any::<u8>(), 1..=FRAME_BYTES_MOST).prop_map(|(fill, length)| frame(fill, length));
    proptest::collection::vec(one, 0..13)
}

proptest! {
    #[test]
    fn what_is_packed_comes_out(frames in frames()) {
        let mut payload = vec![1, 2, 3];
        pack(&frames, &mut payload);
        prop_assert_eq!(&payload[..3], [1, 2, 3]);
        let mut out = vec![frame(0, 1)];
        prop_assert_eq!(unpack(&payload[3..], frames.len(), &mut out), Ok(()));
        prop_assert_eq!(&out[1..], &frames[..]);
    }

    #[test]
    fn any_bytes_are_refused_or_are_what_pack_writes(
        payload in proptest::collection::vec(prop_oneof![Just(72), 0..8_u8, any::<u8>()], 0..600),
        count in 0..9_usize,
    ) {
        let mut out = vec![frame(0, 1)];
        match unpack(&payload, count, &mut out) {
            Ok(()) => {
                let mut again = Vec::new();
                pack(&out[1..], &mut again);
                prop_assert_eq!(again, payload);
                prop_assert_eq!(out.len(), 1 + count);
            }
            Err(_) => prop_assert_eq!(out, vec![frame(0, 1)]),
        }
    }

    #[test]
    fn a_payload_cut_anywhere_is_refused_or_has_a_shorter_last_frame(frames in frames(), cut: prop::sample::Index) {
        prop_assume!(!frames.is_empty());
        let mut payload = Vec::new();
        pack(&frames, &mut payload);
        let mut out = Vec::new();
        if unpack(&payload[..cut.index(payload.len())], frames.len(), &mut out).is_ok() {
            prop_assert_eq!(&out[..out.len() - 1], &frames[..frames.len() - 1]);
        }
    }
}

#[test]
fn a_length_takes_one_byte_up_to_251_and_none_for_the_last_frame() {
    let sized = |lengths: &[usize]| {
        let frames: Vec<_> = lengths.iter().map(|&length| frame(3, length)).collect();
        let mut payload = Vec::new();
        pack(&frames, &mut payload);
        payload.len() - lengths.iter().sum::<usize>()
    };
    assert_eq!([sized(&[]), sized(&[255]), sized(&[251, 9]), sized(&[252, 9]), sized(&[40, 255, 9])], [0, 0, 1, 2, 3]);
}

#[test]
fn damage_is_told_and_takes_no_memory() {
    let mut out = Vec::new();
    let mut reason = |payload: &[u8], count| match unpack(payload, count, &mut out) {
        Err(OpusError::Packing { reason, .. }) => reason,
        Err(OpusError::Duration) => "duration",
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&[72], 0), "none are announced");
    assert_eq!(reason(&[], 1), "there are too few");
    assert_eq!(reason(&[1; 1_000], usize::MAX), "there are too few");
    assert_eq!(reason(&[2, 72, 72], 2), "the last frame is empty, or too long");
    assert_eq!(reason(&[3, 72, 72], 2), "there are too few");
    assert_eq!(reason(&[0, 72, 72], 2), "a length is cut off, or not possible");
    assert_eq!(reason(&[252, 1, 72, 72], 2), "a length is cut off, or not possible");
    assert_eq!(reason(&[72; 256], 1), "the last frame is empty, or too long");
    assert_eq!(reason(&[1, 72, 0], 2), "duration");
    assert!(out.capacity() <= 4, "{}", out.capacity());
}
