//! What a manifest must be beyond its syntax.

use parlo_guard::plain;

use crate::{
    bundle::MANIFEST,
    manifest::{Entropy, FIRST, FORMAT, Manifest, Quantizer, Tensor},
};

/// The longest reason that a bundle may give, bytes: it is shown in a sentence.
const MAX_REASON_BYTES: usize = 300;
/// The longest file that a bundle may list, bytes: files are read whole, to be hashed as they are used.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Values of all states together: each is held twice, 128 MiB in all.
const MAX_STATE_VALUES: usize = 1 << 24;
/// The longest latent: a run's frames of it are 8 MiB.
const MAX_DIMENSION: usize = 1 << 16;

/// `Err` is a sentence about what is wrong.
pub(crate) fn check(manifest: &Manifest) -> Result<(), String> {
    format(manifest)?;
    audio(manifest)?;
    files(manifest)?;
    quantizer(&manifest.quantizer)?;
    graphs(manifest)?;
    states(manifest)
}

/// Whether it has the fields of its format, and no other format's.
fn format(manifest: &Manifest) -> Result<(), String> {
    let format = manifest.format;
    if !(FIRST..=FORMAT).contains(&format) {
        return Err(format!("it has format {format}, and this program reads formats {FIRST} to {FORMAT}"));
    }
    let Manifest { tokens, audio, encoder, decoder, .. } = manifest;
    let fields = [
        ("[tokens]", tokens.is_some(), FORMAT),
        ("audio.delay_samples", audio.stated_delay.is_some(), FIRST),
        ("encoder.sha256", encoder.sha256.is_some(), FORMAT),
        ("encoder.delay_samples", encoder.delay_samples.is_some(), FORMAT),
        ("decoder.sha256", decoder.sha256.is_some(), FORMAT),
        ("decoder.delay_samples", decoder.delay_samples.is_some(), FORMAT),
    ];
    for (field, is_there, of) in fields {
        match (is_there, of == format) {
            (false, true) => return Err(format!("{field} is missing, which format {format} needs")),
            (true, false) => return Err(format!("{field} is of format {of}, and this manifest has format {format}")),
            _ => {}
        }
    }
    Ok(())
}

fn audio(manifest: &Manifest) -> Result<(), String> {
    let audio = &manifest.audio;
    if !(4_000..=192_000).contains(&audio.sample_rate) {
        return Err(format!("audio.sample_rate is {}; 4000 to 192000 Hz are possible", audio.sample_rate));
    }
    if audio.frame_samples == 0 || audio.frame_samples > audio.sample_rate as usize {
        return Err(format!("audio.frame_samples is {}; a frame lasts up to a second", audio.frame_samples));
    }
    if audio.delay_samples > audio.sample_rate as usize {
        let field =
            if audio.stated_delay.is_some() { "audio.delay_samples" } else { "encoder.delay_samples and decoder's" };
        return Err(format!("{field} is {}; up to a second is possible", audio.delay_samples));
    }
    let reason = audio.whole.as_deref();
    if reason.is_some_and(|reason| reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES || reason.contains('\n'))
    {
        return Err(format!(
            "audio.whole is the reason why the graphs cannot stream, up to {MAX_REASON_BYTES} bytes on one line"
        ));
    }
    Ok(())
}

fn files(manifest: &Manifest) -> Result<(), String> {
    let named = [Some(manifest.encoder.file.as_str()), Some(&manifest.decoder.file), manifest.quantizer.file()];
    let entropy = manifest.entropy.as_ref().map(Entropy::file);
    for name in named.into_iter().chain([entropy]).flatten() {
        if !manifest.files.contains_key(name) {
            return Err(format!("{name} is used, but not listed under [files]"));
        }
    }
    for name in manifest.files.keys() {
        // A bundle is one folder: its manifest must not make a program read elsewhere.
        if name.is_empty() || name.contains(['/', '\\', '\0']) || name == "." || name == ".." || name == MANIFEST {
            return Err(format!("\"{}\" under [files] is not the name of a file in the bundle's folder", plain(name)));
        }
    }
    if let Some((name, entry)) = manifest.files.iter().find(|(_, entry)| entry.bytes > MAX_FILE_BYTES) {
        return Err(format!("{name} under [files] has {} bytes; up to {MAX_FILE_BYTES} are possible", entry.bytes));
    }
    // The tokens' identity is made of these: they must have one form.
    let digits = |text: &str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if let Some((name, entry)) = manifest.files.iter().find(|(_, entry)| !digits(&entry.sha256)) {
        return Err(format!(
            "{name} under [files] has sha256 \"{}\", which is not 64 hexadecimal digits",
            entry.sha256
        ));
    }
    let graphs = [
        ("encoder", &manifest.encoder.file, &manifest.encoder.sha256),
        ("decoder", &manifest.decoder.file, &manifest.decoder.sha256),
    ];
    for (graph, file, stated) in graphs {
        let listed = manifest.files.get(file).map(|entry| entry.sha256.as_str()).unwrap_or_default();
        if let Some(stated) = stated.as_deref().filter(|stated| !stated.eq_ignore_ascii_case(listed)) {
            return Err(format!("{graph}.sha256 is {stated}, but under [files] {file} has {listed}"));
        }
    }
    Ok(())
}

