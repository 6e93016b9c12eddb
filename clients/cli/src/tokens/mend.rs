//! `parlo verify` and `parlo repair`.

use anyhow::bail;
use parlo_archive::{Loss, survey};

use super::Opened;
use crate::{
    codec,
    control::print,
    place::Place,
    words::{bytes, clock},
};

pub(super) fn verify(inputs: &[Place]) -> anyhow::Result<()> {
    let mut bad = 0;
    for input in inputs {
        let name = input.name("standard input");
        let faults = match Opened::new(input) {
            Ok(mut opened) => {
                let tokens = opened.archive.header().tokens.clone();
                let bundle = codec::bundle_of(&tokens, &name, None);
                let coder = bundle.map(|bundle| parlo_archive::coder(&bundle, tokens.coding));
                let mut coder = coder.ok().and_then(Result::ok);
                let found = survey(&mut opened.archive, coder.as_mut())?;
                if found.faults.is_empty() {
                    let what = if coder.is_some() {
                        ""
                    } else {
                        "; its model is not here, so that its codes were not decoded"
                    };
                    let length = clock(opened.archive.duration_ms() as f64 / 1000.0);
                    print(&format!("{name}: whole, {length}, {} blocks{what}\n", found.blocks))?;
                }
                found.faults
            }
            Err(error) if inputs.len() == 1 => return Err(error),
            Err(error) => vec![error.to_string().trim_start_matches(&format!("{name}: ")).to_owned()],
        };
        bad += usize::from(!faults.is_empty());
        if let [fault] = &faults[..]
            && inputs.len() == 1
        {
            bail!("{name}: {fault}");
        }
        faults.iter().for_each(|fault| eprintln!("parlo: {name}: {fault}"));
    }
    match bad {
        0 => Ok(()),
        _ => bail!("{bad} of {} files are damaged; `parlo repair` saves what is whole", inputs.len()),
    }
}

pub(super) fn repair(input: &Place, output: Option<&Place>) -> anyhow::Result<()> {
    let mut opened = Opened::new(input)?;
    let Some(output) = output.or_else(|| (!input.is_standard()).then_some(input)) else {
        bail!("standard input cannot be mended in its place; name a file with --output, or - for standard output");
    };
    let name = &opened.name;
    // Damage behind an index shows only when all is read.
    let whole = opened.archive.has_end_mark() && survey(&mut opened.archive, None)?.faults.is_empty();
    if whole && output == input {
        return print(&format!("{name} is whole: nothing to repair\n"));
    }
    let mut out = output.write_bytes()?;
    let repair = parlo_archive::repair(&mut opened.archive, &mut out);
    let repair = repair.map_err(|error| codec::named(error.into(), output))?;
    out.finish()?;
    let saved = format!(
        "{name}: saved {} of speech ({} frames, {})\n",
        clock(repair.made.duration_ms as f64 / 1000.0),
        repair.made.frames,
        bytes(repair.made.bytes)
    );
    let losses: String = repair.losses.iter().map(|loss| format!("{name}: {}\n", told(loss))).collect();
    if output.is_standard() {
        eprint!("{saved}{losses}");
        return Ok(());
    }
    print(&(saved + &losses))
}

fn told(loss: &Loss) -> String {
    let frames = match loss.frames {
        Some(1) => "1 frame".to_owned(),
        Some(frames) => format!("{frames} frames"),
        None => "it is not known how much".to_owned(),
    };
    format!("lost {} at byte {}, {:.1} s in ({frames})", bytes(loss.bytes), loss.at, loss.seconds)
}
