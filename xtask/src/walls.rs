//! Which crate may use which: `docs/architecture.md` has the table, and a test holds the workspace to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// For each crate, its folder and the crates of the workspace that it uses.
type Walls = BTreeMap<String, (String, BTreeSet<String>)>;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The words in backquotes of a table's cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table between the marks in the page.
fn stated(page: &str) -> Walls {
    let table = page.split("<!-- walls -->").nth(1).and_then(|rest| rest.split("<!-- end of walls -->").next());
    let rows =
        table.expect("docs/architecture.md has the marks of the table").lines().filter(|row| row.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, folder, _, uses] = cells[..] else { panic!("not four cells: {row}") };
        let [name, folder] = [name, folder].map(|cell| quoted(cell).concat());
        (name, (folder.trim_end_matches('/').to_owned(), quoted(uses).into_iter().collect()))
    })
    .collect()
}

/// The workspace as cargo knows it, tests' and benches' dependencies apart.
fn real() -> Walls {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let words = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
    let output = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let names: BTreeSet<String> = packages.iter().map(|package| text(&package["name"])).collect();
    let root = root().canonicalize().unwrap();
    packages
        .iter()
        .map(|package| {
            let folder = text(&package["manifest_path"]);
            let folder = Path::new(&folder).parent().unwrap().canonicalize().unwrap();
            let folder = folder.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let uses = dependencies.filter(|one| one["kind"].is_null()).map(|one| text(&one["name"]));
            (text(&package["name"]), (folder, uses.filter(|name| names.contains(name)).collect()))
        })
        .collect()
}

#[test]
fn crates_use_only_what_the_table_says() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (stated, real) = (stated(&page), real());
    assert!(real.len() > 15, "cargo told of {} crates", real.len());
    let differences: Vec<String> = real
        .keys()
        .chain(stated.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|name| real.get(*name) != stated.get(*name))
        .map(|name| format!("{name}: it is {:?}, and the page says {:?}", real.get(name), stated.get(name)))
        .collect();
    assert!(differences.is_empty(), "docs/architecture.md, \"Walls\":\n{}", differences.join("\n"));
}

#[test]
fn every_top_level_folder_is_explained() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let tracked = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    // A source archive has no history to ask.
    let paths = String::from_utf8(tracked.stdout).unwrap();
    let folders: BTreeSet<&str> =
        paths.split('\0').filter_map(|path| path.split_once('/')).map(|(top, _)| top).collect();
    let hidden = |folder: &&str| !folder.starts_with('.');
    let missing: Vec<&str> =
        folders.into_iter().filter(hidden).filter(|folder| !readme.contains(&format!("{folder}/"))).collect();
    assert!(missing.is_empty(), "README.md does not say what these folders hold: {missing:?}");
}
