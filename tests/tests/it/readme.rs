//! The table of behaviours in this folder's README names tests. They exist.

use std::{fs, path::Path};

const README: &str = include_str!("../../README.md");

/// The files that a test's path may mean: `connection/it/http1`, `listener/src/proxy/tests`, `tests/limits`.
fn candidates(path: &str) -> Vec<String> {
    match path.split_once('/').expect("a package and a module") {
        ("tests", module) => vec![format!("tests/tests/it/{module}.rs")],
        (package, rest) => match rest.strip_prefix("src/") {
            Some(module) => vec![format!("crates/{package}/src/{module}.rs")],
            None => vec![format!("crates/{package}/tests/{rest}.rs")],
        },
    }
}

#[test]
fn every_test_that_it_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let (mut named, mut missing) = (0, Vec::new());
    for text in README.split('`').skip(1).step_by(2) {
        let Some((path, name)) = text.rsplit_once("::").filter(|(path, _)| path.contains('/')) else { continue };
        named += 1;
        let found = candidates(path).iter().any(|file| {
            fs::read_to_string(root.join(file)).is_ok_and(|source| {
                source.lines().any(|line| {
                    let line = line.trim_start();
                    let line = line.strip_prefix("async ").unwrap_or(line);
                    line.trim_start_matches("pub(crate) ")
                        .strip_prefix("fn ")
                        .and_then(|rest| rest.strip_prefix(name))
                        .is_some_and(|rest| rest.starts_with(['(', '<']))
                })
            })
        });
        if !found {
            missing.push(text);
        }
    }
    assert!(missing.is_empty(), "in the README and nowhere else: {missing:#?}");
    assert!(named > 100, "the table is there: {named}");
}
