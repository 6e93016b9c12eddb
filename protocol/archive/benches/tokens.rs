//! Token files: what they take beside what the entropy coder must, and how fast one of a whole day opens. `cargo xtask bench tokens`
//! runs this, with token files of held-out speech.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use parlo_archive::{Archive, Coder, coder, overhead_pct};
use parlo_model::{Bundle, EntropyCoder};
use parlo_protocol::ptk::{Codes, Coding, Header, MAX_BLOCK_FRAMES, Mark, Run, Stream, Tokens, Writer};
use parlo_tokens::{FrameSet, TokenFrame};
use serde_json::json;

/// Shorter files are told apart: their header is a large part of them.
const LONG: f64 = 30.0;
/// Frames in a block of a recording: 0.96 s.
const BLOCK: u64 = 48;
/// How often a file is opened and sought in.
const ROUNDS: u64 = 201;
const DAY_MS: u64 = 24 * 3600 * 1000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // `cargo bench` adds an argument of its own.
    let mut arguments = std::env::args_os().skip(1).filter(|argument| argument != "--bench");
    let mut json = None;
    let mut files = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            json = arguments.next().map(PathBuf::from);
        } else {
            files.push(PathBuf::from(argument));
        }
    }
    let bundle = Bundle::open(&parlo_model::locate_bundle(None)?)?;
    let (mut worst, mut worst_short) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for file in &files {
        let (seconds, overhead) = overhead(file, &bundle)?;
        let worst = if seconds < LONG { &mut worst_short } else { &mut worst };
        *worst = worst.max(overhead);
    }
    let day = std::env::temp_dir().join(format!("parlo-day-{}.ptk", std::process::id()));
    let times = a_day(&day, &bundle);
    let _ = fs::remove_file(&day);
    let times = times?;
    let report = json!({
        "ptk_overhead_pct": worst,
        "ptk_overhead_pct_clip": worst_short,
        "ptk_files": files.len(),
        "day_mib": times.mib,
        "open_ms_24h": times.open_ms,
        "open_cut_ms_24h": times.open_cut_ms,
        "seek_ms_24h": times.seek_ms,
        "seek_ms_24h_worst": times.seek_worst_ms,
    });
    println!("{report:#}");
    if let Some(file) = json {
        fs::write(file, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// How long a file's sound is, and what it takes beyond 64 bytes and the information in its codes, as the entropy model sees it in
/// blocks of 10 s; in percent of the latter.
fn overhead(file: &Path, bundle: &Bundle) -> Result<(f64, f64), Failure> {
    let mut archive = Archive::open(File::open(file)?)?;
    let stream = archive.header().streams.first().ok_or("no stream")?.number;
    let mut coder = coder(bundle, archive.header().tokens.coding)?;
    let mut frames = Vec::new();
    archive.read(&mut coder, stream, 0, u64::MAX, &mut frames)?;
    let tokens: Vec<TokenFrame> = frames.iter().filter_map(|frame| frame.codes).collect();
    let model = bundle.entropy_model()?.ok_or("the bundle has no entropy model")?;
    let (mut bits, mut payload) = (0.0, Vec::new());
    for block in tokens.chunks(MAX_BLOCK_FRAMES) {
        let mut coder = EntropyCoder::new(&model);
        payload.clear();
        coder.encode_in(0, block, &FrameSet::EMPTY, &mut payload)?;
        bits += coder.bits();
    }
    let bound = bits / 8.0;
    Ok((archive.duration_ms() as f64 / 1000.0, overhead_pct(fs::metadata(file)?.len(), bound as u64)))
}

struct Times {
    mib: f64,
    open_ms: f64,
    open_cut_ms: f64,
    seek_ms: f64,
    seek_worst_ms: f64,
}

/// A recording of both sides of a call of 24 hours: how fast it opens, with its index and without, and how fast any second is there.
fn a_day(file: &Path, bundle: &Bundle) -> Result<Times, Failure> {
    let mut coder = record(file, bundle)?;
    let bytes = fs::metadata(file)?.len();
    let open_ms =
        median((0..ROUNDS).map(|_| timed(|| Archive::open(File::open(file)?).map(drop).map_err(Into::into))))?;
    let mut archive = Archive::open(File::open(file)?)?;
    let mut out = Vec::new();
    let mut seeks = Vec::new();
    for round in 0..ROUNDS {
        // Spread over the day without a pattern.
        let second = (round * 7_919_771 + 13) % (DAY_MS / 1000 - 1);
        out.clear();
        seeks.push(timed(|| Ok(archive.read(&mut coder, 1, second * 1000, second * 1000 + 1000, &mut out)?))?);
        let starts = out.first().map(|frame| frame.time_ms);
        if out.len() != 50 || !starts.is_some_and(|start| (start - second as f64 * 1000.0).abs() < 20.0) {
            return Err(format!("second {second} gave {} frames from {starts:?}", out.len()).into());
        }
    }
    let seek_worst_ms = seeks.iter().copied().fold(0.0, f64::max);
    let seek_ms = median(seeks.into_iter().map(Ok))?;
    drop(archive);
    // Without its end mark and index, as after a crash: all blocks are walked over.
    File::options().write(true).open(file)?.set_len(bytes / 2 * 2 - bytes / 100)?;
    let open_cut_ms = median((0..5).map(|_| timed(|| Archive::open(File::open(file)?).map(drop).map_err(Into::into))))?;
    Ok(Times { mib: bytes as f64 / f64::from(1 << 20), open_ms, open_cut_ms, seek_ms, seek_worst_ms })
}

/// Both sides in blocks as the daemon writes them, of plain codes: how they are coded makes no difference to finding them.
fn record(file: &Path, bundle: &Bundle) -> Result<Coder, Failure> {
    let (manifest, layout) = (bundle.manifest(), *bundle.layout());
    let tokens = Tokens {
        id: bundle.tokens().prefix(),
        bundle_name: manifest.name.clone(),
        sample_rate: manifest.audio.sample_rate,
        frame_samples: u32::try_from(manifest.audio.frame_samples)?,
        depth: 6,
        coding: Coding::Plain,
    };
    let stream = |id, name: &str| Stream { id, name: name.to_owned() };
    let header = Header {
        tokens,
        created_ms: Some(1_800_000_000_000),
        streams: vec![stream(0, "said"), stream(1, "heard")],
        metadata: Vec::new(),
    };
    let mut coder = Coder::plain(layout);
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&header, &mut bytes)?;
    let mut out = BufWriter::new(File::create(file)?);
    let mut payload = Vec::new();
    let block_ms = BLOCK * 20;
    for number in 0..DAY_MS / block_ms {
        for stream in 0..2_u8 {
            let mut frames = Vec::new();
            for frame in 0..BLOCK {
                let seed = (number * BLOCK + frame) * 2 + u64::from(stream);
                let codes: Vec<u16> = (0..6_u64).map(|book| ((seed * 31 + book * 77) % 1024) as u16).collect();
                frames.push(TokenFrame::new(&codes)?);
            }
            payload.clear();
            coder.encode(&frames, &mut payload)?;
            let codes = Some(Codes { depth: 6, payload: &payload });
            let run = Run { mark: Mark::Real, count: frames.len(), codes, noise: None };
            writer.block(stream, u32::try_from(number * block_ms)?, &[run], &mut bytes)?;
        }
        out.write_all(&bytes)?;
        bytes.clear();
    }
    writer.end(None, &mut bytes);
    out.write_all(&bytes)?;
    out.flush()?;
    Ok(coder)
}

/// Milliseconds that it takes.
fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

fn median(times: impl Iterator<Item = Result<f64, Failure>>) -> Result<f64, Failure> {
    let mut times = times.collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
