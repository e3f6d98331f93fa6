//! The direction of the dependencies between the modules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each module and the modules of this crate that it may use. A module may use only modules above it,
/// so there is no cycle. Files below a module belong to it, unless they have a line of their own.
const MAY_USE: &[(&str, &[&str])] = &[
    ("panics", &[]),
    ("error", &["panics"]),
    ("progress", &["error"]),
    ("source::version", &[]),
    ("source::retry", &[]),
    ("source::error", &[]),
    ("source::reader", &[]),
    ("source::child", &["source::reader"]),
    ("source", &["source::version", "source::retry", "source::error"]),
    ("core", &["error", "panics", "progress", "source::version", "source::retry", "source::error", "source"]),
    ("store", &["error", "panics", "core"]),
    ("actor::sync", &["panics"]),
    ("actor::shared", &["error", "progress", "actor::sync"]),
    ("actor::message", &["error", "progress", "core", "actor::shared", "actor::sync"]),
    ("handle", &["error", "progress", "core", "store", "actor::shared", "actor::message"]),
    (
        "actor",
        &[
            "error",
            "panics",
            "progress",
            "source",
            "source::error",
            "core",
            "store",
            "actor::shared",
            "actor::message",
        ],
    ),
    (
        "builder",
        &[
            "source",
            "source::retry",
            "source::reader",
            "source::child",
            "core",
            "store",
            "actor::shared",
            "actor::message",
            "handle",
            "actor",
        ],
    ),
];

/// The crates that the pure core may use.
const CORE_MAY_USE: &[&str] = &["std", "bytes", "crate", "self", "super"];

/// Names that must not occur in the core: I/O, clocks, threads, runtimes.
const CORE_MUST_NOT_NAME: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::net",
    "std::sync",
    "::now(",
    "SystemTime",
    "tokio",
    "tracing",
    "futures",
];

/// The lines of code: no comments, and nothing after the start of a test module, which may use anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

/// The line of the table that a path such as `actor::message::Reply` belongs to.
fn entry(path: &str) -> Option<&'static str> {
    let belongs = |name: &&str| path == *name || path.starts_with(&format!("{name}::"));
    MAY_USE.iter().map(|(name, _)| *name).filter(belongs).max_by_key(|name| name.len())
}

/// The modules that the file of `module` uses.
fn uses(module: &str, text: &str) -> BTreeSet<&'static str> {
    let parent =
        module.rsplit_once("::").map_or("crate::".into(), |(parent, _)| format!("crate::{parent}::"));
    let lines = code(text).map(|line| line.replace("super::", &parent)).collect::<Vec<_>>();
    let paths = lines.iter().flat_map(|line| line.split("crate::").skip(1));
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    paths.filter_map(|path| entry(path.split(|c| !is_path(c)).next().unwrap())).collect()
}

/// The crates that a source text imports.
fn imports(text: &str) -> BTreeSet<&str> {
    let paths = code(text).filter_map(|line| line.trim_start_matches("pub ").strip_prefix("use "));
    paths.map(|path| path.split(&[':', ';', ' '][..]).next().unwrap()).collect()
}

/// What is wrong with the imports of the file of `module`.
fn wrong(module: &str, text: &str) -> Vec<String> {
    let own = entry(module).unwrap_or_else(|| panic!("{module} has no place in the order"));
    let allowed = MAY_USE.iter().find(|(name, _)| *name == own).map_or(&[][..], |(_, uses)| uses);
    let ours = uses(module, text).into_iter().filter(|name| *name != own && !allowed.contains(name));
    let mut wrong: Vec<_> = ours.map(|name| format!("{own} must not use {name}")).collect();
    if own == "core" {
        let others = imports(text).into_iter().filter(|name| !CORE_MAY_USE.contains(name));
        wrong.extend(others.map(|name| format!("core must not import {name}")));
        let named = CORE_MUST_NOT_NAME.iter().filter(|name| code(text).any(|line| line.contains(*name)));
        wrong.extend(named.map(|name| format!("core must not name {name}")));
    }
    wrong
}

/// All source files of the library, with their module paths. Test modules and the documentation pages
/// are left out.
fn files(dir: &Path, module: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner = if module.is_empty() { stem.to_owned() } else { format!("{module}::{stem}") };
        if path.is_dir() {
            if stem != "tests" && stem != "docs" {
                files(&path, &inner, found);
            }
        } else if path.extension().is_some_and(|is| is == "rs") {
            match stem {
                "lib" | "tests" => {}
                "mod" => found.push((module.to_owned(), path)),
                _ => found.push((inner, path)),
            }
        }
    }
}

#[test]
fn dependencies_run_one_way() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    let mut seen = BTreeSet::new();
    for (module, path) in found {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(wrong(&module, &text), [""; 0], "in {}", path.display());
        seen.insert(entry(&module).unwrap());
    }
    let listed: BTreeSet<_> = MAY_USE.iter().map(|(module, _)| *module).collect();
    assert_eq!(seen, listed, "every line of the order has a file");
}

#[test]
fn the_order_has_no_cycle() {
    for (at, (module, uses)) in MAY_USE.iter().enumerate() {
        for name in *uses {
            let before = MAY_USE[..at].iter().any(|(earlier, _)| earlier == name);
            assert!(before, "{module} uses {name}, which is not above it");
        }
    }
}

#[test]
fn an_import_that_runs_the_wrong_way_is_found() {
    assert_eq!(wrong("handle::reader", "use crate::actor::StreamBuffer;"), ["handle must not use actor"]);
    assert_eq!(
        wrong("actor::shared", "use super::message::Reply;"),
        ["actor::shared must not use actor::message"]
    );
    assert_eq!(wrong("core", "use crate::actor::message::Reply;"), ["core must not use actor::message"]);
    assert_eq!(wrong("core::read", "use rustix::fs;"), ["core must not import rustix"]);
    assert_eq!(wrong("core", "    tokio::spawn(x);"), ["core must not name tokio"]);
    assert_eq!(wrong("core", "let now = Instant::now();"), ["core must not name ::now("]);
    assert_eq!(wrong("core", "// use tokio::sync;\nuse bytes::Bytes;\nuse crate::error::Error;"), [""; 0]);
}
