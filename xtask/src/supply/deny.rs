//! `cargo xtask deny`: licences, known faults, sources and duplicates, by `deny.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, bail};
use semver::Version;
use serde::Deserialize;

use super::{
    Graph, Package,
    advisories::{self, Advisory},
    licence,
};
use crate::shell::root;

/// What of `deny.toml` is held here. Fields that are not, are cargo-deny's; a misspelt one of ours would be missing.
#[derive(Debug, Deserialize)]
struct Policy {
    graph: GraphPolicy,
    advisories: AdvisoryPolicy,
    licenses: LicencePolicy,
    bans: BanPolicy,
    sources: SourcePolicy,
}

#[derive(Debug, Deserialize)]
struct GraphPolicy {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct AdvisoryPolicy {
    ignore: Vec<Ignored>,
}

/// An advisory that is known and let through.
#[derive(Debug, Deserialize)]
struct Ignored {
    id: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct LicencePolicy {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BanPolicy {
    /// Crates that may be there in another version too.
    skip: Vec<Skipped>,
}

#[derive(Debug, Deserialize)]
struct Skipped {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SourcePolicy {
    allow_registry: Vec<String>,
}

/// Checks what is in the programs; says what is wrong, all of it.
pub(crate) fn run() -> anyhow::Result<()> {
    let text = fs::read_to_string(root().join("deny.toml")).context("deny.toml cannot be read")?;
    let policy: Policy = toml::from_str(&text).context("deny.toml")?;
    let graph = Graph::read(&policy.graph.targets)?;
    let known = advisories::read()?;
    let packages: Vec<&Package> = graph.packages.values().collect();
    let faults = faults(&policy, &packages, &known)?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} things of the {} crates are not as deny.toml wants them", faults.len(), packages.len());
    }
    println!(
        "{} crates: licences, sources and versions as deny.toml wants them; none has one of {} known faults",
        packages.len(),
        known.len()
    );
    Ok(())
}

fn faults(policy: &Policy, packages: &[&Package], known: &[Advisory]) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in packages {
        let title = format!("{} {}", package.name, package.version);
        faults.extend(licence_fault(policy, package).map(|fault| format!("licence: {title}: {fault}")));
        if let Some(source) = &package.source {
            let is_allowed = |registry: &String| *source == format!("registry+{registry}");
            if !policy.sources.allow_registry.iter().any(is_allowed) {
                faults.push(format!("source: {title} comes from {source}"));
            }
        } else {
            // Which version it is must not be left open where somebody else fills it in.
            let open = package.dependencies.iter().filter(|one| one.req == "*" && one.path.is_none());
            faults.extend(open.map(|one| format!("version: {title} takes any version of {}", one.name)));
        }
        let version = Version::parse(&package.version).with_context(|| title.clone())?;
        for advisory in known.iter().filter(|one| one.package == package.name && package.source.is_some()) {
            let is_ignored = policy.advisories.ignore.iter().any(|one| one.id == advisory.id && !one.reason.is_empty());
            if advisory.concerns(&version)? && !is_ignored {
                faults.push(format!("advisory: {title} has {}: {}", advisory.id, advisory.title));
            }
        }
    }
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let skipped: BTreeSet<&str> =
        policy.bans.skip.iter().map(|one| one.name.split('@').next().unwrap_or_default()).collect();
    for (name, versions) in versions {
        // Those that are known are named with the older version, so that a third one fails.
        let known = policy.bans.skip.iter().filter(|one| one.name.split('@').next() == Some(name)).count();
        if versions.len() > 1 + known {
            let list = versions.iter().copied().collect::<Vec<_>>().join(", ");
            faults.push(format!("duplicate: {name} is there as {list}"));
        }
        if versions.len() == 1 && skipped.contains(name) {
            faults.push(format!("duplicate: {name} is there once: it need not be under skip"));
        }
    }
    Ok(faults)
}

fn licence_fault(policy: &Policy, package: &Package) -> Option<String> {
    let Some(text) = &package.license else { return Some("it names none".to_owned()) };
    match licence::allows(text, &|name| policy.licenses.allow.iter().any(|allowed| allowed == name)) {
        Ok(true) => None,
        Ok(false) => Some(format!("{text} is not among those that are allowed")),
        Err(error) => Some(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [graph]
        targets = []
        [advisories]
        ignore = []
        [licenses]
        allow = ["MIT"]
        [bans]
        skip = [{ crate = "twice@1.0.0" }]
        [sources]
        allow-registry = ["https://registry"]
    "#;

    fn package(name: &str, version: &str, license: &str, source: Option<&str>) -> Package {
        Package {
            id: format!("{name}@{version}"),
            name: name.into(),
            version: version.into(),
            license: Some(license.into()),
            source: source.map(Into::into),
            manifest_path: String::new(),
            dependencies: Vec::new(),
        }
    }

    fn found(packages: &[Package]) -> Vec<String> {
        let known = toml::from_str::<BTreeMap<String, Vec<Advisory>>>(
            "[[advisory]]\nid = \"RUSTSEC-2000-0001\"\npackage = \"bad\"\ntitle = \"It is bad\"\npatched = [\">=2.0.0\"]",
        );
        let policy = toml::from_str(POLICY).unwrap();
        faults(&policy, &packages.iter().collect::<Vec<_>>(), &known.unwrap()["advisory"]).unwrap()
    }

    #[test]
    fn each_of_the_four_checks_finds_its_fault() {
        let registry = Some("registry+https://registry");
        let twice = [package("twice", "1.0.0", "MIT", registry), package("twice", "2.0.0", "MIT", registry)];
        let with = |more: &[Package]| found(&[&twice, more].concat());
        assert_eq!(with(&[package("good", "1.0.0", "MIT", registry), package("own", "0.1.0", "MIT", None)]), [""; 0]);
        let cases = [
            (package("good", "1.0.0", "GPL-3.0", registry), "licence: good 1.0.0"),
            (package("good", "1.0.0", "MIT AND", registry), "licence: good 1.0.0"),
            (package("good", "1.0.0", "MIT", Some("registry+https://other")), "source: good 1.0.0"),
            (package("good", "1.0.0", "MIT", Some("git+https://registry")), "source: good 1.0.0"),
            (package("bad", "1.9.0", "MIT", registry), "advisory: bad 1.9.0 has RUSTSEC-2000-0001"),
            (package("twice", "3.0.0", "MIT", registry), "duplicate: twice is there as 1.0.0, 2.0.0, 3.0.0"),
        ];
        for (package, fault) in cases {
            let found = with(&[package]);
            assert!(found.len() == 1 && found[0].starts_with(fault), "{fault}: {found:?}");
        }
        assert_eq!(with(&[package("bad", "2.0.0", "MIT", registry)]), [""; 0]);
        // Nothing stays allowed that is not there.
        assert_eq!(found(&twice[..1]).len(), 1);
        let mut open = package("own", "0.1.0", "MIT", None);
        open.dependencies.push(Requirement { name: "any".into(), req: "*".into(), path: None });
        assert!(with(&[open])[0].starts_with("version: own 0.1.0 takes any version of any"));
    }

    use super::super::Requirement;
}
