//! Tokens in files and in bulk: speed from sound to file and back, what a file takes beside its codes, files of a day, and encoding
//! on two workers of a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::{Row, Speech};
use crate::{
    python,
    score::Sound,
    setup,
    shell::{self, cargo, root},
};

pub(super) const ROWS: [Row; 12] = [
    ("encode_x", "`parlo encode`, times as fast as it plays, on one core", "x", Some("at least 40")),
    ("decode_x", "`parlo decode`, times as fast as it plays, on one core", "x", Some("at least 60")),
    ("encode_jobs2_x", "`parlo encode --recursive --jobs 2`, times as fast as it plays", "x", None),
    (
        "ptk_overhead_pct",
        "a file beyond 64 bytes and what the entropy model says its codes hold; half a minute or more",
        "%",
        Some("at most 1"),
    ),
    ("ptk_overhead_pct_clip", "the same of one clip of 4 to 10 s, the worst of 34", "%", None),
    ("day_mib", "both sides of a call of 24 hours, codes as they are", "MiB", None),
    ("open_ms_24h", "opening that", "ms", Some("under 50")),
    ("open_cut_ms_24h", "opening it without its index, as after a crash", "ms", None),
    ("seek_ms_24h", "any second of it, median", "ms", Some("under 50")),
    ("seek_ms_24h_worst", "any second of it, worst of 201", "ms", None),
    ("ray_speedup_2_workers", "encoding with Ray on two workers, times as fast as on one", "x", None),
    ("ray_x_1_worker", "encoding with Ray on one worker, times as fast as it plays", "x", None),
];

/// How often encoding and decoding are measured; the median counts.
const ROUNDS: usize = 5;
/// How often the clips are gone through in the file that is encoded.
const REPEATS: usize = 2;

pub(super) fn document() -> &'static Path {
    Path::new("docs/lab/performance.md")
}

pub(super) fn measure(speech: &Speech) -> anyhow::Result<Map<String, Value>> {
    shell::run(cargo().args(["build", "--release", "--locked", "-p", "parlo"]))?;
    let out = root().join("out/bench/tokens");
    let _ = fs::remove_dir_all(&out);
    let clips = clips(speech, &out.join("speech"))?;
    let mut figures = speed(&out)?;

    let mut overhead = cargo();
    let json = out.join("files.json");
    overhead.args(["bench", "--locked", "-p", "parlo-archive", "--bench", "tokens", "--", "--json"]).arg(&json);
    for clip in &clips {
        overhead.arg(out.join("tokens").join(clip).with_extension("ptk"));
    }
    shell::run(&mut overhead)?;
    let files: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&json)?)?;
    figures.extend(files);
    figures.extend(ray(&out)?);
    Ok(figures)
}

/// Held-out speech as WAV files of 16 kHz in a folder of their own; their names.
fn clips(speech: &Speech, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (list, speech) = speech.check()?;
    fs::create_dir_all(folder)?;
    let (mut names, mut all, mut half_minute) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in fs::read_to_string(list)?.lines().enumerate() {
        let sound = Sound::read(&speech.join(line.trim()))?.at(16_000);
        let name = PathBuf::from(format!("{number:02}.wav"));
        write(&folder.join(&name), &sound.samples)?;
        all.extend_from_slice(&sound.samples);
        half_minute.extend_from_slice(&sound.samples);
        names.push(name);
        if half_minute.len() >= 30 * 16_000 {
            let name = PathBuf::from(format!("half-minute-{number:02}.wav"));
            write(&folder.join(&name), &half_minute)?;
            names.push(name);
            half_minute.clear();
        }
    }
    let repeated: Vec<f32> = std::iter::repeat_n(all, REPEATS).flatten().collect();
    write(&folder.with_file_name("long.wav"), &repeated)?;
    Ok(names)
}

fn write(file: &Path, samples: &[f32]) -> anyhow::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec)?;
    for sample in samples {
        writer.write_sample((sample * 32767.0).clamp(-32768.0, 32767.0) as i16)?;
    }
    Ok(writer.finalize()?)
}

/// The programs as people run them, start and end included.
fn speed(out: &Path) -> anyhow::Result<Map<String, Value>> {
    let (long, tokens, back) = (out.join("long.wav"), out.join("long.ptk"), out.join("back.wav"));
    let seconds = Sound::read(&long)?.seconds();
    let mut in_folder = 0.0;
    for file in fs::read_dir(out.join("speech"))? {
        in_folder += Sound::read(&file?.path())?.seconds();
    }
    let (mut encode, mut decode, mut folder) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        encode.push(seconds / took(parlo()?.args(["encode", "--force"]).args([&long, &tokens]))?);
        decode.push(seconds / took(parlo()?.args(["decode", "--force"]).args([&tokens, &back]))?);
        let made = out.join("tokens");
        let _ = fs::remove_dir_all(&made);
        let mut recursive = shell::program("parlo")?;
        recursive.args(["encode", "--recursive", "--jobs", "2"]).arg(out.join("speech")).arg(&made);
        folder.push(in_folder / took(&mut recursive)?);
    }
    let mut figures = Map::new();
    figures.insert("encode_x".into(), json!(median(encode)));
    figures.insert("decode_x".into(), json!(median(decode)));
    figures.insert("encode_jobs2_x".into(), json!(median(folder)));
    Ok(figures)
}

/// The program, held to one core where that can be said.
fn parlo() -> anyhow::Result<Command> {
    let program = shell::program("parlo")?;
    if !shell::succeeds("taskset", &["--version"]) {
        return Ok(program);
    }
    let mut pinned = Command::new("taskset");
    pinned.current_dir(root()).args(["--cpu-list", "0"]).arg(program.get_program());
    pinned.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(pinned)
}

fn took(command: &mut Command) -> anyhow::Result<f64> {
    let start = Instant::now();
    let output = command.output().context("cannot start it")?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(start.elapsed().as_secs_f64())
}

/// One worker against two; null where Ray cannot be had.
fn ray(out: &Path) -> anyhow::Result<Map<String, Value>> {
    let mut figures = Map::new();
    let json = out.join("ray.json");
    let measured = setup::run(setup::Purpose::Test).and_then(|()| python::environment()).and_then(|python| {
        let mut command = Command::new(python);
        command.current_dir(root()).arg("clients/python/benches/ray_speedup.py");
        command.arg("--speech").arg(out.join("speech")).arg("--report").arg(&json);
        command.env_remove("ORT_DYLIB_PATH").env_remove("PARLO_BUNDLE");
        shell::run(&mut command)?;
        Ok(fs::read_to_string(&json)?)
    });
    let found: Map<String, Value> = match measured {
        Ok(text) => serde_json::from_str(&text)?,
        Err(error) => {
            eprintln!("Ray was not measured: {error:#}");
            Map::new()
        }
    };
    for (key, name) in [("ray_speedup_2_workers", "ray_speedup_2_workers"), ("ray_x_1_worker", "x_real_time_1_worker")]
    {
        figures.insert(key.into(), found.get(name).cloned().unwrap_or(Value::Null));
    }
    Ok(figures)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
