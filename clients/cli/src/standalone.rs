//! `parlo call --standalone` and `parlo listen`: a call in this process, told line by line.

use std::{
    io::{Write, stderr},
    time::Instant,
};

use anyhow::Context;
use parlo_audio_io::output::{self, Kind, Replace};
use parlod::{
    audio::device::errors,
    call::{Engine, Event, Finished, Stop, Timeline},
    config::AutoAnswer,
    options::CallOptions,
};

use crate::format::can_draw;

/// Refuses to write over what is no report or timeline, before the call rather than after it.
fn check(options: &CallOptions) -> anyhow::Result<()> {
    for (file, kind) in [(&options.report, Kind::Json), (&options.timeline, Kind::Csv)] {
        if let Some(file) = file {
            output::check(file, kind, &[], Replace::OwnKind)?;
        }
    }
    Ok(())
}

pub(crate) fn place(peer: &str, options: &CallOptions, started: Instant) -> anyhow::Result<()> {
    check(options)?;
    let engine = Engine::new(options.resolve()?, started, options.timeline.is_some())?;
    let mut teller = Teller::new(options);
    engine.call(peer, &Stop::default(), &mut |event| teller.tell(event))?;
    teller.result
}

pub(crate) fn listen(
    address: Option<String>,
    once: bool,
    options: &CallOptions,
    started: Instant,
) -> anyhow::Result<()> {
    check(options)?;
    let mut config = options.resolve()?;
    if let Some(address) = address {
        config.call.listen = address;
    }
    // Nobody sits here to answer: whoever is let in is answered, unless the flags say otherwise.
    if options.answer.is_none() {
        config.call.answer = AutoAnswer::All;
    }
    let engine = Engine::new(config, started, options.timeline.is_some())?;
    let mut teller = Teller::new(options);
    engine.listen(once, &Stop::default(), &mut |event| teller.tell(event))?;
    teller.result
}

/// Says what happens, on standard error; while a call stands, on a terminal, in a line that is written over.
struct Teller<'a> {
    options: &'a CallOptions,
    live: bool,
    result: anyhow::Result<()>,
}

impl<'a> Teller<'a> {
    fn new(options: &'a CallOptions) -> Self {
        Self { options, live: can_draw(&stderr()), result: Ok(()) }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Listening(address) => self.line(&format!("waiting for calls at {address}; Ctrl-C ends")),
            Event::Calling(address) => self.line(&format!("calling {address} ...")),
            Event::Connected(peer) => {
                let who = peer.name.unwrap_or_else(|| format!("a stranger ({})", peer.key.fingerprint()));
                self.line(&format!("in a call with {who} at {}; Ctrl-C hangs up", peer.address));
            }
            Event::Notice(notice) => self.line(&notice),
            Event::Progress { elapsed, played, lost, jitter_delay, wire_kbps, peer_loss, plan, bits_per_frame }
                if self.live =>
            {
                let due = (played + lost).max(1);
                let seconds = elapsed.as_secs();
                let frame = bits_per_frame.map_or(String::new(), |bits| format!(" ({bits:.0} bits a frame)"));
                let [depth, frames, copies] = plan;
                let copies = if copies > 0 { format!(" + {copies} copies") } else { String::new() };
                eprint!(
                    "\r\x1b[K{:02}:{:02}  sending {wire_kbps:.1} kbps with all headers{frame}, {depth} codes x {frames}{copies}, \
                     {:.1} % lost; receiving: {:.1} % lost, waiting {} ms",
                    seconds / 60,
                    seconds % 60,
                    100.0 * peer_loss,
                    100.0 * lost as f64 / due as f64,
                    jitter_delay.as_millis()
                );
                // A line that does not show is no reason to end a call.
                let _ = stderr().flush();
            }
            Event::Ended(finished) => self.ended(&finished),
            _ => {}
        }
    }

    fn line(&self, text: &str) {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        // The error stream itself may lead nowhere just now: a thread looks for devices.
        let _ = writeln!(errors(), "{clear}{text}");
    }

    fn ended(&mut self, finished: &Finished) {
        let report = &finished.report;
        let frames = &report.frames;
        self.line(&format!(
            "call ended: {:.0} s sent at {:.1} kbps raw, {:.1} coded, {:.1} on the wire; {} frames heard, {} from coarse copies, \
             {} of silence, {} lost ({} of them late)",
            report.media_seconds,
            report.raw_kbps,
            report.coded_kbps,
            report.wire_kbps,
            frames.played,
            frames.coarse,
            frames.silent,
            frames.lost,
            frames.late
        ));
        if !report.realtime {
            self.line("the codec ran without real-time priority; `parlo doctor` says how to allow it");
        }
        if self.result.is_ok() {
            self.result = self.write(finished);
        }
    }

    fn write(&self, finished: &Finished) -> anyhow::Result<()> {
        if let Some(file) = &self.options.report {
            finished.report.write(file).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if let Some(file) = &self.options.timeline {
            Timeline::write(&finished.captured, &finished.played, file)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}
