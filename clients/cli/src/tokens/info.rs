//! `parlo info`.

use std::path::Path;

use parlo_archive::{Archive, BookUse, Coding, Mark, StreamSurvey, Survey, is_loss, survey};
use parlo_guard::plain_json;
use parlod::sentence_of;
use serde_json::{Value, json};

use super::Opened;
use crate::{
    codec,
    daemon_verbs::print,
    format::{bytes, clock, plain, table},
    io_path::{Anywhere, IoPath},
};

pub(super) fn run(input: &IoPath, bundle: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let Opened { name, mut archive } = Opened::new(input)?;
    let tokens = archive.header().tokens.clone();
    // Without the model all but the codes can be counted; but one that is named must be right.
    let found = match codec::bundle_of(&tokens, &name, bundle) {
        Err(error) if bundle.is_some() => return Err(error),
        found => found,
    };
    let mut coder = match &found {
        Ok(bundle) => Some(parlo_archive::coder(bundle, tokens.coding)?),
        Err(_) => None,
    };
    let survey = survey(&mut archive, coder.as_mut())?;
    if json {
        return print(&plain_json(&format!("{:#}\n", as_json(&archive, &survey))));
    }
    print(&as_text(&archive, &survey, coder.is_some()))
}

/// What a coding is called.
fn coding(coding: Coding) -> &'static str {
    match coding {
        Coding::Plain => "plain",
        _ => "entropy-coded",
    }
}

/// What a mark is called in `docs/file.md`.
pub(super) fn mark(mark: Mark) -> String {
    match mark {
        Mark::Other(number) => format!("mark {number}"),
        known => format!("{known:?}").to_lowercase(),
    }
}

fn kbps(bytes: u64, duration_ms: u64) -> f64 {
    if duration_ms == 0 { 0.0 } else { bytes as f64 * 8.0 / duration_ms as f64 }
}

fn as_text(archive: &Archive<Box<dyn Anywhere>>, survey: &Survey, decoded: bool) -> String {
    let (header, duration_ms) = (archive.header(), archive.duration_ms());
    let tokens = &header.tokens;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("length", format!("{} ({:.3} s)", clock(duration_ms as f64 / 1000.0), duration_ms as f64 / 1000.0));
    row("tokens", tokens.id.to_string());
    row("bundle", plain(&tokens.bundle_name));
    row("sound", format!("{} Hz, {:.4} ms a frame", tokens.sample_rate, archive.frame_ms()).replace(".0000", ""));
    row("depth", format!("{} codes a frame", tokens.depth));
    let rate = |bytes: u64| format!("{:.3} kbps", kbps(bytes, duration_ms));
    row("codes", format!("{}, {}, {}", bytes(survey.payload_bytes), rate(survey.payload_bytes), coding(tokens.coding)));
    let index = if archive.has_index() { "with an index" } else { "without an index" };
    row("file", format!("{}, {}, version {}, {index}", bytes(survey.bytes), rate(survey.bytes), header.version));
    if let Some(samples) = archive.samples() {
        row("samples", samples.to_string());
    }
    if let Some(created) = header.created_ms {
        row("created", format!("{:.3} s after 1970-01-01 UTC", created as f64 / 1000.0));
    }
    for (key, value) in &header.metadata {
        row(&plain(key), plain(value));
    }
    let state = if survey.faults.is_empty() { "whole; all checksums are right" } else { "DAMAGED" };
    row("state", state.to_owned());
    let mut text = table(&rows);
    survey.faults.iter().for_each(|fault| text.push_str(&format!("  {}\n", sentence_of(fault))));
    survey.streams.iter().for_each(|stream| text.push_str(&stream_text(stream, decoded)));
    text
}

fn stream_text(stream: &StreamSurvey, decoded: bool) -> String {
    let marks: Vec<String> = stream.marks.iter().map(|(known, frames)| format!("{frames} {}", mark(*known))).collect();
    let lost: u64 = stream.marks.iter().filter(|(mark, _)| is_loss(*mark)).map(|(_, frames)| frames).sum();
    let share = 100.0 * lost as f64 / stream.frames.max(1) as f64;
    let mut text = format!(
        "\nStream {} \"{}\": {} frames ({}); {lost} coarse or lost ({share:.1} %)\n",
        stream.number,
        plain(&stream.name),
        stream.frames,
        marks.join(", "),
    );
    if !decoded {
        text.push_str("  its model is not here: how codebooks are used is not known\n");
        return text;
    }
    let title = ["book", "codes", "distinct", "of", "entropy, bits"].map(String::from).to_vec();
    let used = stream.books.iter().enumerate().filter(|(_, book)| book.codes > 0);
    let row = |(n, book): (usize, &BookUse)| {
        let entropy = format!("{:.2}", book.entropy_bits);
        vec![(n + 1).to_string(), book.codes.to_string(), book.distinct.to_string(), book.size.to_string(), entropy]
    };
    text.push_str(&table(&std::iter::once(title).chain(used.map(row)).collect::<Vec<_>>()));
    text
}

fn as_json(archive: &Archive<Box<dyn Anywhere>>, survey: &Survey) -> Value {
    let (header, duration_ms) = (archive.header(), archive.duration_ms());
    let tokens = &header.tokens;
    let metadata: Vec<Value> = header.metadata.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({
        "version": header.version,
        "tokens": tokens.id.to_string(),
        "bundle_name": tokens.bundle_name,
        "sample_rate": tokens.sample_rate,
        "frame_samples": tokens.frame_samples,
        "depth": tokens.depth,
        "coding": coding(tokens.coding),
        "created_ms": header.created_ms,
        "metadata": metadata,
        "duration_s": duration_ms as f64 / 1000.0,
        "samples": archive.samples(),
        "bytes": survey.bytes,
        "payload_bytes": survey.payload_bytes,
        "kbps": kbps(survey.bytes, duration_ms),
        "payload_kbps": kbps(survey.payload_bytes, duration_ms),
        "overhead_pct": survey.overhead_pct(),
        "blocks": survey.blocks,
        "index": archive.has_index(),
        "whole": survey.faults.is_empty(),
        "faults": survey.faults.iter().map(|fault| sentence_of(fault)).collect::<Vec<_>>(),
        "streams": survey.streams.iter().map(stream_json).collect::<Vec<_>>(),
    })
}

fn stream_json(stream: &StreamSurvey) -> Value {
    let marks: serde_json::Map<String, Value> =
        stream.marks.iter().map(|(known, frames)| (mark(*known), (*frames).into())).collect();
    let books: Vec<Value> = stream
        .books
        .iter()
        .map(|book| json!({"codes": book.codes, "distinct": book.distinct, "size": book.size, "entropy_bits": book.entropy_bits}))
        .collect();
    json!({
        "number": stream.number,
        "name": stream.name,
        "frames": stream.frames,
        "coded_frames": stream.coded,
        "codes": stream.codes,
        "payload_bytes": stream.payload_bytes,
        "marks": marks,
        "codebooks": books,
    })
}
