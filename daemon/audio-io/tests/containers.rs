//! MP3, FLAC and Ogg as the world writes them: samples out against a count of the test's own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use proptest::prelude::*;
use support::*;

/// Frames of an MP3 stream, by their own headers; MPEG 2, layer III, 24 kHz, as the fixture is.
fn mp3_frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while at + 4 <= bytes.len() && bytes[at] == 0xFF && bytes[at + 1] & 0xFE == 0xF2 {
        let kbps = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160][usize::from(bytes[at + 2] >> 4)];
        let size = 72 * kbps * 1000 / 24_000 + usize::from(bytes[at + 2] >> 1 & 1);
        frames.push(&bytes[at..(at + size).min(bytes.len())]);
        at += size;
    }
    frames
}

/// Samples of an MP3 file by LAME's tag in its first frame: all frames, less what the encoder put before and behind.
fn mp3_samples(bytes: &[u8]) -> usize {
    let frames = mp3_frames(bytes);
    let lame = frames[0].windows(4).position(|w| w == b"LAME" || w == b"Lavc" || w == b"Lavf").unwrap();
    let trim = &frames[0][lame + 21..lame + 24];
    let delay = usize::from(trim[0]) << 4 | usize::from(trim[1]) >> 4;
    let padding = usize::from(trim[1] & 15) << 8 | usize::from(trim[2]);
    (frames.len() - 1) * 576 - delay - padding
}

/// The fixture without the tag that it begins with.
fn plain_mp3() -> Vec<u8> {
    let bytes = fixture("speech.mp3");
    let size = bytes[6..10].iter().fold(0, |sum, &byte| sum << 7 | usize::from(byte));
    bytes[10 + size..].to_vec()
}

#[test]
fn mp3_with_tags_of_any_size_and_joined_has_all_its_samples() {
    let plain = plain_mp3();
    let count = mp3_samples(&plain);
    let cases = [
        ("plain", plain.clone(), count),
        ("ID3v2 of 1.5 MB, with frames in it", [id3v2(1_500_000), plain.clone()].concat(), count),
        ("two ID3v2", [id3v2(50), id3v2(40_000), plain.clone()].concat(), count),
        ("ID3v1", [plain.clone(), id3v1()].concat(), count),
        ("APE and ID3v1", [plain.clone(), ape(true), id3v1()].concat(), count),
        ("APE version 1", [plain.clone(), ape(false)].concat(), count),
        ("zeros", [plain.clone(), vec![0; 5_000]].concat(), count),
        ("three joined", [plain.clone(), plain.clone(), plain.clone()].concat(), 3 * count),
        (
            "joined with their tags",
            [id3v2(300), plain.clone(), id3v1(), id3v2(300), plain.clone(), id3v1()].concat(),
            2 * count,
        ),
    ];
    for (name, bytes, count) in cases {
        let found = read(&bytes);
        assert_eq!((found.frames(), found.told()), (count, String::new()), "{name}");
    }
    // Joined, the second sounds as the first.
    let two = read(&[plain.clone(), plain.clone()].concat()).samples;
    assert_eq!(two[..count], two[count..]);
    // Without its first frame nothing says what is to be left out: all of it is given, also where two are joined.
    let bare = mp3_frames(&plain)[1..].concat();
    let all = (mp3_frames(&plain).len() - 1) * 576;
    assert_eq!(read(&bare).frames(), all);
    assert_eq!(read(&[bare.clone(), bare].concat()).frames(), 2 * all);
}

#[test]
fn mp3_that_is_damaged_keeps_its_length_and_says_so() {
    let plain = plain_mp3();
    let (count, frames) = (mp3_samples(&plain), mp3_frames(&plain));
    // Three frames in the middle are overwritten.
    let mut bad = plain.clone();
    let at: usize = frames[..10].iter().map(|frame| frame.len()).sum();
    bad[at..at + frames[10..13].concat().len()].fill(0x55);
    let found = read(&bad);
    assert_eq!((found.frames(), found.faults.is_empty()), (count, false), "{}", found.told());
    // It breaks off.
    let cut = read(&plain[..plain.len() - 1_000]);
    assert!(cut.frames() < count && cut.frames() > count / 2 && cut.told().contains("breaks off"), "{}", cut.told());
}

