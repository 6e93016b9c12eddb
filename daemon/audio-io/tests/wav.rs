//! WAV as programs write it who did not know its length, or died; counted by what was put in.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use proptest::prelude::*;
use support::*;

const FRAMES: usize = 8_000;

fn data() -> Vec<u8> {
    pcm(&voice(FRAMES, 1))
}

/// A mono file of 16 bits with these lengths in its header, and this behind the sound.
fn file(riff_size: Option<u32>, data_size: u32, behind: &[u8]) -> Vec<u8> {
    riff(b"RIFF", &[fmt(1, 1, 16_000, 16), chunk(b"data", &data(), data_size), behind.to_vec()], riff_size)
}

fn list(text: &[u8]) -> Vec<u8> {
    chunk(b"LIST", &[b"INFOISFT", &(text.len() as u32).to_le_bytes()[..], text].concat(), 12 + text.len() as u32)
}

#[test]
fn every_sample_is_read_whatever_the_lengths_say() {
    let right = 2 * FRAMES as u32;
    let riff_right = right + 36;
    let whole = [
        ("right", file(None, right, &[])),
        ("RIFF 8 short", file(Some(riff_right - 8), right, &[])),
        ("RIFF as the file", file(Some(riff_right + 8), right, &[])),
        ("RIFF 0", file(Some(0), right, &[])),
        ("data 0", file(Some(riff_right), 0, &[])),
        ("both 0", file(Some(0), 0, &[])),
        ("RIFF 36, data 0", file(Some(36), 0, &[])),
        ("ffmpeg's pipe", file(Some(u32::MAX), u32::MAX, &[])),
        ("sox's pipe", file(Some(0x7FFF_F024), 0x7FFF_F000, &[])),
        ("arecord's pipe", file(Some(0x8000_0024), 0x8000_0000, &[])),
        ("data 4 GiB, RIFF right", file(Some(riff_right), u32::MAX, &[])),
        ("a list behind", file(None, right, &list(b"hello\0"))),
        ("a list behind that is cut", file(None, right, &list(b"hello\0")[..12])),
        (
            "an unpadded list before",
            riff(b"RIFF", &[list(b"hello"), fmt(1, 1, 16_000, 16), chunk(b"data", &data(), right)], None),
        ),
        ("ID3v1 behind", file(None, right, &id3v1())),
        ("ID3v1 behind no length", file(Some(0), 0, &id3v1())),
        ("APE behind", file(None, right, &ape(true))),
        ("ID3v2 before", [id3v2(300_000), file(None, right, &[])].concat()),
        ("zeros before", [vec![0; 16], file(None, right, &[])].concat()),
        ("zeros behind", file(None, right, &[0; 4096])),
    ];
    for (name, bytes) in whole {
        let found = read(&bytes);
        assert_eq!((found.frames(), found.told()), (FRAMES, String::new()), "{name}");
    }
    // RF64 and BW64 have the length in a chunk of their own.
    for magic in [b"RF64", b"BW64"] {
        let long = [&u64::from(riff_right + 36).to_le_bytes()[..], &u64::from(right).to_le_bytes(), &[0; 12]].concat();
        let parts =
            [chunk(b"ds64", &long, 28), fmt(1, 1, 16_000, 16), chunk(b"data", &data(), u32::MAX), list(b"hello\0")];
        let found = read(&riff(magic, &parts, Some(u32::MAX)));
        assert_eq!((found.frames(), found.told()), (FRAMES, String::new()));
    }
    // Twice as much where two are joined, or the sound is in two pieces.
    let joined = [file(None, right, &list(b"x\0")), file(None, right, &[])].concat();
    assert_eq!((read(&joined).frames(), read(&joined).told()), (2 * FRAMES, String::new()));
    let two = file(None, right, &chunk(b"data", &data(), right));
    assert_eq!(read(&two).frames(), 2 * FRAMES);
}

#[test]
fn what_is_missing_or_too_much_is_told() {
    let right = 2 * FRAMES as u32;
    let long = file(Some(right * 1000), right * 999, &[]);
    assert_eq!(read(&long).frames(), FRAMES);
    assert!(
        read(&long).told().contains("0.5 s in: it breaks off; its header promises 499.5 s"),
        "{}",
        read(&long).told()
    );
    let short = file(Some(right + 36), right + 2, &[]);
    assert!((read(&short).frames(), read(&short).faults.places()) == (FRAMES, 1));
    // A program that died: both lengths are of some time before.
    let small = file(Some(right / 2 + 36), right / 2, &[]);
    assert_eq!((read(&small).frames(), read(&small).faults.places()), (FRAMES, 1), "{}", read(&small).told());
    // Half a sample is none.
    let odd = file(None, right + 1, &[7]);
    assert_eq!((read(&odd).frames(), read(&odd).told()), (FRAMES, String::new()));
    // Nothing but a header.
    let none = riff(b"RIFF", &[fmt(1, 1, 16_000, 16), chunk(b"data", &[], 0), list(b"hello\0")], None);
    assert!(try_read(&none).err().unwrap().contains("not a single sample"));
}

