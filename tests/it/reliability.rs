//! Checks that the tests that the reliability page names exist, and that it names one for each rule.

use std::collections::BTreeSet;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file that a name such as `it::reading::rule_1_…` leads to.
fn file(name: &str) -> String {
    let parts: Vec<_> = name.split("::").collect();
    match parts[..] {
        ["save", _] => "src/handle/save/tests.rs".into(),
        ["answer", _] => "src/source/http/answer/tests.rs".into(),
        ["source", _] => "src/source/http/tests.rs".into(),
        ["http", "servers", _] => "tests/http/servers/mod.rs".into(),
        ["http", file, _] => format!("tests/http/{file}.rs"),
        ["core", file, _] => format!("src/core/tests/{file}.rs"),
        [binary @ ("it" | "real"), file, _] => format!("tests/{binary}/{file}.rs"),
        ["store", file, _] => format!("src/store/{file}/tests.rs"),
        ["footprint", _] => "tests/footprint.rs".into(),
        ["interleavings", file, _] => format!("tests/interleavings/src/{file}.rs"),
        ["objects", _] => "tests/objects/main.rs".into(),
        ["objects", file, _] => format!("tests/objects/{file}.rs"),
        ["decoders", _] => "tests/decoders/main.rs".into(),
        ["simulation", "remote", _] => "tests/simulation/remote/mod.rs".into(),
        ["simulation", "remote", file, _] => format!("tests/simulation/remote/{file}.rs"),
        ["simulation", _] => "tests/simulation/main.rs".into(),
        ["simulation", file, _] => format!("tests/simulation/{file}.rs"),
        _ => panic!("{name} leads to no file"),
    }
}

/// The names of the tests in a line: the texts in backticks that have colons.
fn tests(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|name| name.contains("::"))
}

#[test]
fn every_test_that_the_page_names_exists_and_every_rule_has_one() {
    let page = read("src/docs/reliability.md");
    let mut rules = BTreeSet::new();
    let mut count = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        if let Some(rule) = line.split('|').nth(1).and_then(|cell| cell.trim().parse::<u32>().ok()) {
            assert!(tests(line).next().is_some(), "no test is named for rule {rule}");
            rules.insert(rule);
        }
        for name in tests(line) {
            let (text, function) = (read(&file(name)), name.rsplit("::").next().unwrap());
            let at = text.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("{name} does not exist"));
            let before = &text[..at];
            let marked = before.rfind("#[test]").max(before.rfind("#[tokio::test"));
            let between = &before[marked.unwrap_or_else(|| panic!("{name} is not a test"))..];
            assert!(!between.contains("fn "), "{name} is not a test");
            count += 1;
        }
    }
    assert_eq!(rules, (1..=29).chain([32]).collect(), "each rule has its line");
    assert!(count > 100, "{count} tests were found on the page");
}