#[test]
fn flac_with_anything_around_it_has_all_its_samples() {
    let wave = voice(50_000, 7);
    let plain = written("a.flac", 16_000, &wave);
    let mut least_0 = plain.clone();
    least_0[8..10].fill(0);
    let cases = [
        ("plain", plain.clone(), 50_000),
        ("ID3v2 of 1.2 MB", [id3v2(1_200_000), plain.clone()].concat(), 50_000),
        ("ID3v1", [plain.clone(), id3v1()].concat(), 50_000),
        ("APE", [plain.clone(), ape(true)].concat(), 50_000),
        ("zeros", [plain.clone(), vec![0; 3_000]].concat(), 50_000),
        ("a least block of 0", least_0, 50_000),
        ("joined", [plain.clone(), id3v1(), plain.clone()].concat(), 100_000),
    ];
    for (name, bytes, count) in cases {
        let found = read(&bytes);
        assert_eq!((found.frames(), found.told()), (count, String::new()), "{name}");
        let right = |(a, b): (&f32, &f32)| (a - b).abs() < 1.0 / 32_000.0;
        assert!(found.samples[..50_000].iter().zip(&wave).all(right), "{name}");
    }
    let mut bad = plain.clone();
    let middle = bad.len() / 2;
    bad[middle..middle + 40].iter_mut().for_each(|byte| *byte ^= 0x55);
    let found = read(&bad);
    assert_eq!((found.frames(), found.faults.is_empty()), (50_000, false));
    assert!(
        found.samples[45_100..].iter().zip(&wave[45_100..]).all(|(a, b)| (a - b).abs() < 1e-4),
        "what follows keeps its time"
    );
    let cut = read(&plain[..plain.len() / 2]);
    assert!(cut.frames() > 20_000 && cut.told().contains("its header promises"), "{}", cut.told());
}

