//! Token files that promise much: what `parlo decode` takes of memory; and what its sandbox costs.

use std::{
    fs,
    mem::MaybeUninit,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlo_model::{Bundle, locate_bundle};
use parlo_protocol::ptk::{Header, MAX_BLOCK_FRAMES, Mark, Run, Stream, Tokens, Writer};
use parlo_tokens::ComfortNoise;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// Of the recording that is played whole, hours.
const HOURS: u32 = 24;

/// Pairs of runs with and without the sandbox.
const PAIRS: usize = 15;

/// No file may take longer.
const DECODE_TIMEOUT: Duration = Duration::from_secs(600);

/// The most memory that `parlo decode` takes for any of these files, MiB.
pub(crate) fn measure(parlo: &Path) -> anyhow::Result<f64> {
    let bundle = Bundle::open(&locate_bundle(None)?)?;
    let folder = tempfile::tempdir()?;
    let mut most = 0.0_f64;
    for (name, bytes) in files(&bundle)? {
        let file = folder.path().join("bomb.ptk");
        fs::write(&file, &bytes)?;
        let (start, mib) = (Instant::now(), peak_mib(parlo, &file)?);
        println!("{name}, {} bytes: {mib:.0} MiB, {:.1} s", bytes.len(), start.elapsed().as_secs_f64());
        most = most.max(mib);
    }
    Ok(most)
}

/// Files, and what each is.
fn files(bundle: &Bundle) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let silence = |count| Run { mark: Mark::Silent, count, codes: None, noise: Some(ComfortNoise::SILENCE) };
    let lost = |count| Run { mark: Mark::Faded, count, codes: None, noise: None };
    let of_streams = |names: &[&str], blocks: &mut dyn FnMut(&mut Writer, &mut Vec<u8>)| -> anyhow::Result<Vec<u8>> {
        let streams = names.iter().zip(0..).map(|(name, id)| Stream { id, name: (*name).to_owned() }).collect();
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&header(bundle, streams), &mut bytes)?;
        blocks(&mut writer, &mut bytes);
        writer.end(None, &mut bytes);
        Ok(bytes)
    };
    let at = |writer: &mut Writer, out: &mut Vec<u8>, stream, time, runs: &[Run<'_>]| {
        writer.block(stream, time, runs, out).unwrap();
    };
    let last = u32::MAX - 60_000;
    let minutes = HOURS * 60;
    let full = MAX_BLOCK_FRAMES;
    let frame_ms = 20;
    Ok(vec![
        ("one frame, seven weeks in", of_streams(&["said"], &mut |writer, out| at(writer, out, 0, last, &[lost(1)]))?),
        (
            "two streams, a frame each, four hours apart",
            of_streams(&["said", "heard"], &mut |writer, out| {
                at(writer, out, 0, 0, &[lost(1)]);
                at(writer, out, 1, 4 * 3_600_000 - 1000, &[lost(1)]);
            })?,
        ),
        (
            "a frame every hour for a week",
            of_streams(&["said"], &mut |writer, out| {
                (0..168).for_each(|hour| at(writer, out, 0, hour * 3_600_000, &[silence(1)]));
            })?,
        ),
        (
            "blocks of as many frames as there can be, of no bytes each, for a day",
            of_streams(&["said"], &mut |writer, out| {
                let length = full as u32 * frame_ms;
                (0..HOURS * 3_600_000 / length).for_each(|block| at(writer, out, 0, block * length, &[lost(full)]));
            })?,
        ),
        (
            "16 streams of silence",
            of_streams(
                &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"],
                &mut |writer, out| {
                    (0..16).for_each(|stream| at(writer, out, stream, 0, &[silence(full)]));
                },
            )?,
        ),
        (
            "a recording of a day, in which nobody speaks",
            of_streams(&["said", "heard"], &mut |writer, out| {
                for minute in 0..minutes {
                    (0..2).for_each(|stream| at(writer, out, stream, minute * 60_000, &[silence(full)]));
                }
            })?,
        ),
        ("whole frames that are not there", {
            let mut bytes = Vec::new();
            let mut writer = Writer::begin(&header(bundle, Vec::new()), &mut bytes)?;
            for _ in 0..64 {
                writer.whole(full, &[0; 8], &mut bytes)?;
            }
            writer.end(Some(u64::MAX >> 1), &mut bytes);
            bytes
        }),
    ])
}

fn header(bundle: &Bundle, streams: Vec<Stream>) -> Header {
    let audio = &bundle.manifest().audio;
    Header {
        tokens: Tokens {
            id: bundle.tokens().prefix(),
            bundle_name: bundle.manifest().name.clone(),
            sample_rate: audio.sample_rate,
            frame_samples: audio.frame_samples as u32,
            depth: bundle.layout().depth() as u8,
            coding: parlo_archive::best_coding(bundle),
        },
        created_ms: None,
        streams,
        metadata: Vec::new(),
    }
}

fn decode(parlo: &Path, file: &Path) -> Command {
    let mut command = Command::new(parlo);
    command.args(["decode", "--force", "--keep-going"]).arg(file).arg("/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The most memory that a run takes. Whether it decodes the file or refuses it is not asked.
fn peak_mib(parlo: &Path, file: &Path) -> anyhow::Result<f64> {
    let mut command = decode(parlo, file);
    let seconds = DECODE_TIMEOUT.as_secs();
    // SAFETY: between fork and exec it sets an alarm, which outlives exec and ends a program that takes too long.
    unsafe {
        command.pre_exec(move || {
            libc::alarm(seconds as u32);
            Ok(())
        });
    }
    let child = command.spawn().context("cannot start parlo")?;
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the child is ours and nobody else waits for it; both are written to, and zeros are a valid `rusage` should it fail.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    if waited < 0 {
        bail!("parlo cannot be waited for: {}", std::io::Error::last_os_error());
    }
    if libc::WIFSIGNALED(status) {
        bail!("parlo decode was ended by signal {}", libc::WTERMSIG(status));
    }
    Ok(usage.ru_maxrss as f64 / 1024.0)
}

/// What the sandbox adds to the time of `parlo decode`, percent: the median of pairs, one with it and one where the kernel says that it has none.
pub(crate) fn sandbox_cost_pct(parlo: &Path) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let (clip, tokens) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech.flac"), folder.path().join("clip.ptk"));
    let encoded = Command::new(parlo).arg("encode").arg(clip).arg(&tokens).status()?;
    anyhow::ensure!(encoded.success(), "parlo encode failed");
    let rules = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp].map(|call| (call, Vec::new()));
    let processor = std::env::consts::ARCH.try_into()?;
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let without = SeccompFilter::new(rules.into(), SeccompAction::Allow, absent, processor)?;
    let without: BpfProgram = without.try_into()?;
    let time = |held: bool| -> anyhow::Result<f64> {
        let mut command = decode(parlo, &tokens);
        if !held {
            let without = without.clone();
            // SAFETY: between fork and exec it makes two system calls, and allocates nothing unless they fail.
            unsafe { command.pre_exec(move || apply_filter(&without).map_err(std::io::Error::other)) };
        }
        let start = Instant::now();
        anyhow::ensure!(command.status()?.success(), "parlo decode failed");
        Ok(start.elapsed().as_secs_f64())
    };
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        ratios.push(time(true)? / time(false)?);
    }
    ratios.sort_by(f64::total_cmp);
    println!("the sandbox: {:.3} times the time without, median of {PAIRS} pairs", ratios[PAIRS / 2]);
    Ok(100.0 * (ratios[PAIRS / 2] - 1.0).max(0.0))
}
