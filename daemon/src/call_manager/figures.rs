//! What a call is like, second by second; and what it was like, when it is over.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use parlo_api::{Bitrates, Budget, CallFigures, FrameCounts};
use parlo_protocol::{call::CallStats, offer::Codec, session::REKEY_OVERDUE};

use super::call_session::CallSession;
use crate::{
    call::{Engine, Finished, PacketizerStats, depacketizer_thread::DepacketizerThread},
    media::{AudioEngine, CallAudioFigures},
    report::{Frames, Junk, Report, Traffic},
};

/// How things stood a second ago.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before {
    stats: CallStats,
    packetizer: PacketizerStats,
    at: Option<Instant>,
    played: u64,
    lost: u64,
}

/// Brings a call's figures up to date. To be called about once a second.
pub(super) fn update(session: &mut CallSession, engine: &Engine, audio_engine: &AudioEngine, now: Instant) {
    let (Some(call), Some(media), Some(audio)) = (&session.call, &session.media, &session.audio) else {
        return;
    };
    let before = session.before;
    let (stats, packetizer) = (*call.stats(), *media.packetizer.stats());
    let seconds = before.at.or(session.talking_since).map_or(0.0, |at| (now - at).as_secs_f64());
    let kbps = |bytes: f64| if seconds > 0.1 { bytes * 8.0 / 1000.0 / seconds } else { 0.0 };
    let headers = call.headers();
    let (sent, sent_before) = (&stats.sent, &before.stats.sent);
    let payload = (sent.payload_bytes - sent_before.payload_bytes) as f64;
    let bytes = (sent.bytes - sent_before.bytes) as f64;
    let packets = (sent.packets - sent_before.packets) as f64;
    // One range coder writes copies and frames: their shares are those of their codes.
    let copied = (packetizer.copy_codes - before.packetizer.copy_codes) as f64;
    let coded = (packetizer.frame_codes - before.packetizer.frame_codes) as f64;
    let redundancy = if copied > 0.0 { payload * copied / (copied + coded) } else { 0.0 };
    let frames = packetizer.frames - before.packetizer.frames;
    let bits = packetizer.bits.unwrap_or_default() - before.packetizer.bits.unwrap_or_default();

    let live = &audio.shared.live;
    let (played, lost) = (live.played.load(Relaxed), live.lost.load(Relaxed));
    let due = (played - before.played.min(played)) + (lost - before.lost.min(lost));
    let predicted = live.predicted.load(Relaxed);
    let (coarse, silent) = (live.coarse.load(Relaxed), live.silent.load(Relaxed));
    let plan = call.plan();
    let (path, loss_sent) = call.outlook();
    let measured = call.path().and_then(|path| path.round_trip).unwrap_or_else(|| call.round_trip());
    let round_trip = 1000.0 * measured.as_secs_f64();
    let level = audio.level_dbfs();
    let keys = call.keys(now);
    session.figures = Some(CallFigures {
        elapsed_s: session.talking(now).as_secs_f64(),
        sent: Bitrates {
            speech: kbps(payload - redundancy),
            redundancy: kbps(redundancy),
            headers: kbps(bytes - payload),
            ip: kbps(packets * headers as f64),
            wire: kbps(bytes + packets * headers as f64),
        },
        received_kbps: kbps((stats.received.wire_bytes(headers) - before.stats.received.wire_bytes(headers)) as f64),
        depth: plan.depth,
        frames_per_packet: plan.frames,
        copies: plan.copies,
        loss_sent,
        loss_heard: if due > 0 { (lost - before.lost.min(lost)) as f64 / due as f64 } else { 0.0 },
        path_kbps: path / 1000.0,
        round_trip_ms: round_trip,
        bits_per_frame: packetizer.bits.filter(|_| frames > 0).map(|_| bits / frames as f64),
        frames: FrameCounts {
            real: played.saturating_sub(coarse + silent),
            coarse,
            predicted,
            faded: lost.saturating_sub(predicted),
            silent,
            late: live.late.load(Relaxed),
        },
        rekeys: keys.map(|(count, _)| count),
        key_age_s: keys.map(|(_, age)| age.as_secs_f64()),
        rekey_overdue: keys.is_some_and(|(_, age)| age > REKEY_OVERDUE),
        budget: budget(session, engine, audio_engine, round_trip),
        level_dbfs: level,
        encode_us_p99: live.encode_us_p99.load(Relaxed),
        decode_us_p99: live.decode_us_p99.load(Relaxed),
    });
    session.before = Before { stats, packetizer, at: Some(now), played, lost };
}

