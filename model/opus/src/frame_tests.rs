use super::*;

#[test]
fn a_frame_lasts_20_ms() {
    // RFC 6716 table 2: configurations of 20 ms, one frame.
    for configuration in [1, 5, 9, 13, 15, 19, 23, 27, 31] {
        assert!(OpusFrame::new(&[configuration << 3, 1, 2]).is_ok(), "{configuration}");
    }
    for configuration in [0, 2, 3, 12, 14, 16, 18, 30] {
        assert_eq!(OpusFrame::new(&[configuration << 3, 1, 2]), Err(OpusError::Duration), "{configuration}");
    }
    // Two of 10 ms; eight of 2.5 ms; none; a count that is cut off.
    assert!(OpusFrame::new(&[1, 1, 2]).is_ok());
    assert!(OpusFrame::new(&[16 << 3 | 3, 8]).is_ok());
    assert_eq!(OpusFrame::new(&[9 << 3 | 3, 0]), Err(OpusError::Duration));
    assert_eq!(OpusFrame::new(&[9 << 3 | 3]), Err(OpusError::Duration));
}

#[test]
fn a_frame_has_1_to_255_bytes() {
    let mut packet = [9 << 3; 256];
    packet[255] = 7;
    assert_eq!(OpusFrame::new(&[]), Err(OpusError::Bytes { found: 0, most: 255 }));
    assert_eq!(OpusFrame::new(&packet), Err(OpusError::Bytes { found: 256, most: 255 }));
    assert_eq!(OpusFrame::new(&packet[..1]).unwrap().as_bytes(), &packet[..1]);
    assert_eq!(OpusFrame::new(&packet[..255]).unwrap().as_bytes(), &packet[..255]);
    assert_eq!(size_of::<OpusFrame>(), 256);
}

#[test]
fn its_debug_is_short() {
    let frame = OpusFrame::new(&[9 << 3; 60]).unwrap();
    assert_eq!(format!("{frame:?}"), "OpusFrame(60 bytes, 0x48..)");
}
