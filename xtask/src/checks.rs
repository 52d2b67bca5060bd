//! Checks that compilers and lints do not make: which crate may use which, and tidiness.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use crate::process::{command, output};
use crate::test::Totals;

/// A crate of the product may use those before it.
const ORDER: [&str; 10] = [
    "inngest-core",
    "inngest-expr",
    "inngest-queue",
    "inngest-state",
    "inngest-executor",
    "inngest-connect",
    "inngest-api",
    "inngest-config",
    "inngest-devserver",
    "inngest-cli",
];

/// For tests only: nothing may depend on it but as a dev-dependency.
const TESTKIT: &str = "inngest-testkit";

/// Crates that compute and do nothing else.
const PURE: [&str; 2] = ["inngest-core", "inngest-expr"];

/// What the pure crates must not have anywhere below them.
const NOT_PURE: [&str; 3] = ["tokio", "hyper", "rusqlite"];

/// Lines of a source file, tests apart.
const LINES_MAX: usize = 1_000;

pub(crate) fn crates() -> anyhow::Result<Totals> {
    let metadata = output(&mut command("cargo", ["metadata", "--no-deps", "--format-version", "1"]))?;
    let mut problems = dependency_problems(&serde_json::from_str(&metadata)?)?;
    for name in PURE {
        let tree = output(&mut command("cargo", ["tree", "-e", "normal", "--prefix", "none", "-p", name]))?;
        problems.extend(impure(name, &tree));
    }
    Ok(report(&problems))
}

/// Dependencies in the wrong direction. Dev-dependencies are free, since tests do not ship.
fn dependency_problems(metadata: &Value) -> anyhow::Result<Vec<String>> {
    let place = |name: &str| ORDER.iter().position(|other| *other == name);
    let mut problems = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists packages")? {
        let name = package["name"].as_str().context("a package has a name")?;
        let own = place(name);
        if own.is_none() && name.starts_with("inngest-") && name != TESTKIT {
            problems.push(format!("{name} has no place in the order of the crates"));
        }
        for dependency in package["dependencies"].as_array().context("a package has dependencies")? {
            let other = dependency["name"].as_str().context("a dependency has a name")?;
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let backwards = own.is_some_and(|own| place(other).is_some_and(|other| other >= own));
            if other == TESTKIT || backwards {
                problems.push(format!("{name} must not depend on {other}"));
            }
        }
    }
    Ok(problems)
}

/// What a pure crate has below it and must not have, by the output of `cargo tree --prefix none`.
fn impure(name: &str, tree: &str) -> Vec<String> {
    let below: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    NOT_PURE.iter().filter(|bad| below.contains(*bad)).map(|bad| format!("{name} has {bad} below it")).collect()
}

pub(crate) fn tidy() -> anyhow::Result<Totals> {
    let listed = output(&mut command("git", ["ls-files", "-z"]))?;
    let mut problems = Vec::new();
    let mut sources = String::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // A file that is deleted but still in the index, or not text.
        let Ok(text) = fs::read_to_string(path) else { continue };
        problems.extend(forbidden_lines(path, &text));
        if path.ends_with(".rs") {
            problems.extend(rust_problems(path, &text));
            sources.push_str(&text);
        }
    }
    let scenarios = fs::read_to_string("xtask/src/sdk.rs").unwrap_or_default();
    match fs::read_to_string("docs/COMPAT.md") {
        Ok(table) => problems.extend(untested_rows(&table, &sources, &scenarios)),
        Err(error) => problems.push(format!("docs/COMPAT.md: {error}")),
    }
    Ok(report(&problems))
}

fn rust_problems(path: &str, text: &str) -> Vec<String> {
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
    let mut problems = Vec::new();
    if !text.starts_with("//!") && !path.contains("/tests/") {
        problems.push(format!("{path}: the module's idea is missing (//! at the top)"));
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    if lines > LINES_MAX && !is_test {
        problems.push(format!("{path}: {lines} lines; split it"));
    }
    problems
}

/// Texts that no file may hold, put together here so that this file does not hold them.
fn forbidden() -> Vec<String> {
    let halves = [
        ("db", "g!("),
        ("to", "do!("),
        ("unimple", "mented!("),
        ("index.crates", ".io"),
        ("static.crates", ".io"),
        ("registry.npm", "js.org"),
        ("pypi", ".org"),
        ("files.python", "hosted.org"),
        ("proxy.golang", ".org"),
        ("repo.mav", "en"),
    ];
    halves.iter().map(|(start, end)| format!("{start}{end}")).collect()
}

/// Lines that hold a forbidden text or a path of one machine.
fn forbidden_lines(path: &str, text: &str) -> Vec<String> {
    let forbidden = forbidden();
    let is_lock = path.ends_with("Cargo.lock");
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if is_lock && line.starts_with("source = \"registry+") {
            continue;
        }
        let found = forbidden.iter().find(|bad| line.contains(bad.as_str())).cloned();
        if let Some(bad) = found.or_else(|| machine_path(line)) {
            problems.push(format!("{path}:{}: {bad:?} has no place in the repository", number + 1));
        }
    }
    problems
}

