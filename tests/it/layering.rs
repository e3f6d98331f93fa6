//! The direction of the dependencies between the modules, held by machine.

use std::collections::BTreeSet;
use std::path::Path;

/// Each module and what it may name of ours. Whatever stands here may use only what stands above
/// it, so there is no cycle.
const MAY_USE: &[(&str, &[&str])] = &[
    ("guard", &[]),
    ("error", &[]),
    ("signal", &["error"]),
    ("spill", &["guard", "error"]),
    ("core", &["error"]),
    ("progress", &["core"]),
    ("message", &["error", "signal", "core"]),
    ("handle", &["error", "signal", "core", "progress", "message"]),
    ("fetch", &["error", "signal", "core", "message", "handle"]),
    ("reader", &["core", "handle", "fetch"]),
    ("chunks", &["error", "core", "handle", "fetch"]),
    ("save", &["error", "core", "handle"]),
    ("rooms", &[]),
    ("disk", &["error", "spill", "core", "message", "rooms"]),
    ("actor", &["guard", "error", "signal", "spill", "core", "progress", "message", "disk"]),
    ("builder", &["signal", "spill", "core", "handle", "actor"]),
];

/// What the pure core may name of other crates.
const CORE_MAY_USE: &[&str] = &["std", "bytes", "crate", "self", "super"];

/// The lines that are code: no comments, and no tests, which may name anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

/// The modules of ours that a source text names.
fn uses(text: &str) -> BTreeSet<&str> {
    let paths = code(text).flat_map(|line| line.split("crate::").skip(1));
    let names = paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
    names.filter(|name| MAY_USE.iter().any(|(module, _)| module == name)).collect()
}

/// The crates that a source text imports.
fn imports(text: &str) -> BTreeSet<&str> {
    let paths = code(text).filter_map(|line| line.trim_start_matches("pub ").strip_prefix("use "));
    paths.map(|path| path.split(&[':', ';', ' '][..]).next().unwrap()).collect()
}

/// What is wrong with the imports of a file of `module`.
fn wrong(module: &str, text: &str) -> Vec<String> {
    let allowed = MAY_USE.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, uses)| uses);
    let ours = uses(text).into_iter().filter(|name| *name != module && !allowed.contains(name));
    let mut wrong: Vec<_> = ours.map(|name| format!("{module} must not use {name}")).collect();
    if module == "core" {
        let others = imports(text).into_iter().filter(|name| !CORE_MAY_USE.contains(name));
        let local = |name: &&str| !text.contains(&format!("mod {name};"));
        wrong.extend(others.filter(local).map(|name| format!("core must not import {name}")));
        let io =
            ["std::io", "std::fs", "std::time", "std::thread", "std::net", "tokio", "tracing", "futures"];
        let named = io.iter().filter(|name| code(text).any(|line| line.contains(*name)));
        wrong.extend(named.map(|name| format!("core must not name {name}")));
    }
    wrong
}

#[test]
fn dependencies_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    let mut check = |module: &str, path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(wrong(module, &text), [""; 0], "in {}", path.display());
        seen.insert(module.to_owned());
    };
    for entry in src.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        if module == "docs" {
            // Text; it is no part of a build.
            continue;
        }
        if path.is_dir() {
            for entry in path.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|is| is == "rs") && path.file_stem().unwrap() != "tests" {
                    check(module, &path);
                }
            }
        } else if module != "lib" {
            check(module, &path);
        }
    }
    let listed: BTreeSet<_> = MAY_USE.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(seen, listed, "every module has its place in the order");
}

#[test]
fn the_order_has_no_cycle() {
    for (at, (module, uses)) in MAY_USE.iter().enumerate() {
        for name in *uses {
            let before = MAY_USE[..at].iter().any(|(earlier, _)| earlier == name);
            assert!(before, "{module} uses {name}, which does not stand above it");
        }
    }
}

#[test]
fn an_import_that_runs_the_wrong_way_is_found() {
    assert_eq!(wrong("handle", "use crate::actor::StreamBuffer;"), ["handle must not use actor"]);
    assert_eq!(wrong("core", "use crate::message::Reply;"), ["core must not use message"]);
    assert_eq!(wrong("core", "use rustix::fs;"), ["core must not import rustix"]);
    assert_eq!(wrong("core", "    tokio::spawn(x);"), ["core must not name tokio"]);
    assert_eq!(wrong("core", "use std::io;"), ["core must not name std::io"]);
    assert_eq!(wrong("core", "// use tokio::sync;\nuse bytes::Bytes;\nuse crate::error::Error;"), [""; 0]);
}
