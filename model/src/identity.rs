//! What two sides must share to understand each other's tokens, and the identity that this has.

use std::fmt::Write as _;

use parlo_tokens::{BundleId, TokensId};
use sha2::{Digest, Sha256};

use crate::manifest::{Entropy, FIRST, Manifest, Quantizer, check};

/// What two sides must share, as `docs/bundle.md` has it: one text for the same tokens, another for any others.
///
/// The manifest has been checked: every file that it names is listed.
pub(crate) fn shared(manifest: &Manifest) -> String {
    let hash = |name: &str| manifest.files.get(name).map(|entry| entry.sha256.to_ascii_lowercase()).unwrap_or_default();
    let list = |numbers: &[u32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let Manifest { audio, quantizer, .. } = manifest;
    let mut text = format!(
        "parlo tokens\nsample_rate {}\nframe_samples {}\nquantizer {}\n",
        audio.sample_rate,
        audio.frame_samples,
        quantizer.kind()
    );
    let tensor = match quantizer {
        Quantizer::Residual { file, tensor, dimension, sizes } => {
            let _ = writeln!(text, "dimension {dimension}\nsizes {}\ncodebooks {}", list(sizes), hash(file));
            Some(tensor)
        }
        Quantizer::GroupedResidual { file, tensor, dimension, groups, sizes } => {
            let sizes = list(sizes);
            let _ = writeln!(text, "dimension {dimension}\ngroups {groups}\nsizes {sizes}\ncodebooks {}", hash(file));
            Some(tensor)
        }
        Quantizer::BinarySpherical { dimension } => {
            let _ = writeln!(text, "dimension {dimension}");
            None
        }
        Quantizer::FiniteScalar { levels } => {
            let _ = writeln!(text, "levels {}", list(levels));
            None
        }
        Quantizer::Graph { sizes } => {
            let _ = writeln!(text, "sizes {}", list(sizes));
            None
        }
    };
    // Without codebooks nothing but the decoder knows what a code stands for.
    if tensor.is_none() {
        let _ = writeln!(text, "decoder {}", hash(&manifest.decoder.file));
    }
    match &manifest.entropy {
        Some(Entropy::Transformer { file }) => {
            let _ = writeln!(text, "entropy transformer {}", hash(file));
        }
        None => text.push_str("entropy none\n"),
    }
    // Last, as a name may hold anything.
    if let Some(tensor) = tensor {
        let _ = writeln!(text, "tensor {tensor}");
    }
    text
}

fn digest(shared: &str) -> TokensId {
    TokensId::from_bytes(Sha256::digest(shared).into())
}

/// The identities of a bundle's tokens, the one first that is written and offered where there is place for one: of the first
/// format the bundle's own, else those that it serves, earliest first, and then what its tokens are by what both sides must share.
///
/// `read` reads a file of the bundle, verified.
///
/// # Errors
/// `Err(Ok(_))` is a sentence about what the manifest claims and is not so, `Err(Err(_))` what `read` said.
pub(crate) fn identities<E>(
    manifest: &Manifest,
    id: BundleId,
    mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<Vec<TokensId>, Result<String, E>> {
    let Some(tokens) = &manifest.tokens else { return Ok(vec![TokensId::from_bytes(*id.as_bytes())]) };
    let wrong = |reason: String| Err(Ok(reason));
    let ours = shared(manifest);
    let own = digest(&ours);
    if tokens.id.parse() != Ok(own) {
        return wrong(format!(
            "tokens.id is {}, but the rate, frames, codebooks and entropy model are those of tokens {own}: the bundle claims tokens \
             that are not its own",
            tokens.id
        ));
    }
    let mut all = Vec::with_capacity(tokens.serves.len() + 1);
    for claim in &tokens.serves {
        let served = match claim.parse::<TokensId>() {
            Ok(served) => served,
            Err(error) => return wrong(format!("tokens.serves: {error}")),
        };
        if served == own || all.contains(&served) {
            return wrong(format!(
                "tokens.serves names {claim} twice, or as well as tokens.id: each identity is named once"
            ));
        }
        let listed = manifest.files.iter().find(|(_, entry)| entry.sha256.eq_ignore_ascii_case(claim));
        let Some((name, _)) = listed else {
            return wrong(format!(
                "tokens.serves names {claim}, but no file under [files] has that hash: the manifest of that earlier bundle must lie \
                 in the folder, or nobody can tell whether the tokens are the same"
            ));
        };
        let earlier = read(name).map_err(Err)?;
        let earlier = match earlier_manifest(&earlier) {
            Ok(earlier) => earlier,
            Err(reason) => return wrong(format!("tokens.serves names {claim}, but {name} {reason}")),
        };
        let theirs = shared(&earlier);
        if let Some((there, here)) = theirs.lines().zip(ours.lines()).find(|(there, here)| there != here) {
            return wrong(format!(
                "tokens.serves names {claim}, but by {name} that bundle has \"{there}\" where this one has \"{here}\": its tokens \
                 are others"
            ));
        }
        if theirs != ours {
            return wrong(format!("tokens.serves names {claim}, but by {name} that bundle's tokens are others"));
        }
        all.push(served);
    }
    all.push(own);
    Ok(all)
}

/// A manifest of the first format; `Err` goes on from its file's name.
fn earlier_manifest(bytes: &[u8]) -> Result<Manifest, String> {
    let told = |reason: String| format!("is not a bundle's manifest: {}", reason.trim());
    let text = str::from_utf8(bytes).map_err(|error| told(error.to_string()))?;
    let manifest = Manifest::parse(text).map_err(|error| told(error.to_string()))?;
    check(&manifest).map_err(told)?;
    if manifest.format != FIRST {
        return Err(format!(
            "has format {}: only bundles of format {FIRST} have identities of their own",
            manifest.format
        ));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::FORMAT;

    /// The first example of docs/bundle.md, which is of format 2.
    fn newest() -> &'static str {
        let page = include_str!("../../docs/bundle.md");
        page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
    }

    /// The same as it was in the first format.
    fn earlier() -> String {
        let lines = newest().lines().filter(|line| {
            !["[tokens]", "id =", "sha256 =", "delay_samples ="].iter().any(|field| line.starts_with(field))
        });
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        text.replace("format = 2", "format = 1")
            .replace("frame_samples = 320", "frame_samples = 320\ndelay_samples = 320")
    }

    /// A bundle of format 2 that serves the earlier one, and the identities that it has.
    fn serving() -> (String, Vec<TokensId>) {
        let served = TokensId::from_bytes(Sha256::digest(earlier()).into());
        let own = digest(&shared(&Manifest::parse(newest()).unwrap()));
        let id = format!("id = \"{own}\"\n");
        let text = newest().replace(&id, &format!("{id}serves = [\"{served}\"]\n"));
        (text + &format!("\"first.toml\" = {{ bytes = 1, sha256 = \"{served}\" }}\n"), vec![served, own])
    }

    fn found(text: &str) -> Result<Vec<TokensId>, String> {
        let manifest = Manifest::parse(text).map_err(|error| error.to_string())?;
        check(&manifest)?;
        let read = |name: &str| if name == "first.toml" { Ok(earlier().into_bytes()) } else { Err(name.to_owned()) };
        identities(&manifest, BundleId::from_bytes([1; 32]), read).map_err(|error| error.unwrap_or_else(|name| name))
    }

    #[test]
    fn both_formats_of_a_bundle_share_their_tokens() {
        let (text, names) = serving();
        assert_eq!(found(&text), Ok(names));
        assert_eq!(found(&earlier()), Ok(vec![TokensId::from_bytes([1; 32])]));
        let (first, newest) = (Manifest::parse(&earlier()).unwrap(), Manifest::parse(newest()).unwrap());
        assert_eq!((first.format, newest.format), (FIRST, FORMAT));
        assert_eq!(shared(&first), shared(&newest));
        assert_eq!(first.audio.delay_samples, newest.audio.delay_samples);
    }

    #[test]
    fn whatever_is_changed_no_other_tokens_are_claimed() {
        let (text, names) = serving();
        let lines: Vec<&str> = text.lines().collect();
        let (mut refused, mut taken) = (0, 0);
        let mut judge = |changed: &str| match found(changed) {
            Err(reason) => {
                assert!(!reason.trim().is_empty());
                refused += 1;
            }
            Ok(found) => {
                // Not to serve is no false claim.
                assert!(found == names || found == names[1..], "{changed}");
                taken += 1;
            }
        };
        for at in 0..lines.len() {
            judge(&[&lines[..at], &lines[at + 1..]].concat().join("\n"));
            judge(&[&lines[..=at], &lines[at..]].concat().join("\n"));
            for other in 0..at {
                let mut swapped = lines.clone();
                swapped.swap(at, other);
                judge(&swapped.join("\n"));
            }
        }
        for (at, digit) in text.bytes().enumerate().filter(|(_, digit)| digit.is_ascii_hexdigit()) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if digit == b'1' { b'2' } else { b'1' };
            judge(std::str::from_utf8(&changed).unwrap());
        }
        assert!(refused > 500 && taken > 50, "{refused} refused, {taken} taken");
    }

    #[test]
    fn every_kind_of_quantizer_has_tokens_of_its_own() {
        let kind = |fields: &str| {
            let (before, rest) = newest().split_once("[quantizer]\n").unwrap();
            let (_, after) = rest.split_once("\n\n").unwrap();
            shared(&Manifest::parse(&format!("{before}[quantizer]\n{fields}\n\n{after}")).unwrap())
        };
        let books = "file = \"codebooks.safetensors\"\ntensor = \"codebooks\"\ndimension = 64\nsizes = [1024, 1024]";
        let all = [
            kind(&format!("kind = \"residual\"\n{books}")),
            kind(&format!("kind = \"grouped-residual\"\n{books}\ngroups = 1")),
            kind(&format!("kind = \"grouped-residual\"\n{books}\ngroups = 2")),
            kind("kind = \"binary-spherical\"\ndimension = 12"),
            kind("kind = \"binary-spherical\"\ndimension = 13"),
            kind("kind = \"finite-scalar\"\nlevels = [8, 5]"),
            kind("kind = \"finite-scalar\"\nlevels = [5, 8]"),
            kind("kind = \"graph\"\nsizes = [8, 5]"),
            kind("kind = \"graph\"\nsizes = [85]"),
        ];
        for (at, text) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| digest(other) != digest(text)), "{text}");
            // Only codebooks say what a code stands for, whatever the decoder is.
            assert_eq!(text.contains("\ndecoder "), !text.contains("\ncodebooks "), "{text}");
        }
        let graph = "parlo tokens\nsample_rate 16000\nframe_samples 320\nquantizer graph\nsizes 8 5\ndecoder \
                     2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\nentropy none\n";
        assert_eq!(all[7], graph);
        let binary = graph.replace("quantizer graph\nsizes 8 5", "quantizer binary-spherical\ndimension 12");
        assert_eq!(all[3], binary);
    }
}
