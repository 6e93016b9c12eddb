//! Known faults of crates: `packaging/advisories.toml`, kept in the repository, so that a check needs no network.

use std::fs;

use anyhow::{Context, bail};
use semver::{Version, VersionReq};
use serde::Deserialize;

use crate::shell::root;

/// The file, from the repository's root.
pub(super) const FILE: &str = "packaging/advisories.toml";

/// One fault of one crate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advisory {
    /// RUSTSEC's number.
    pub(super) id: String,
    /// The crate.
    pub(super) package: String,
    /// What is wrong.
    pub(super) title: String,
    /// Versions in which it is mended; none if it is nowhere.
    patched: Vec<String>,
    /// Versions that never had it.
    #[serde(default)]
    unaffected: Vec<String>,
}

/// All of them.
///
/// # Errors
/// If the file cannot be read, or says of versions what is none.
pub(super) fn read() -> anyhow::Result<Vec<Advisory>> {
    let text = fs::read_to_string(root().join(FILE)).with_context(|| format!("{FILE} cannot be read"))?;
    parse(&text).context(FILE)
}

fn parse(text: &str) -> anyhow::Result<Vec<Advisory>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        advisory: Vec<Advisory>,
    }
    let File { advisory } = toml::from_str(text)?;
    for one in &advisory {
        if !one.id.starts_with("RUSTSEC-") {
            bail!("\"{}\" is no advisory's number", one.id);
        }
        // A range that is not understood must not count as no range.
        one.concerns(&Version::new(1, 0, 0)).with_context(|| one.id.clone())?;
    }
    Ok(advisory)
}

impl Advisory {
    /// Whether this version has the fault.
    pub(super) fn concerns(&self, version: &Version) -> anyhow::Result<bool> {
        for range in self.patched.iter().chain(&self.unaffected) {
            let range = VersionReq::parse(range).with_context(|| format!("\"{range}\" is no range of versions"))?;
            if range.matches(version) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
        [[advisory]]
        id = "RUSTSEC-2025-0023"
        package = "tokio"
        title = "A"
        patched = [">=1.38.2, <1.39.0", ">=1.44.2"]
        unaffected = ["<0.2.5"]
    "#;

    #[test]
    fn versions_are_told_apart() {
        let advisory = &parse(ONE).unwrap()[0];
        let concerns = |version: &str| advisory.concerns(&Version::parse(version).unwrap()).unwrap();
        assert!(concerns("1.38.1") && concerns("1.44.1") && concerns("1.39.0") && concerns("0.2.5"));
        assert!(!concerns("1.38.2") && !concerns("1.44.2") && !concerns("2.0.0") && !concerns("0.2.4"));
    }

    #[test]
    fn what_is_not_understood_is_no_advisory() {
        for (from, to) in
            [("RUSTSEC-", "CVE-"), ("\">=1.44.2\"", "\"later\""), ("patched", "mended"), ("title = \"A\"", "")]
        {
            assert!(parse(&ONE.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn the_file_is_understood() {
        let all = read().unwrap();
        let mut ids: Vec<_> = all.iter().map(|one| (&one.id, &one.package)).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!(all.len() > 30 && ids.len() == all.len(), "each once: {} of {}", ids.len(), all.len());
    }
}
