//! What comes from others: which crates, under which licences, with which known faults (`cargo xtask deny`), and the list of it all that
//! packages carry.
//!
//! The policy is `deny.toml`, in cargo-deny's form; `docs/supply-chain.md` says why this reads it and not cargo-deny.

mod advisories;
mod deny;
mod licence;
mod reproduce;
pub(crate) mod sbom;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::shell::{cargo, root};

pub(crate) use deny::run as deny;
pub(crate) use reproduce::{Options as ReproduceOptions, run as reproduce};

/// What cargo says of a crate.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// None for those in this tree.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
    dependencies: Vec<Requirement>,
}

/// What a crate asks for.
#[derive(Debug, Clone, Deserialize)]
struct Requirement {
    name: String,
    req: String,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Clone, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Clone, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// The crates of this tree and all that they come to, for some systems.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) packages: BTreeMap<String, Package>,
    /// What each is linked with or built by; not what its tests need.
    pub(crate) uses: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo, for these systems.
    pub(crate) fn read(systems: &[String]) -> anyhow::Result<Self> {
        let mut graph = Self::default();
        for system in systems {
            let mut ask = cargo();
            ask.args(["metadata", "--format-version=1", "--locked", "--all-features", "--filter-platform", system]);
            let said = ask.output().context("cannot start cargo")?;
            if !said.status.success() {
                bail!("cargo metadata failed: {}", String::from_utf8_lossy(&said.stderr));
            }
            graph.add(&said.stdout)?;
        }
        Ok(graph)
    }

    /// Adds what cargo said for one system.
    fn add(&mut self, said: &[u8]) -> anyhow::Result<()> {
        let metadata: Metadata = serde_json::from_slice(said).context("cargo metadata says what is not understood")?;
        let there: BTreeSet<&String> = metadata.resolve.nodes.iter().map(|node| &node.id).collect();
        // It lists packages of other systems too; only those in the graph are built.
        self.packages.extend(
            metadata
                .packages
                .iter()
                .filter(|package| there.contains(&package.id))
                .map(|one| (one.id.clone(), one.clone())),
        );
        for node in metadata.resolve.nodes {
            let built = node
                .deps
                .into_iter()
                .filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
            self.uses.entry(node.id).or_default().extend(built.map(|edge| edge.pkg));
        }
        Ok(())
    }

    /// Everything that these crates of the tree are made of, themselves among it.
    pub(crate) fn under(&self, names: &[&str]) -> BTreeSet<&str> {
        let own =
            self.packages.values().filter(|package| package.source.is_none() && names.contains(&package.name.as_str()));
        let mut open: Vec<&str> = own.map(|package| package.id.as_str()).collect();
        let mut all = BTreeSet::new();
        while let Some(id) = open.pop() {
            if all.insert(id) {
                open.extend(self.uses.get(id).into_iter().flatten().map(String::as_str));
            }
        }
        all
    }
}

/// What `Cargo.lock` says of a crate.
#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// SHA-256 of each crate's archive, by name and version.
pub(crate) fn checksums() -> anyhow::Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    let text = fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock cannot be read")?;
    let lock: Lock = toml::from_str(&text).context("Cargo.lock is not understood")?;
    Ok(lock.package.into_iter().filter_map(|one| Some(((one.name, one.version), one.checksum?))).collect())
}
