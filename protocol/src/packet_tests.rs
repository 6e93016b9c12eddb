use parlo_tokens::FrameSet;
use proptest::prelude::*;

use super::*;

fn ack() -> impl Strategy<Value = FrameAck> {
    let held = prop::collection::btree_set(0..600_u64, 1..400);
    (1..=15_u8, held, 1..=7_u8, 1..255_u64, any::<bool>()).prop_filter_map(
        "nothing new, or too many gaps",
        |(number, held, back, behind, alone)| {
            let held: FrameSet = held.into_iter().collect();
            let before = held.newest()?.checked_sub(behind)?;
            FrameAck::new(number, &held, (!alone).then_some((back, before)))
        },
    )
}

fn news() -> impl Strategy<Value = Piggyback> {
    let feedback = any::<[u8; Feedback::BYTES]>().prop_map(Feedback::from_bytes);
    (prop::option::of(ack()), prop::option::of(feedback)).prop_map(|(ack, feedback)| Piggyback { ack, feedback })
}

fn noise() -> impl Strategy<Value = ComfortNoise> {
    (0..=127_u8, any::<[u8; 8]>()).prop_map(|(level, reflection)| ComfortNoise::new(level, reflection))
}

fn control() -> impl Strategy<Value = Control> {
    let reason = any::<u8>().prop_map(Goodbye::from);
    prop_oneof![
        (any::<u32>(), reason).prop_map(|(frames, reason)| Control::Bye { frames, reason }),
        (news(), any::<bool>(), any::<bool>(), any::<u32>()).prop_map(|(piggyback, ringing, held, frames)| {
            let frames = if held { frames } else { 0 };
            Control::Alive { piggyback, presence: Presence { ringing, held }, frames }
        }),
        any::<bool>().prop_map(Control::Recorded),
    ]
}

fn sealed(media: &Media<'_>) -> (u8, Vec<u8>) {
    let mut body = Vec::new();
    let header = media.encode(&mut body);
    (header, body)
}

proptest! {
    #[test]
    fn frames_survive(
        depth in 1..=32_u8, count in 1..=MAX_FRAMES, context in 0..16_u8, copies in 0..=MAX_COPIES, copy in 1..=4_u8,
        piggyback in news(), payload in prop::collection::vec(any::<u8>(), 0..MAX_PAYLOAD),
    ) {
        let copy_depth = if copies > 0 { copy } else { 1 };
        let media = Media::Frames(Frames { depth, count, context, copies, copy_depth, piggyback, payload: &payload });
        let (header, body) = sealed(&media);
        let extension = usize::from(copies > 0 || piggyback.feedback.is_some());
        prop_assert_eq!(body.len(), 1 + extension + piggyback.bytes() + payload.len());
        prop_assert!(piggyback.ack.is_none_or(|ack| ack.bytes() <= FrameAck::MAX_BYTES && ack.bytes() <= 8));
        prop_assert_eq!(Media::parse(header, &body), Ok(media));
        // A packet that is cut within its news is none.
        for cut in 0..1 + extension + piggyback.bytes() {
            prop_assert!(Media::parse(header, &body[..cut]).is_err());
        }
    }

    #[test]
    fn silence_and_control_survive_and_nothing_else_does(noise in noise(), piggyback in news(), control in control(), more: u8) {
        let media = Media::Silence { noise, piggyback };
        let (header, mut body) = sealed(&media);
        prop_assert_eq!(Media::parse(header, &body), Ok(media));
        prop_assert!((0..body.len()).all(|cut| Media::parse(header, &body[..cut]).is_err()));
        body.push(more);
        prop_assert!(Media::parse(header, &body).is_err());
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        prop_assert_eq!(Control::parse(&bytes), Ok(control));
        prop_assert!((0..bytes.len()).all(|cut| Control::parse(&bytes[..cut]).is_err()));
        bytes.push(more);
        prop_assert!(Control::parse(&bytes).is_err());
    }

    #[test]
    fn alives_that_say_what_nobody_knows_are_refused(control in control(), unknown in 4..8_u32) {
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        if let Control::Alive { .. } = control {
            bytes[1] |= 1 << unknown;
            let flags = Err(PacketError::Field { field: "flags", value: bytes[1].into() });
            prop_assert_eq!(Control::parse(&bytes), flags);
        }
    }

    #[test]
    fn reasons_of_later_versions_survive(code: u8) {
        prop_assert_eq!(u8::from(Goodbye::from(code)), code);
        prop_assert_eq!(matches!(Goodbye::from(code), Goodbye::Other(_)), code > 5);
    }

    #[test]
    fn any_bytes_are_a_packet_that_encodes_to_them_or_an_error(
        header: u8, body in prop::collection::vec(prop_oneof![Just(0), 0..16_u8, any::<u8>()], 0..60),
    ) {
        if let Ok(media) = Media::parse(header, &body) {
            prop_assert_eq!(sealed(&media), (header, body.clone()));
        }
        if let Ok(control) = Control::parse(&body) {
            let mut bytes = Vec::new();
            control.encode(&mut bytes);
            prop_assert_eq!(bytes, body);
        }
    }

    #[test]
    fn numbers_are_extended_to_the_nearest(number in 0..u64::MAX / 2, off in -0x7FFF_i64..=0x8000) {
        if let Some(near) = number.checked_add_signed(off) {
            prop_assert_eq!(extend(near as u16, number), near);
        }
    }
}

