//! Files of the bundle that ships, written and read again.

use std::io::Cursor;

use parlo_archive::{Archive, FileState, Options, Writer, coder};
use parlo_model::Bundle;
use parlo_tokens::TokenFrame;

#[test]
fn what_is_written_is_read_by_time() {
    let bundle = Bundle::open(&parlo_model::locate_bundle(None).unwrap()).unwrap();
    let frames: Vec<TokenFrame> =
        (0..1234_u16).map(|n| TokenFrame::new(&[n % 200, n % 7, n % 11, 3, 2, 1]).unwrap()).collect();
    for plain in [true, false] {
        let options = Options { plain, ..Options::default() };
        let mut writer = Writer::begin(Vec::new(), &bundle, &options).unwrap();
        frames.iter().for_each(|frame| writer.push(frame).unwrap());
        let bytes = writer.finish(Some(1233 * 320 + 7)).unwrap();
        let mut archive = Archive::open(Cursor::new(bytes)).unwrap();
        assert_eq!((archive.state(), archive.samples()), (&FileState::Whole, Some(1233 * 320 + 7)));
        assert_eq!((archive.duration_ms(), archive.frames(0)), (24_680, 1234));
        let mut coder = coder(&bundle, archive.header().tokens.coding).unwrap();
        let mut out = Vec::new();
        archive.read(&mut coder, 0, 9_990, 10_041, &mut out).unwrap();
        assert_eq!(out.iter().map(|frame| frame.time_ms).collect::<Vec<_>>(), [10_000.0, 10_020.0, 10_040.0]);
        assert_eq!(out.iter().map(|frame| frame.codes.unwrap()).collect::<Vec<_>>(), frames[500..503]);
    }
}