fn quantizer(quantizer: &Quantizer) -> Result<(), String> {
    match quantizer {
        _ if quantizer.dimension().is_some_and(|dimension| dimension > MAX_DIMENSION) => {
            return Err(format!("a latent has more than {MAX_DIMENSION} values, which is more than are possible"));
        }
        Quantizer::GroupedResidual { dimension, groups, sizes, .. }
            if *groups == 0 || dimension % groups != 0 || sizes.len() % groups != 0 =>
        {
            return Err(format!(
                "quantizer.groups is {groups}, which must divide the dimension, {dimension}, and the number of books, {}",
                sizes.len()
            ));
        }
        Quantizer::BinarySpherical { dimension } if !(1..=16).contains(dimension) => {
            return Err(format!("quantizer.dimension is {dimension}; a code has 1 to 16 bits"));
        }
        Quantizer::FiniteScalar { levels } => {
            let all = levels.iter().try_fold(1_u32, |all, &level| all.checked_mul(level));
            if levels.is_empty() || levels.contains(&0) || levels.contains(&1) || all.is_none_or(|all| all > 65536) {
                return Err(format!(
                    "quantizer.levels is {levels:?}; each is 2 or more, and their product 65536 or less"
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

fn graphs(manifest: &Manifest) -> Result<(), String> {
    let Manifest { encoder, decoder, quantizer, audio, .. } = manifest;
    let frame = audio.frame_samples;
    let books = quantizer.sizes().len();
    // What the graphs hand each other, which depends on who quantizes.
    let (passed, kind) = (quantizer.dimension(), quantizer.kind());
    let wanted: [(&str, Option<&Tensor>, Option<usize>); 5] = [
        ("encoder.latent", encoder.latent.as_ref(), passed),
        ("decoder.latent", decoder.latent.as_ref(), passed),
        ("encoder.codes", encoder.codes.as_ref(), passed.is_none().then_some(books)),
        ("decoder.codes", decoder.codes.as_ref(), passed.is_none().then_some(books)),
        ("decoder.in_use", decoder.in_use.as_ref(), passed.is_none().then_some(books)),
    ];
    for (field, tensor, length) in wanted {
        match (tensor, length) {
            (Some(tensor), Some(length)) => holds(field, tensor, length)?,
            (None, Some(_)) => return Err(format!("{field} is missing, which a quantizer of kind \"{kind}\" needs")),
            (Some(_), None) => return Err(format!("{field} is of no use to a quantizer of kind \"{kind}\"")),
            (None, None) => {}
        }
    }
    holds("encoder.audio", &encoder.audio, frame)?;
    holds("decoder.audio", &decoder.audio, frame)?;
    if let Some(depth) = &decoder.depth_one_hot {
        if passed.is_none() {
            return Err(
                "decoder.depth_one_hot is of no use to a quantizer of kind \"graph\", which has decoder.in_use".into(),
            );
        }
        holds("decoder.depth_one_hot", depth, books + 1)?;
    }
    let mut open = [&encoder.audio, &decoder.audio].into_iter();
    if audio.whole.is_some() && !open.all(Tensor::is_open) {
        return Err("audio.whole says that the graphs take a whole recording at once, but encoder.audio and decoder.audio have \
                    no dimension of -1"
            .into());
    }
    for (graph, tensors) in [
        ("encoder", [Some(&encoder.audio), encoder.latent.as_ref(), encoder.codes.as_ref()]),
        ("decoder", [Some(&decoder.audio), decoder.latent.as_ref(), decoder.codes.as_ref()]),
    ] {
        let mut tensors = tensors.into_iter().flatten().map(Tensor::is_open);
        let first = tensors.next();
        if tensors.any(|open| Some(open) != first) {
            return Err(format!(
                "only one of {graph}'s tensors has a dimension of -1: what goes in and comes out is as long"
            ));
        }
    }
    Ok(())
}

/// Whether a tensor holds so many values for each frame, and one frame's after the other's.
fn holds(field: &str, tensor: &Tensor, length: usize) -> Result<(), String> {
    let shape = &tensor.shape;
    if elements(&tensor.shape_for(1)) != Some(length) {
        return Err(format!("{field} has shape {shape:?}, which does not hold {length} values"));
    }
    let at = shape.iter().position(|&dimension| dimension == -1);
    if at.is_some_and(|at| shape[..at].iter().any(|&dimension| dimension != 1) || shape[at + 1..].contains(&-1)) {
        return Err(format!("{field} has shape {shape:?}: one dimension can be -1, and only ones before it"));
    }
    Ok(())
}

fn states(manifest: &Manifest) -> Result<(), String> {
    let mut states = manifest.encoder.states.iter().chain(&manifest.decoder.states);
    if manifest.audio.whole.is_some()
        && let Some(state) = states.next()
    {
        return Err(format!(
            "state {} is of no use to graphs that take a whole recording at once (audio.whole)",
            state.input
        ));
    }
    let mut values = 0;
    for state in states {
        let Some(more) = elements(&state.shape) else {
            return Err(format!("state {} has shape {:?}; all dimensions must be positive", state.input, state.shape));
        };
        values += more;
        if values > MAX_STATE_VALUES {
            return Err(format!(
                "the states hold more than {MAX_STATE_VALUES} values, which is more than are possible"
            ));
        }
    }
    Ok(())
}

/// How many values a tensor of this shape holds, if that is a sane number (up to 16 Mi).
pub(crate) fn elements(shape: &[i64]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |product, &dimension| {
            usize::try_from(dimension).ok().filter(|&d| d > 0).and_then(|d| product.checked_mul(d))
        })
        .filter(|&product| product <= 1 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of docs/bundle.md that begin with this.
    fn examples(fence: &str) -> Vec<&'static str> {
        let page = include_str!("../../../docs/bundle.md");
        let fence = format!("```{fence}\n");
        let blocks = page.split(fence.as_str()).skip(1);
        blocks.map(|block| block.split("```").next().unwrap_or_default()).collect()
    }

    #[test]
    fn the_documented_manifests_are_some() {
        let manifests = examples("toml");
        assert_eq!(manifests.len(), 3);
        for text in manifests {
            let manifest = Manifest::parse(text).unwrap();
            assert_eq!(check(&manifest), Ok(()), "{text}");
            let id = parlo_tokens::BundleId::from_bytes([0; 32]);
            let tokens = crate::identity::identities(&manifest, id, |_| Err(())).unwrap();
            let stated = manifest.tokens.map_or_else(|| id.to_string(), |tokens| tokens.id);
            assert_eq!(tokens.iter().map(ToString::to_string).collect::<Vec<_>>(), [stated]);
        }
        let shared = examples("text");
        let example = Manifest::parse(examples("toml")[0]).unwrap();
        assert_eq!(shared, [crate::identity::shared(&example)]);
    }

    #[test]
    fn the_documented_quantizers_are_some() {
        let kinds: Vec<&str> = examples("toml quantizer")
            .into_iter()
            .map(|text| {
                let declared: Quantizer = toml::from_str(text).unwrap();
                assert_eq!(quantizer(&declared), Ok(()), "{text}");
                parlo_tokens::CodeLayout::new(&declared.sizes()).unwrap();
                declared.kind()
            })
            .collect();
        assert_eq!(kinds, ["binary-spherical", "finite-scalar", "grouped-residual"]);
    }

    #[test]
    fn every_field_is_on_the_page() {
        let page = include_str!("../../../docs/bundle.md");
        for text in examples("toml").into_iter().chain(examples("toml quantizer")) {
            let fields = text.lines().filter_map(|line| line.split_once(" = ")).map(|(field, _)| field);
            for field in fields.filter(|field| !field.starts_with('"')) {
                assert!(page.contains(&format!("`{field}`")), "{field}");
            }
        }
    }
}
