//! A daemon's words, for tests.

use parlo_api::{
    Audio, Bitrates, Budget, Bundle, Call, CallFigures, CallSettings, CallState, Direction, Endpoints, FeedFrame,
    FeedMark, FeedMessage, FeedStart, FeedStream, FrameCounts, HeardFrame, Live, Mark, Meters, Peer, Presence,
    SoundFigures, StageSwitches, Status, Voice,
};

/// Levels of somebody who speaks.
pub const METERS: Meters = Meters {
    input_peak_dbfs: -12.0,
    input_rms_dbfs: -24.0,
    sent_rms_dbfs: -26.0,
    output_peak_dbfs: -18.0,
    output_rms_dbfs: -30.0,
    echo_return_loss_enhancement_db: Some(24.0),
    noise_reduction_db: Some(9.0),
    gain_db: Some(3.0),
    speech: true,
};

/// A call with ada that stands, with figures after `elapsed_s`.
pub fn call(id: u64, elapsed_s: f64) -> Call {
    Call {
        id,
        direction: Direction::Outgoing,
        state: CallState::Active,
        peer: Peer {
            name: Some("ada".into()),
            key: Some("parlo:abc".into()),
            fingerprint: Some("tulip-3c1f".into()),
            address: "192.0.2.7:7275".into(),
        },
        began_s: 1_795_000_000.0,
        held: false,
        held_by_peer: false,
        recorded_by_peer: false,
        conference: false,
        volume_db: 0.0,
        codec: Some("tokens".into()),
        tokens: Some("0a0b".into()),
        settings: CallSettings { depth: 6, frames_per_packet: 3, adapt: true, latency_ms: 240, max_kbps: 0.0 },
        recording: None,
        figures: Some(CallFigures {
            elapsed_s,
            sent: Bitrates { speech: 2.1, redundancy: 0.6, headers: 1.3, ip: 3.7, wire: 7.7 },
            received_kbps: 7.2,
            depth: 6,
            frames_per_packet: 3,
            copies: 1,
            loss_sent: 0.021,
            loss_heard: 0.05,
            path_kbps: 60.0,
            round_trip_ms: 18.4,
            bits_per_frame: Some(42.0),
            rekeys: Some(3),
            key_age_s: Some(40.0),
            rekey_overdue: false,
            frames: FrameCounts { real: 4_000, coarse: 30, predicted: 12, faded: 1, silent: 500, late: 4 },
            budget: Budget {
                capture: 14.0,
                frame: 60.0,
                network: 9.0,
                jitter_buffer: 20.0,
                codec: 2.0,
                device: 21.0,
                total: 126.0,
            },
            level_dbfs: -27.0,
            encode_us_p99: 900,
            decode_us_p99: 700,
        }),
        failure: None,
    }
}

/// A call that has not come so far.
pub fn young(id: u64, direction: Direction, state: CallState) -> Call {
    Call { direction, state, figures: None, codec: None, tokens: None, ..call(id, 0.0) }
}

/// A daemon with these calls.
pub fn status(calls: Vec<Call>) -> Status {
    Status {
        version: "0.1.0".into(),
        uptime_s: 100.0,
        key: "parlo:def".into(),
        fingerprint: "maple-77aa".into(),
        listening: Some("127.0.0.1:7275".into()),
        page: None,
        presence: Presence::default(),
        bundle: Bundle {
            name: "parlo-16k".into(),
            id: "00ff".into(),
            tokens: "0a0b".into(),
            sample_rate: 16_000,
            frame_ms: 20.0,
            algorithmic_delay_ms: 30.0,
            codebooks: vec![1024; 12],
        },
        others: Vec::new(),
        audio: Audio {
            endpoints: Endpoints {
                source: "default".into(),
                sink: "default".into(),
                source_name: Some("Headset".into()),
                sink_name: Some("Headset".into()),
            },
            muted: false,
            push_to_talk: false,
            talking: false,
            input_gain_db: 0.0,
            output_gain_db: 0.0,
            side_tone_db: None,
            stages: StageSwitches {
                high_pass: true,
                echo_cancellation: true,
                noise_suppression: true,
                gain_control: false,
                silence: true,
            },
            meters: METERS,
            figures: SoundFigures { realtime: Some(true), blocks: 5_000, ..SoundFigures::default() },
            trouble: None,
        },
        calls,
        resident_mib: 61.0,
    }
}

/// Twelfths of a second of call `id`: four frames, made of `marks`.
pub fn live(at_s: f64, id: u64, marks: &[Mark]) -> Live {
    let heard = marks.iter().zip(0..).map(|(&mark, number)| HeardFrame { number: Some(number), mark, codes: vec![] });
    let voice = Voice { call: id, level_dbfs: -25.0, heard: heard.collect(), said: vec![] };
    Live { at_s, meters: METERS, spectrogram: vec![], calls: vec![voice] }
}

/// The feed of a call with ada, from its start to its end.
pub fn feed(id: u64) -> Vec<FeedMessage> {
    let start = FeedStart {
        call: id,
        peer: "ada".into(),
        bundle: "5a".repeat(32),
        bundle_name: "small".into(),
        tokens: "6b".repeat(32),
        sample_rate: 16_000,
        frame_samples: 320,
        sizes: vec![1024; 12],
        created_ms: 1_795_000_000_000,
    };
    let frame = |stream, number, mark, codes| FeedFrame { stream, number, time_ms: 16_240, mark, codes };
    vec![
        FeedMessage::Start(start),
        FeedMessage::Frame(frame(FeedStream::Said, Some(811), FeedMark::Unsent, vec![1, 2, 3])),
        FeedMessage::Missed { frames: 37 },
        FeedMessage::Frame(frame(FeedStream::Heard, None, FeedMark::Held, vec![])),
        FeedMessage::Frame(frame(FeedStream::Heard, Some(812), FeedMark::Real, vec![7, 1023])),
        FeedMessage::End,
    ]
}