#[test]
fn samples_of_every_kind_have_their_value() {
    let wave = voice(2_000, 3);
    let near = |bytes: &[u8], step: f32, name: &str| {
        let found = read(bytes);
        assert_eq!(found.frames(), wave.len(), "{name}");
        let worst = found.samples.iter().zip(&wave).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= step, "{name}: {worst}");
    };
    let of = |tag, bits, body: Vec<u8>| {
        riff(b"RIFF", &[fmt(tag, 1, 16_000, bits), chunk(b"data", &body, body.len() as u32)], None)
    };
    let scaled = |bits: u32| wave.iter().map(move |s| (f64::from(*s) * f64::from((1_u32 << (bits - 1)) - 1)) as i32);
    near(&of(1, 8, scaled(8).map(|v| (v + 128) as u8).collect()), 0.02, "8 bits");
    near(&of(1, 16, scaled(16).flat_map(|v| (v as i16).to_le_bytes()).collect()), 1e-4, "16 bits");
    near(&of(1, 24, scaled(24).flat_map(|v| v.to_le_bytes()[..3].to_vec()).collect()), 1e-6, "24 bits");
    near(&of(1, 32, scaled(32).flat_map(i32::to_le_bytes).collect()), 1e-6, "32 bits");
    near(&of(3, 32, wave.iter().flat_map(|s| s.to_le_bytes()).collect()), 0.0, "float");
    near(&of(3, 64, wave.iter().flat_map(|s| f64::from(*s).to_le_bytes()).collect()), 0.0, "double");
    // Big-endian.
    let mut rifx = b"RIFX\0\0\0\0WAVEfmt \0\0\0\x10\0\x01\0\x01\0\0\x3e\x80\0\0\x7d\0\0\x02\0\x10data".to_vec();
    rifx.extend((2 * wave.len() as u32).to_be_bytes());
    rifx.extend(scaled(16).flat_map(|v| (v as i16).to_be_bytes()));
    near(&rifx, 1e-4, "RIFX");
    // G.711: the loudest and the softest of each law (ITU-T G.711, tables 1 and 2).
    let law = |tag, bytes: &[u8]| read(&of(tag, 8, bytes.to_vec())).samples;
    assert_eq!(law(7, &[0x00, 0x80, 0xFF, 0x7F]), [-32_124.0, 32_124.0, 0.0, 0.0].map(|v| v / 32_768.0));
    assert_eq!(law(6, &[0xAA, 0x2A, 0xD5, 0x55]), [32_256.0, -32_256.0, 8.0, -8.0].map(|v| v / 32_768.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn chunks_in_any_order_and_number_hide_no_sample(
        before in prop::collection::vec((0..4_usize, 0..70_usize), 0..4), after in prop::collection::vec((0..4_usize, 0..70_usize), 0..4),
        frames in 20..3000_usize, channels in 1..4_u16, padded: bool,
    ) {
        let odd = |&(kind, size): &(usize, usize)| {
            let name = [b"JUNK", b"bext", b"cue ", b"id3 "][kind];
            let mut bytes = chunk(name, &vec![0x41; size], size as u32);
            if size % 2 == 1 && padded {
                bytes.push(0);
            }
            bytes
        };
        let body = pcm(&voice(frames * usize::from(channels), 5));
        let mut parts: Vec<Vec<u8>> = before.iter().map(odd).collect();
        parts.push(fmt(1, channels, 16_000, 16));
        parts.push(chunk(b"data", &body, body.len() as u32));
        parts.extend(after.iter().map(odd));
        let found = read(&riff(b"RIFF", &parts, None));
        prop_assert_eq!((found.frames(), found.told()), (frames, String::new()));
    }

    #[test]
    fn any_header_is_sound_or_a_sentence(mut bytes in prop::collection::vec(any::<u8>(), 0..300), riffs: bool) {
        if riffs && bytes.len() > 40 {
            bytes[..4].copy_from_slice(b"RIFF");
            bytes[8..16].copy_from_slice(b"WAVEfmt ");
        }
        let _ = try_read(&bytes);
    }
}
