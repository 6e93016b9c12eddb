//! `parlo export`.

use std::{io::Write, ops::ControlFlow, path::PathBuf};

use anyhow::bail;
use clap::{Args, ValueEnum};
use parlo_archive::{Archive, ArchiveError, Coder, TimedFrame};
use parlo_audio_io::output::Kind;
use parlod::sentence_of;
use serde_json::json;

use super::{
    Opened, TimeRange,
    info::mark,
    npz::{Column, Zip},
};
use crate::{
    codec,
    confine::{Needs, Output},
    decode,
    io_path::{Anywhere, IoPath},
};

/// Writes codes for other programs.
#[derive(Debug, Args)]
#[command(after_help = "\
npz    for each stream the arrays NAME.codes (int16 or int32 [K, T]; -1 where a frame has no such code), NAME.times (float64 [T], seconds)
       and NAME.marks (uint8 [T], as in docs/file.md); and sample_rate, frame_samples, sizes
jsonl  one object a line: {\"stream\": \"said\", \"time\": 1.5, \"mark\": \"real\", \"codes\": [1, 2]}, times in seconds
csv    stream, time, mark, code_1, ..., code_K
wav    the sound, as parlo decode makes it; flac and opus likewise")]
pub(crate) struct Export {
    /// Token file; - is standard input
    input: IoPath,
    /// Where to; - is standard output
    output: IoPath,
    /// In which form; by default as the output's name ends
    #[arg(long = "as", value_name = "FORM")]
    form: Option<Form>,
    #[command(flatten)]
    range: TimeRange,
    /// Model bundle, a folder or a name; by default the one that the file was made with
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Of a damaged or unfinished file, take what lies before the damage
    #[arg(long)]
    keep_going: bool,
    /// Replace a file of the same kind that is there
    #[arg(long, short)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// NumPy
    Npz,
    /// JSON lines
    Jsonl,
    /// Comma-separated values
    Csv,
    /// Sound
    Wav,
    /// Sound
    Flac,
    /// Sound
    #[value(alias = "ogg")]
    Opus,
}

impl Form {
    fn kind(self) -> Kind {
        match self {
            Self::Npz => Kind::Npz,
            Self::Jsonl => Kind::Json,
            Self::Csv => Kind::Csv,
            Self::Wav => Kind::Wav,
            Self::Flac => Kind::Flac,
            Self::Opus => Kind::Opus,
        }
    }
}

impl Export {
    /// What it needs of the sandbox.
    pub(super) fn needs(&self) -> Needs<'_> {
        Needs {
            inputs: vec![&self.input],
            output: Output::File(&self.output),
            bundle: self.bundle.as_deref(),
            runs_model: matches!(self.form(), Ok(Form::Wav | Form::Flac | Form::Opus)),
            ..Needs::default()
        }
    }

    pub(super) fn run(&self) -> anyhow::Result<()> {
        let form = self.form()?;
        let claim = self.output.claim(form.kind(), &[&self.input], self.force)?;
        if matches!(form, Form::Wav | Form::Flac | Form::Opus) {
            // Sound is written as the name says; WAV where it says nothing.
            if form != Form::Wav
                && !matches!(&self.output, IoPath::File(path) if Kind::of_suffix(path) == Some(form.kind()))
            {
                bail!("{} can only be written to a file that is called so", form.kind());
            }
            let bundle = self.bundle.as_deref();
            return decode::decode(&self.input, &self.output, bundle, self.keep_going, self.range, self.force);
        }
        let Opened { name, mut archive } = {
            let opened = Opened::new(&self.input)?;
            opened.check(self.keep_going)?;
            opened
        };
        let tokens = archive.header().tokens.clone();
        let bundle = codec::bundle_of(&tokens, &name, self.bundle.as_deref())?;
        let mut coder = parlo_archive::coder(&bundle, tokens.coding)?;
        let mut out = claim.bytes()?;
        let written = match form {
            Form::Npz => self.npz(&mut archive, &mut coder, &mut out),
            _ => self.lines(&mut archive, &mut coder, form, &mut out),
        };
        written.map_err(|error| match error {
            error @ ArchiveError::Write(_) => codec::named(error.into(), &self.output),
            error => anyhow::anyhow!("{name}: {}", sentence_of(&error)),
        })?;
        out.finish()
    }

    /// The form that is asked for, or that the output's name tells.
    fn form(&self) -> anyhow::Result<Form> {
        if let Some(form) = self.form {
            return Ok(form);
        }
        let name = self.output.to_string();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match Form::from_str(ending, true) {
            Ok(form) => Ok(form),
            Err(_) => {
                bail!("{name} does not say which format to write; add --as npz, jsonl, csv, wav, flac or opus")
            }
        }
    }

    /// Lines of text, block by block, the streams one after another.
    fn lines(
        &self,
        archive: &mut Archive<Box<dyn Anywhere>>,
        coder: &mut Coder,
        form: Form,
        out: &mut impl Write,
    ) -> Result<(), ArchiveError> {
        let depth = usize::from(archive.header().tokens.depth);
        let mut text = String::new();
        if form == Form::Csv {
            text.push_str("stream,time,mark");
            (1..=depth).for_each(|n| text.push_str(&format!(",code_{n}")));
            text.push('\n');
        }
        for stream in archive.header().streams.clone() {
            self.frames(archive, coder, stream.number, |frames| {
                for frame in frames {
                    let (time, codes) = (frame.time_ms / 1000.0, frame.codes);
                    let codes = codes.as_ref().map_or(&[][..], |codes| codes.codes());
                    let line = if form == Form::Csv {
                        let codes: String = (0..depth)
                            .map(|n| format!(",{}", codes.get(n).map(u16::to_string).unwrap_or_default()))
                            .collect();
                        format!("{},{time:.6},{}{codes}\n", quoted(&stream.name), mark(frame.mark))
                    } else {
                        let codes = frame.codes.map(|_| codes);
                        let line =
                            json!({"stream": stream.name, "time": time, "mark": mark(frame.mark), "codes": codes});
                        format!("{line}\n")
                    };
                    text.push_str(&line);
                }
                let done = out.write_all(text.as_bytes()).map_err(ArchiveError::Write);
                text.clear();
                done
            })?;
        }
        out.write_all(text.as_bytes()).map_err(ArchiveError::Write)
    }

    fn npz(
        &self,
        archive: &mut Archive<Box<dyn Anywhere>>,
        coder: &mut Coder,
        out: &mut impl Write,
    ) -> Result<(), ArchiveError> {
        let (tokens, sizes) = (archive.header().tokens.clone(), coder.layout().sizes().to_vec());
        let depth = usize::from(tokens.depth);
        let wide = sizes.iter().any(|&size| size > 32_768);
        let mut zip = Zip::new(out);
        for stream in archive.header().streams.clone() {
            // An array says how long it is before it begins, and codes lie book after book.
            let mut codes = (0..depth).map(|_| Column::new()).collect::<Result<Vec<_>, _>>()?;
            let (mut times, mut marks, mut count) = (Column::new()?, Column::new()?, 0);
            self.frames(archive, coder, stream.number, |frames| {
                for frame in frames {
                    let own = frame.codes.as_ref().map_or(&[][..], |codes| codes.codes());
                    for (n, book) in codes.iter_mut().enumerate() {
                        let code = own.get(n).map_or(-1, |&code| i32::from(code));
                        if wide { book.push(&code.to_le_bytes()) } else { book.push(&(code as i16).to_le_bytes()) }?;
                    }
                    times.push(&(frame.time_ms / 1000.0).to_le_bytes())?;
                    marks.push(&[frame.mark.number()])?;
                }
                count += frames.len();
                Ok(())
            })?;
            // It becomes the name of a file in the archive, which leads nowhere else.
            let name = stream.name.replace(['/', '\\', '\0'], "_");
            let kind = if wide { "<i4" } else { "<i2" };
            zip.columns(&format!("{name}.codes"), kind, &[depth, count], &mut codes)?;
            zip.columns(&format!("{name}.times"), "<f8", &[count], &mut [times])?;
            zip.columns(&format!("{name}.marks"), "|u1", &[count], &mut [marks])?;
        }
        zip.array("sample_rate", "<u4", &[], &tokens.sample_rate.to_le_bytes())?;
        zip.array("frame_samples", "<u4", &[], &tokens.frame_samples.to_le_bytes())?;
        let sizes: Vec<u8> = sizes[..depth].iter().flat_map(|size| size.to_le_bytes()).collect();
        zip.array("sizes", "<u4", &[depth], &sizes)?;
        zip.finish()
    }

    /// Gives the frames of a stream in the range, block by block.
    fn frames(
        &self,
        archive: &mut Archive<Box<dyn Anywhere>>,
        coder: &mut Coder,
        stream: u8,
        mut each: impl FnMut(&[TimedFrame]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let (from, to, frame_ms) = (self.range.from_ms as f64, self.range.to_ms as f64, archive.frame_ms());
        let mut frames = Vec::new();
        archive.blocks(self.range.from_ms, Some(stream), |block| {
            if block.start_ms >= to {
                return Ok(ControlFlow::Break(()));
            }
            frames.clear();
            let decoded = coder.decode_block(block, frame_ms, &mut frames);
            decoded.map_err(|error| ArchiveError::Codes { seconds: block.start_ms / 1000.0, error })?;
            frames.retain(|frame| (from..to).contains(&frame.time_ms));
            each(&frames)?;
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// A text as a cell of CSV (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
