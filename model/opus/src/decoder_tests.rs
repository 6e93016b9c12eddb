use super::covers;

#[test]
fn a_frame_is_covered_if_its_later_half_is() {
    // One piece of redundancy tells 15 ms, four 135 ms, as libopus counts.
    assert!(covers(&(0..240), 1));
    assert!(!covers(&(0..159), 1));
    assert!(!covers(&(0..240), 2));
    assert!(covers(&(0..2_160), 7));
    assert!(!covers(&(0..2_160), 8));
    // What lies between the redundancy and the packet was silence, of which nothing is told.
    assert!(!covers(&(640..2_000), 2));
    assert!(covers(&(640..2_000), 3));
    assert!(!covers(&(0..2_160), 0));
    assert!(!covers(&(0..2_160), u32::MAX));
    assert!(!covers(&(0..0), 1));
}
