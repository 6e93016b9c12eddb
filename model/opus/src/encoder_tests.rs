use super::*;

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let dred = |duration_10ms| Protection::Dred { duration_10ms };
    assert!(matches!(OpusEncoder::new(5_999, Protection::None), Err(OpusError::Bitrate { asked: 5_999, .. })));
    assert!(matches!(OpusEncoder::new(48_001, Protection::Fec), Err(OpusError::Bitrate { .. })));
    assert!(matches!(OpusEncoder::new(u32::MAX, Protection::Fec), Err(OpusError::Bitrate { .. })));
    assert!(matches!(OpusEncoder::new(24_000, dred(3)), Err(OpusError::Redundancy { asked: 3, least: 4, most: 104 })));
    assert!(matches!(OpusEncoder::new(24_000, dred(105)), Err(OpusError::Redundancy { .. })));
    let mut encoder = OpusEncoder::new(9_000, Protection::None).unwrap();
    assert_eq!(encoder.set_bitrate(0), Err(OpusError::Bitrate { asked: 0, least: 6_000, most: 48_000 }));
    assert_eq!(encoder.set_loss(101), Err(OpusError::Loss(101)));
    assert_eq!(encoder.bitrate(), 9_000);
    let short = OpusError::FrameLength { expected: 320, found: 319 };
    assert_eq!(encoder.push(&[0.0; 319]), Err(short));
    let mut audio = [0.0; FRAME_SAMPLES];
    audio[7] = f32::NAN;
    assert_eq!(encoder.push(&audio), Err(OpusError::NotFinite("the audio to be encoded")));
    audio[7] = f32::INFINITY;
    assert_eq!(encoder.push(&audio), Err(OpusError::NotFinite("the audio to be encoded")));
    audio[7] = f32::MAX;
    assert!(encoder.push(&audio).is_ok());
}

/// Against what libopus 1.6.1 was seen to do with speech.
#[test]
fn protection_is_asked_for_only_where_libopus_gives_it_whole() {
    assert!(!copies_keep_the_band(21_000, 20));
    assert!(copies_keep_the_band(21_500, 20));
    assert!(!redundancy_pays(20_000, 18));
    assert!(redundancy_pays(20_000, 19));
    assert!(!redundancy_pays(24_000, 6));
    assert!(redundancy_pays(24_000, 8));
    for bitrate in [6_000, 9_000, 12_000, 16_000, 19_000] {
        assert!((0..=100).all(|loss| !redundancy_pays(bitrate, loss)), "{bitrate}");
    }
    assert!(redundancy_pays(48_000, 100));
    assert!(!redundancy_pays(48_000, 0));
}
