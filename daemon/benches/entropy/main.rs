//! What the entropy coder saves on held-out speech, beside other coders; what integers lose against floats; time a frame.
//! `cargo xtask bench entropy` runs this.

mod baselines;
mod call;
mod float;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlo_dsp::Intake;
use parlo_model::{Bundle, Encoder, EncoderConfig, EntropyCoder, EntropyModel, FrameCoder, Kernel, Runtime};
use parlo_protocol::{context::REPORT_EVERY, ptk::MAX_BLOCK_FRAMES};
use parlo_tokens::{FrameSet, TokenFrame};
use parlod::{audio::AudioReader, report::Durations};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use self::{baselines::Baseline, call::Path as CallPath, float::FloatModel};

/// Frames in a packet: 60 ms.
const PACKET: usize = 3;
const FRAME: Duration = Duration::from_millis(20);
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// The depth that the figures are for, where none is said.
const DEPTH: usize = 6;

fn main() -> anyhow::Result<()> {
    // SAFETY: the first thing that this program does: no other thread runs yet.
    unsafe { parlo_model::disable_telemetry() };
    let arguments: Vec<String> = std::env::args().collect();
    let named = |name: &str| -> anyhow::Result<PathBuf> {
        let mut rest = arguments.iter().skip_while(|argument| *argument != name).skip(1);
        Ok(rest.next().with_context(|| format!("{name} FILE is missing"))?.into())
    };
    if !arguments.iter().any(|argument| argument == "--list") {
        println!("this measures held-out speech: `cargo xtask bench entropy` says where it is");
        return Ok(());
    }
    let (list, speech) = (named("--list")?, named("--speech")?);
    let runtime = Runtime::load(None)?;
    let bundle = Bundle::open(&parlo_model::locate_bundle(None)?)?;
    let model = bundle.entropy_model()?.context("the bundle has no entropy model")?;
    let floats = FloatModel::read(&bundle.folder().join("entropy.safetensors"))?;
    let names = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let files: Vec<PathBuf> = names.split_whitespace().map(|name| speech.join(name)).collect();
    let read = |files: &[PathBuf], depth| -> anyhow::Result<Vec<Vec<TokenFrame>>> {
        files.iter().map(|file| tokens(&runtime, &bundle, file, depth)).collect()
    };
    let clips = read(&files, DEPTH)?;
    let found = Found::measure(&model, &floats, &clips)?;
    let prompt = as_packets(&model, &clips, Some(Duration::ZERO))?;
    let deep = |depth| -> anyhow::Result<f64> {
        let clips = read(&files, depth)?;
        Ok(as_files(&model, &clips)?.bytes as f64 * 8.0 / raw_bits(&clips))
    };
    let others = Found::measure(&model, &floats, &read(&others(&speech, &names)?, DEPTH)?)?;
    let times: Vec<(Kernel, Value)> = Kernel::ALL
        .into_iter()
        .map(|kernel| Ok((kernel, time(&model, kernel, &clips)?)))
        .collect::<anyhow::Result<_>>()?;
    let of = |kernel| times.iter().find(|(k, _)| *k == kernel).map_or(Value::Null, |(_, v)| v.clone());
    let best = of(Kernel::best());
    let weights = std::fs::metadata(bundle.folder().join("entropy.safetensors"))?.len();
    let seconds = found.raw / (10 * DEPTH) as f64 * FRAME.as_secs_f64();
    let report = json!({
        "file_ratio": found.ratio(&found.file),
        "call_ratio": found.ratio(&found.call),
        "oneway_ratio": found.ratio(&found.one_way),
        "file_under_tables_pct": found.under_tables(&found.file)?,
        "call_under_tables_pct": found.under_tables(&found.call)?,
        "file_ratio_others": others.ratio(&others.file),
        "call_ratio_others": others.ratio(&others.call),
        "oneway_ratio_others": others.ratio(&others.one_way),
        "call_prompt_ratio": found.ratio(&prompt),
        "report_kbps": found.call.report_bytes as f64 * 8.0 / seconds / 1000.0,
        "file_ratio_depth_3": deep(3)?,
        "file_ratio_depth_12": deep(12)?,
        "integer_loss_pct": 100.0 * (found.file.bits / found.by_book.past.iter().sum::<f64>() - 1.0),
        "coder_overhead_pct": 100.0 * (found.file.bytes as f64 * 8.0 / found.file.bits - 1.0),
        "coder_overhead_bytes": (found.call.bytes as f64 - found.call.bits / 8.0) / found.call.payloads as f64,
        "frame_us_p50": best["p50"],
        "frame_us_p99": best["p99"],
        "frame_us_p50_avx2": of(Kernel::Avx2)["p50"],
        "frame_us_p50_portable": of(Kernel::Portable)["p50"],
        "weights_mib": weights as f64 / f64::from(1 << 20),
        "tables": format!(
            "The bench's clips, {:.0} s, of which most are pauses:\n\n{}\nClips of the other held-out sources, {:.0} s of \
             speech without long pauses:\n\n{}",
            seconds,
            found.tables(),
            others.raw / (10 * DEPTH) as f64 * FRAME.as_secs_f64(),
            others.tables()
        ),
    });
    println!("{report:#}");
    std::fs::write(named("--json")?, format!("{report:#}\n"))?;
    Ok(())
}