/// An Opus file of one packet a page, whose times are counted by the test: 20 ms each.
fn opus_pages(samples: &[f32]) -> (Vec<Vec<u8>>, usize) {
    let file = pages(&written("a.opus", 48_000, samples));
    let skip = usize::from(u16::from_le_bytes(file[0][38..40].try_into().unwrap()));
    let (mut made, mut packets) = (file[..2].to_vec(), Vec::new());
    for page in &file[2..] {
        let count = usize::from(page[26]);
        let mut at = 27 + count;
        let mut packet = Vec::new();
        for &size in &page[27..27 + count] {
            packet.extend(&page[at..at + usize::from(size)]);
            at += usize::from(size);
            if size < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
    }
    let last = packets.len() - 1;
    for (n, packet) in packets.iter().enumerate() {
        let end = if n == last { skip + samples.len() } else { (n + 1) * 960 };
        let mut page = b"OggS\0".to_vec();
        page.push(if n == last { 4 } else { 0 });
        page.extend((end as u64).to_le_bytes());
        page.extend(&file[0][14..18]);
        page.extend((n as u32 + 2).to_le_bytes());
        page.extend([0; 4]);
        page.push((packet.len() / 255 + 1) as u8);
        page.extend(vec![255; packet.len() / 255]);
        page.push((packet.len() % 255) as u8);
        page.extend(packet);
        made.push(sealed(page));
    }
    (made, skip)
}

fn set_head(pages: &[Vec<u8>], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut pages = pages.to_vec();
    pages[0][28 + at..28 + at + bytes.len()].copy_from_slice(bytes);
    pages[0] = sealed(pages[0].clone());
    pages.concat()
}

#[test]
fn opus_has_the_samples_that_its_pages_count() {
    let wave = voice(48_000 * 3 + 77, 9);
    let (pages, skip) = opus_pages(&wave);
    let plain = pages.concat();
    let found = read(&plain);
    assert_eq!((found.frames(), found.told()), (wave.len(), String::new()));
    // A skip of a second more leaves out as much.
    let long = set_head(&pages, 10, &((skip + 48_000) as u16).to_le_bytes());
    assert_eq!(read(&long).frames(), wave.len() - 48_000);
    // Chained, also without an end mark between.
    let two = [renumbered(&plain, 1), renumbered(&plain, 2)].concat();
    assert_eq!((read(&two).frames(), read(&two).told()), (2 * wave.len(), String::new()));
    // Gain, in 256ths of a decibel.
    let power = |bytes: &[u8]| read(bytes).samples.iter().map(|s| f64::from(s * s)).sum::<f64>();
    for db in [12_i16, -20] {
        let loud = set_head(&pages, 16, &(db * 256).to_le_bytes());
        let found = 10.0 * (power(&loud) / power(&plain)).log10();
        assert!((found - f64::from(db)).abs() < 0.01, "{db}: {found}");
    }
    // Another stream beside it is passed over: Skeleton's.
    let mut skeleton = b"OggS\0\x02".to_vec();
    skeleton.extend([0; 8]);
    skeleton.extend([9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8]);
    skeleton.extend(b"fishead\0");
    let beside = [pages[0].clone(), sealed(skeleton.clone()), pages[1..].concat()].concat();
    assert_eq!((read(&beside).frames(), read(&beside).told()), (wave.len(), String::new()));
    let before = [sealed(skeleton), plain.clone()].concat();
    assert_eq!(read(&before).frames(), wave.len());
    // Without its last page it has broken off.
    let cut = pages[..pages.len() - 10].concat();
    assert!(read(&cut).told().contains("no last page") && read(&cut).frames() == (pages.len() - 12) * 960 - skip);
}

#[test]
fn chains_that_change_their_format_are_brought_to_the_first() {
    use parlo_audio_io::{AudioReader, Channel, MonoReader};
    let opus = written("a.opus", 48_000, &voice(48_000, 1));
    let vorbis = fixture("speech.ogg");
    let count = granule(pages(&vorbis).last().unwrap()) as usize;
    for (bytes, rate, samples) in [
        ([opus.clone(), vorbis.clone()].concat(), 48_000, 48_000 + 2 * count),
        ([vorbis, opus].concat(), 24_000, count + 24_000),
    ] {
        let reader = AudioReader::from_stream(std::io::Cursor::new(bytes), "test").unwrap();
        let mut mono = MonoReader::new(reader, Channel::Auto).unwrap();
        assert_eq!((mono.rate(), mono.read_all().unwrap().len()), (rate, samples));
        assert!(mono.faults().is_empty(), "{:?}", mono.faults());
    }
}

#[test]
fn vorbis_has_the_samples_that_its_last_page_says() {
    let plain = fixture("speech.ogg");
    let all = pages(&plain);
    let count = granule(all.last().unwrap()) as usize;
    assert_eq!((read(&plain).frames(), read(&plain).told()), (count, String::new()));
    let two = [renumbered(&plain, 1), renumbered(&plain, 2)].concat();
    assert_eq!(read(&two).frames(), 2 * count);
    // Pages that do not say where they end.
    let none = |(n, page): (usize, &Vec<u8>)| {
        let mut page = page.clone();
        if n >= 2 && n + 1 < all.len() {
            page[6..14].fill(0xFF);
        }
        sealed(page)
    };
    let without: Vec<u8> = all.iter().enumerate().flat_map(none).collect();
    assert_eq!((read(&without).frames(), read(&without).told()), (count, String::new()));
}

#[test]
fn opus_of_several_channels_is_mixed_by_its_mapping() {
    // Twice the same stream of one channel: the third of three channels is the second of them, the others are silent.
    let wave = voice(48_000, 11);
    let (pages, _) = opus_pages(&wave);
    let mut head = pages[0].clone();
    head[27] = 24;
    head[28 + 9] = 3;
    head[28 + 18] = 255;
    head.extend([1, 0, 255, 255, 0]);
    let bytes = [sealed(head), pages[1..].concat()].concat();
    let found = read(&bytes);
    assert_eq!((found.format.channels, found.frames(), found.told()), (3, wave.len(), String::new()));
    let power = |channel: usize| found.samples.iter().skip(channel).step_by(3).map(|s| s * s).sum::<f32>();
    assert!(power(0) == 0.0 && power(1) == 0.0 && power(2) > 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn pages_that_are_lost_or_damaged_are_silence_of_their_length(
        bad in prop::collection::btree_map(2..148_usize, any::<bool>(), 1..12),
    ) {
        let wave = voice(48_000 * 3, 9);
        let (mut pages, _) = opus_pages(&wave);
        for (&n, &damaged) in bad.iter().rev() {
            if damaged {
                let last = pages[n].len() - 1;
                pages[n][last] ^= 0x40;
            } else {
                pages.remove(n);
            }
        }
        let found = read(&pages.concat());
        prop_assert_eq!(found.frames(), wave.len());
        prop_assert!(!found.faults.is_empty());
        // What was skipped at the beginning may have been among what is lost.
        let most = bad.len() as u64 * 960;
        prop_assert!((most - 312..=most).contains(&found.faults.silence()), "{} of {most}", found.faults.silence());
    }

    #[test]
    fn damaged_files_are_sound_or_a_sentence(
        which in 0..5_usize, at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30), cut: prop::sample::Index,
    ) {
        let mut bytes = match which {
            0 => riff(b"RIFF", &[fmt(1, 2, 16_000, 16), chunk(b"data", &pcm(&voice(4_000, 1)), 8_000)], None),
            1 => written("a.flac", 16_000, &voice(9_000, 2)),
            2 => fixture("speech.mp3"),
            3 => fixture("speech.ogg"),
            _ => fixture("speech.opus"),
        };
        for (index, byte) in at {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        let _ = try_read(&bytes);
    }

    #[test]
    fn what_is_written_is_read(frames in 1..30_000_usize, rate in prop::sample::select(vec![8_000_u32, 16_000, 24_000, 44_100]), kind in 0..3_usize) {
        let wave = voice(frames, 13);
        let found = read(&written(["a.wav", "a.flac", "a.ogg"][kind], rate, &wave));
        let count = if kind == 2 { (frames * 48_000).div_ceil(rate as usize) } else { frames };
        prop_assert_eq!((found.frames(), found.told()), (count, String::new()));
        if kind < 2 {
            prop_assert!(found.samples.iter().zip(&wave).all(|(a, b)| (a - b).abs() < 1.0 / 32_000.0));
        }
    }
}