/// Mouth to ear, by stage.
fn budget(session: &CallSession, engine: &Engine, audio_engine: &AudioEngine, round_trip: f64) -> Budget {
    let Some(audio) = &session.audio else { return Budget::default() };
    let sound = audio_engine.figures();
    let live = &audio.shared.live;
    let [frame_ms, delay_ms] =
        [engine.frame(session.codec), engine.delay(session.codec)].map(|time| 1000.0 * time.as_secs_f64());
    // What a packet's first frame waits for its last is in the jitter buffer's delay: it plays in step with the frames.
    let filling = f64::from(session.peer_frames.saturating_sub(1)) * frame_ms;
    let jitter = (live.delay_ms.load(Relaxed) as f64 - filling).max(0.0);
    let codec = (live.encode_us_p99.load(Relaxed) + live.decode_us_p99.load(Relaxed)) as f64 / 1000.0;
    let mut budget = Budget {
        capture: sound.capture_latency_ms,
        frame: frame_ms + filling + delay_ms,
        network: round_trip / 2.0,
        jitter_buffer: jitter,
        codec,
        device: sound.playback_latency_ms,
        total: 0.0,
    };
    budget.total = budget.capture + budget.frame + budget.network + budget.jitter_buffer + budget.codec + budget.device;
    budget
}

/// The report of a call that is over.
pub(super) fn report(session: &mut CallSession, engine: &Engine) -> Option<Finished> {
    let (call, media) = (session.call.as_ref()?, session.media.as_ref()?);
    session.talking_since?;
    let audio = session.left.take().map(|figures| *figures).unwrap_or_default();
    let CallAudioFigures {
        encode, decode, player, overrun, underruns, first_frame, realtime, captured, played, ..
    } = audio;
    let (packetizer, stats, sealing) = (*media.packetizer.stats(), *call.stats(), *call.session_stats());
    let bundle = engine.bundle_of(session.codec);
    let audio = &bundle.manifest().audio;
    let frame = engine.frame(session.codec).as_secs_f64();
    let seconds = (packetizer.frames + packetizer.silent) as f64 * frame;
    let depth = usize::from(session.settings.depth);
    let kbps = |bytes: u64| if seconds > 0.0 { bytes as f64 * 8.0 / seconds / 1000.0 } else { 0.0 };
    let headers = call.headers();
    let traffic = |count: &parlo_protocol::call::Count| Traffic {
        packets: count.packets,
        payload_bytes: count.payload_bytes,
        news_bytes: count.news_bytes,
        wire_bytes: count.wire_bytes(headers),
    };
    let (sent, received) = (traffic(&stats.sent), traffic(&stats.received));
    let jitter = player.jitter;
    let report = Report {
        bundle: bundle.id().to_string(),
        tokens: bundle.tokens().to_string(),
        codec: if session.codec == Some(Codec::Opus) { "opus" } else { "tokens" },
        sample_rate: audio.sample_rate,
        depth,
        frames_per_packet: session.settings.frames_per_packet,
        frame_ms: 1000.0 * frame,
        algorithmic_delay_ms: 1000.0 * engine.delay(session.codec).as_secs_f64(),
        media_seconds: seconds,
        frames: Frames {
            sent: packetizer.frames,
            unsent: packetizer.silent,
            copies: packetizer.copies,
            played: jitter.played,
            coarse: jitter.coarse,
            silent: jitter.silent,
            lost: jitter.lost,
            faded: player.faded,
            late: jitter.late,
            skipped: jitter.skipped,
            held: jitter.held,
            overrun: overrun
                + session.overrun
                + media.depacketizer.as_ref().map_or(0, DepacketizerThread::overrun)
                + packetizer.dropped,
        },
        sent,
        received,
        junk: Junk {
            forged: sealing.forged,
            replayed: sealing.replayed,
            other: sealing.malformed
                + sealing.strangers
                + sealing.unexpected
                + stats.malformed
                + media.depacketizer.as_ref().map_or(0, DepacketizerThread::undecodable),
        },
        moves: stats.moves,
        rekeys: call.keys(Instant::now()).map(|(count, _)| count),
        unknown_context: stats.unknown_context,
        bits_per_frame: packetizer.bits.filter(|_| packetizer.frames > 0).map(|bits| bits / packetizer.frames as f64),
        raw_kbps: f64::from(bundle.layout().frame_bits(depth)) / frame / 1000.0,
        coded_kbps: kbps(sent.payload_bytes),
        wire_kbps: kbps(sent.wire_bytes),
        encode_us: encode.percentiles(),
        decode_us: decode.percentiles(),
        underruns,
        startup_ms: first_frame.map(|at| 1000.0 * (at - engine.started()).as_secs_f64()),
        realtime,
    };
    Some(Finished { report, captured, played })
}