/// Up to five clips, evenly spaced, of each folder of held-out speech that the list names nothing of.
fn others(speech: &Path, list: &str) -> anyhow::Result<Vec<PathBuf>> {
    let listed: Vec<&str> = list.split_whitespace().filter_map(|name| name.split('/').next()).collect();
    let mut chosen = Vec::new();
    for folder in entries(speech)? {
        if folder.file_name().is_some_and(|name| listed.iter().any(|listed| name == *listed)) {
            continue;
        }
        let mut waiting = vec![folder];
        let mut files = Vec::new();
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(entries(&path)?);
            } else if path.extension().is_some_and(|extension| extension == "flac" || extension == "opus") {
                files.push(path);
            }
        }
        files.sort();
        let step = (files.len() / 5).max(1);
        chosen.extend(files.into_iter().step_by(step).take(5));
    }
    Ok(chosen)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    found.sort();
    Ok(found)
}

fn raw_bits(clips: &[Vec<TokenFrame>]) -> f64 {
    clips.iter().flatten().map(|frame| 10.0 * frame.depth() as f64).sum()
}

/// What some clips take, in every way.
struct Found {
    raw: f64,
    file: Coded,
    call: Coded,
    one_way: Coded,
    by_book: ByBook,
    baselines: Vec<Baseline>,
}

impl Found {
    fn measure(model: &EntropyModel, floats: &FloatModel, clips: &[Vec<TokenFrame>]) -> anyhow::Result<Self> {
        Ok(Self {
            raw: raw_bits(clips),
            file: as_files(model, clips)?,
            call: as_packets(model, clips, Some(REPORT_EVERY))?,
            one_way: as_packets(model, clips, None)?,
            by_book: bits_by_book(floats, clips),
            baselines: baselines::measure(clips, Some(&tables()?))?,
        })
    }

    fn ratio(&self, coded: &Coded) -> f64 {
        coded.bytes as f64 * 8.0 / self.raw
    }

    fn under_tables(&self, coded: &Coded) -> anyhow::Result<f64> {
        let tables = self.baselines.iter().find(|baseline| baseline.name.contains("static"));
        let bits = tables.and_then(|baseline| baseline.bits).context("static tables were not measured")?;
        Ok(100.0 * (1.0 - coded.bytes as f64 * 8.0 / bits))
    }

    fn tables(&self) -> String {
        let ours = [
            ("one-way, packets of 60 ms", &self.one_way),
            ("a call, packets of 60 ms", &self.call),
            ("a file", &self.file),
        ];
        book_table(&self.by_book, self.raw / (10 * DEPTH) as f64) + &coder_table(&self.baselines, &ours, self.raw)
    }
}