#[test]
fn numbers_near_zero_do_not_wrap_below() {
    assert_eq!(extend(0xFFFF, 0), 0xFFFF);
    assert_eq!(extend(3, 0x1_0000), 0x1_0003);
    assert_eq!(extend(0xFFFE, 0x1_0003), 0xFFFE);
    assert_eq!(extend(0, u64::MAX), u64::MAX);
}

/// The vectors in the document are what this code makes.
#[test]
fn the_document_shows_the_truth() {
    let document = include_str!("../../docs/wire.md");
    let vector = |name: &str| -> Vec<u8> {
        let line = document.lines().find(|line| line.starts_with(&format!("{name}: "))).expect(name);
        line[name.len() + 2..].split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    let frames = Frames {
        depth: 6,
        count: 3,
        context: 0,
        copies: 0,
        copy_depth: 1,
        piggyback: Piggyback::default(),
        payload: &[0xA5; 4],
    };
    let held: FrameSet = (0x0200..0x0230_u64).filter(|n| !(0x0220..0x0223).contains(n)).collect();
    let whole = FrameAck::new(2, &held, None);
    let after = FrameAck::new(3, &held, Some((1, 0x0223)));
    let feedback = Feedback { highest: 0x022D, held: 30, received: 17, queue: 12, jitter: 5, rate: 31 };
    let noise = ComfortNoise::new(68, [200, 90, 140, 120, 130, 125, 128, 127]);
    let medias = [
        ("media", Media::Frames(frames)),
        ("media-with-copies", Media::Frames(Frames { copies: 3, ..frames })),
        (
            "media-with-whole-report",
            Media::Frames(Frames { piggyback: Piggyback { ack: whole, feedback: None }, ..frames }),
        ),
        (
            "media-with-news",
            Media::Frames(Frames {
                context: 14,
                piggyback: Piggyback { ack: after, feedback: Some(feedback) },
                ..frames
            }),
        ),
        ("silence", Media::Silence { noise, piggyback: Piggyback::default() }),
    ];
    for (name, media) in medias {
        let (header, body) = sealed(&media);
        assert_eq!(vector(name), [&[header][..], &body].concat(), "{name}");
    }
    let (none, piggyback) = (Piggyback::default(), Piggyback { ack: after, feedback: Some(feedback) });
    let controls = [
        ("bye", Control::Bye { frames: 0x1234, reason: Goodbye::NoAnswer }),
        ("alive", Control::Alive { piggyback, presence: Presence::default(), frames: 0 }),
        (
            "alive-ringing",
            Control::Alive { piggyback: none, presence: Presence { ringing: true, held: false }, frames: 0 },
        ),
        ("recorded", Control::Recorded(true)),
        ("alive-held", Control::Alive { piggyback, presence: Presence { ringing: false, held: true }, frames: 0x1234 }),
    ];
    for (name, control) in controls {
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        assert_eq!(vector(name), bytes, "{name}");
    }
}