/// An absolute path below a directory that other machines do not have. The same words in the middle of a longer path
/// or of a URL are none.
fn machine_path(line: &str) -> Option<String> {
    ["work", "root", "home"].map(|directory| format!("/{directory}/")).into_iter().find(|path| {
        line.match_indices(path.as_str()).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|before| before.is_alphanumeric() || "_-.~/}>*".contains(before))
        })
    })
}

/// Tests that the table names in backticks, in its column of tests, and that do not exist. `sdk::` stands before the
/// scenarios of the SDK apps.
fn untested_rows(table: &str, sources: &str, scenarios: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut column = None;
    for (number, line) in table.lines().enumerate() {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            column = None;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(column) = column else {
            // The first row of a table is its heading.
            column = Some(cells.iter().position(|cell| cell.to_ascii_lowercase().starts_with("test")));
            continue;
        };
        let cell = column.and_then(|column: usize| cells.get(column)).copied().unwrap_or_default();
        for test in cell.split('`').skip(1).step_by(2) {
            let exists = match test.strip_prefix("sdk::") {
                Some(scenario) => scenarios.contains(&format!("\"{scenario}\"")),
                None => sources.contains(&format!("fn {}(", test.rsplit("::").next().unwrap_or(test))),
            };
            if !exists {
                problems.push(format!("docs/COMPAT.md:{}: there is no test {test}", number + 1));
            }
        }
    }
    problems
}

fn report(problems: &[String]) -> Totals {
    for problem in problems {
        println!("{problem}");
    }
    Totals::of(problems.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_go_one_way() {
        let problems = |name: &str, kind: Option<&str>, other: &str| {
            let dependency = serde_json::json!({"name": other, "kind": kind});
            let metadata = serde_json::json!({"packages": [{"name": name, "dependencies": [dependency]}]});
            dependency_problems(&metadata).unwrap().len()
        };
        for (name, kind, other, expected) in [
            ("inngest-expr", None, "inngest-core", 0),
            ("inngest-expr", None, "serde", 0),
            ("inngest-core", None, "inngest-expr", 1),
            ("inngest-core", Some("build"), "inngest-expr", 1),
            ("inngest-core", Some("dev"), "inngest-testkit", 0),
            ("inngest-core", None, "inngest-testkit", 1),
            ("bench", None, "inngest-testkit", 1),
            ("inngest-testkit", None, "inngest-core", 0),
            ("inngest-news", None, "inngest-core", 1),
        ] {
            assert_eq!(problems(name, kind, other), expected, "{name} {kind:?} {other}");
        }
    }

    #[test]
    fn pure_crates_have_no_runtime_below_them() {
        assert!(impure("a", "a v0.1.0 (/x/a)\nserde v1.0.0\ntokio-less v1.0.0\n").is_empty());
        assert_eq!(impure("a", "a v0.1.0 (/x/a)\ntokio v1.0.0\nhyper v1.0.0 (*)\n").len(), 2);
    }

    #[test]
    fn untidy_files_are_named() {
        let long = format!("//! a\n{}", "x\n".repeat(1_000));
        let tested = format!("//! a\n#[cfg(test)]\n{}", "x\n".repeat(1_000));
        for (path, text, expected) in [
            ("src/a.rs", "fn main() {}", 1),
            ("src/a.rs", "//! a\nfn main() {}", 0),
            ("src/a.rs", &long, 1),
            ("src/a.rs", &tested, 0),
            ("src/a/tests.rs", &long, 0),
            ("crate/tests/data/a.rs", "fn main() {}", 0),
        ] {
            assert_eq!(rust_problems(path, text).len(), expected, "{path} {:?}", &text[..12]);
        }
    }

    #[test]
    fn forbidden_texts_are_found() {
        for bad in forbidden() {
            assert_eq!(forbidden_lines("a.md", &format!("first\nsee {bad} here")).len(), 1, "{bad}");
        }
        let registry = format!("registry+https://{}", forbidden()[3]);
        let [work, root, home] = ["work", "root", "home"].map(|directory| format!("/{directory}/"));
        for (path, line, expected) in [
            ("Cargo.lock", format!("source = \"{registry}\""), 0),
            ("Cargo.lock", format!("name = \"{registry}\""), 1),
            ("a.md", format!("source = \"{registry}\""), 1),
            ("a.sh", format!("cd {work}main"), 1),
            ("a.sh", format!("{home}x"), 1),
            ("a.sh", format!("P=\"{root}.cargo\""), 1),
            ("a.md", format!("tests{work}x and http://host.io{home}y"), 0),
        ] {
            assert_eq!(forbidden_lines(path, &line).len(), expected, "{path} {line}");
        }
    }

    #[test]
    fn rows_name_tests_that_exist() {
        let table = "Text with `backticks`.\n\n| Feature | Tests | Note |\n|---|---|---|\n\
                     | a | `module::known` `sdk::scenario` | `other` |\n| b | `missing` | |\n| c | none | |\n\n\
                     | Word | Meaning |\n|---|---|\n| d | `nothing` |\n";
        let problems = untested_rows(table, "fn known() {} fn missing_too() {}", "run(\"scenario\", ..)");
        assert_eq!(problems, ["docs/COMPAT.md:6: there is no test missing"]);
        assert_eq!(untested_rows(table, "", "").len(), 3);
    }
}