/// How often the shipped codebooks' codes are used in the speech that the model was trained on.
fn tables() -> anyhow::Result<Vec<[u32; 1024]>> {
    let found = SafeTensors::deserialize(include_bytes!("tables.safetensors"))?;
    let values: Vec<u32> =
        found.tensor("tables")?.data().as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes).into()).collect();
    Ok(values.as_chunks().0.to_vec())
}

/// A clip as the programs code it.
fn tokens(runtime: &Runtime, bundle: &Bundle, file: &Path, depth: usize) -> anyhow::Result<Vec<TokenFrame>> {
    let audio = &bundle.manifest().audio;
    let mut reader = AudioReader::open(file)?;
    let format = reader.format();
    let mut intake = Intake::new(format.rate, format.channels, audio.sample_rate, audio.frame_samples)?;
    let mut encoder = Encoder::new(runtime, bundle, EncoderConfig { depth, beam: 4 })?;
    let mut buffer = vec![0.0; 4096 * usize::from(format.channels)];
    let mut sound: Vec<Vec<f32>> = Vec::new();
    while let count @ 1.. = reader.read(&mut buffer)? {
        intake.push(&buffer[..count], |frame| sound.push(frame.to_vec()));
    }
    intake.finish(|frame| sound.push(frame.to_vec()));
    sound.push(vec![0.0; audio.frame_samples]);
    Ok(sound.iter().map(|frame| encoder.push(frame)).collect::<Result<_, _>>()?)
}

/// What coding has come to.
#[derive(Debug, Default)]
struct Coded {
    bytes: usize,
    payloads: usize,
    /// The model's own cross-entropy.
    bits: f64,
    report_bytes: usize,
}

impl Coded {
    fn add(&mut self, payload: &[u8], coder: &EntropyCoder) {
        self.bytes += payload.len();
        self.payloads += 1;
        self.bits += coder.bits();
    }
}

fn as_files(model: &EntropyModel, clips: &[Vec<TokenFrame>]) -> anyhow::Result<Coded> {
    let mut coder = EntropyCoder::new(model);
    let mut coded = Coded::default();
    let (mut payload, mut back) = (Vec::new(), Vec::new());
    for block in clips.iter().flat_map(|clip| clip.chunks(MAX_BLOCK_FRAMES)) {
        payload.clear();
        coder.encode(block, &mut payload)?;
        coded.add(&payload, &coder);
        back.clear();
        coder.decode(&payload, block.len(), block[0].depth(), &mut back)?;
        if back != block {
            bail!("a file does not decode to what was coded");
        }
    }
    Ok(coded)
}

/// Packets of 60 ms, each clip a call of its own; without reports each packet alone.
fn as_packets(model: &EntropyModel, clips: &[Vec<TokenFrame>], every: Option<Duration>) -> anyhow::Result<Coded> {
    let mut coded = Coded::default();
    let (mut payload, mut back) = (Vec::new(), Vec::new());
    for clip in clips {
        let mut path = CallPath::new(ROUND_TRIP, every.unwrap_or_default());
        let (mut sender, mut receiver) = (EntropyCoder::new(model), EntropyCoder::new(model));
        for (number, packet) in clip.chunks(PACKET).enumerate() {
            let first = (number * PACKET) as u64;
            let sent_at = FRAME * (first as u32 + packet.len() as u32);
            let context = path.send(sent_at, first, packet.len());
            let context = if every.is_some() { context } else { FrameSet::EMPTY };
            payload.clear();
            sender.encode_in(first, packet, &context, &mut payload)?;
            coded.add(&payload, &sender);
            back.clear();
            receiver.decode_in(first, &payload, packet.len(), packet[0].depth(), &context, &mut back)?;
            if back != packet {
                bail!("a packet does not decode to what was coded");
            }
        }
        coded.report_bytes += path.report_bytes;
    }
    Ok(coded)
}

/// Bits of each codebook's codes in all.
struct ByBook {
    /// By how often each code is used among these very clips.
    unconditional: Vec<f64>,
    /// Given the frame's coarser codes.
    coarser: Vec<f64>,
    /// And the frames before.
    past: Vec<f64>,
}

fn bits_by_book(floats: &FloatModel, clips: &[Vec<TokenFrame>]) -> ByBook {
    let depth = clips[0][0].depth();
    let sum = |reach| {
        clips.iter().flat_map(|clip| clip.chunks(MAX_BLOCK_FRAMES)).fold(vec![0.0; depth], |mut sum, block| {
            sum.iter_mut().zip(floats.bits(block, reach)).for_each(|(sum, bits)| *sum += bits);
            sum
        })
    };
    let unconditional = (0..depth).map(|book| {
        let mut counts = vec![0_u32; 1024];
        clips.iter().flatten().for_each(|frame| counts[usize::from(frame.codes()[book])] += 1);
        let total = f64::from(counts.iter().sum::<u32>());
        counts
            .iter()
            .filter(|count| **count > 0)
            .map(|&count| -f64::from(count) * (f64::from(count) / total).log2())
            .sum()
    });
    ByBook { unconditional: unconditional.collect(), coarser: sum(0), past: sum(usize::MAX) }
}

fn book_table(found: &ByBook, frames: f64) -> String {
    let mut text =
        "| codebook | perplexity | unconditional | given coarser codes | and the past, as in a file |\n".to_owned();
    text += "| --- | --- | --- | --- | --- |\n";
    let a = |bits: f64| bits / frames;
    for (book, ((&one, &two), &three)) in found.unconditional.iter().zip(&found.coarser).zip(&found.past).enumerate() {
        text += &format!("| {} | {:.0} | {:.2} | {:.2} | {:.2} |\n", book + 1, a(one).exp2(), a(one), a(two), a(three));
    }
    let sum = |bits: &[f64]| a(bits.iter().sum());
    text + &format!(
        "| all, bits a frame | | {:.2} | {:.2} | {:.2} |\n",
        sum(&found.unconditional),
        sum(&found.coarser),
        sum(&found.past)
    )
}

fn coder_table(baselines: &[Baseline], ours: &[(&str, &Coded)], raw: f64) -> String {
    let mut text = "\n| coder | coded / raw |\n| --- | --- |\n".to_owned();
    for Baseline { name, bits } in baselines {
        let shown = bits.map_or("not installed".to_owned(), |bits| format!("{:.3}", bits / raw));
        text += &format!("| {name} | {shown} |\n");
    }
    for (name, coded) in ours {
        text += &format!("| **the transformer: {name}** | **{:.3}** |\n", coded.bytes as f64 * 8.0 / raw);
    }
    text
}

/// Microseconds a frame with a kernel: the slower of encoding and decoding, packets of three frames of a long call, all of
/// the last 256 frames known. Null if this processor does not have the kernel.
fn time(model: &EntropyModel, kernel: Kernel, clips: &[Vec<TokenFrame>]) -> anyhow::Result<Value> {
    let (Some(mut sender), Some(mut receiver)) =
        (EntropyCoder::with_kernel(model, kernel), EntropyCoder::with_kernel(model, kernel))
    else {
        return Ok(Value::Null);
    };
    let (mut encode, mut decode) = (Durations::default(), Durations::default());
    let (mut known, mut payload, mut back) = (FrameSet::EMPTY, Vec::new(), Vec::new());
    let mut first = 0;
    for packet in clips.iter().flat_map(|clip| clip.chunks_exact(PACKET)) {
        payload.clear();
        back.clear();
        let start = Instant::now();
        sender.encode_in(first, packet, &known, &mut payload)?;
        let encoded = Instant::now();
        receiver.decode_in(first, &payload, PACKET, DEPTH, &known, &mut back)?;
        let decoded = Instant::now();
        for _ in 0..PACKET {
            known.insert(first);
            first += 1;
        }
        if known.len() >= 250 {
            encode.record((encoded - start) / PACKET as u32);
            decode.record((decoded - encoded) / PACKET as u32);
        }
    }
    let slower = |of: fn(&Durations) -> u64| of(&encode).max(of(&decode));
    Ok(json!({ "p50": slower(|d| d.percentiles().p50), "p99": slower(|d| d.percentiles().p99) }))
}
