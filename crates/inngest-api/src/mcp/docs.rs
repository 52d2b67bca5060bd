//! Our own documentation, which is part of the binary, for assistants to search and to read.

use std::collections::BTreeMap;

use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::native::{Call, Done, Native, Problem};
use crate::rest::rfc3339;

/// The pages of `docs/`, by name.
const DOCS: [(&str, &str); 5] = [
    ("ARCHITECTURE.md", include_str!("../../../../docs/ARCHITECTURE.md")),
    ("BENCHMARKS.md", include_str!("../../../../docs/BENCHMARKS.md")),
    ("CLI.md", include_str!("../../../../docs/CLI.md")),
    ("COMPAT.md", include_str!("../../../../docs/COMPAT.md")),
    ("FLOW_CONTROL.md", include_str!("../../../../docs/FLOW_CONTROL.md")),
];

/// A pattern, and what is made of it, in bytes; more is refused.
const PATTERN_BYTES_MAX: usize = 1_000;
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Matching lines that are told.
const MATCHES: usize = 10;
const MATCHES_MAX: usize = 100;

/// Of a line that is longer, the beginning is told.
const LINE_CHARS_MAX: usize = 500;

/// Of a page that is longer, the beginning is told to models; programs get all of it.
const TEXT_CHARS_MAX: usize = 2_000;

pub(super) fn tools() -> Vec<Native> {
    vec![
        Native::read(
            "grep_docs",
            "Search documentation",
            "Finds the lines of this server's documentation that match a regular expression, in any letter case.",
            grep,
        ),
        Native::read("read_doc", "Read documentation", "Reads a page of this server's documentation.", read),
        Native::read("list_docs", "List documentation", "Lists the pages of this server's documentation.", list),
    ]
}

/// What to look for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Grep {
    /// A regular expression; letter case does not count.
    pattern: String,
    /// How many lines at most: 10 unless said otherwise, 100 at most.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// Lines that match.
#[derive(Debug, Serialize)]
struct Found {
    matches: Vec<Line>,
    count: usize,
}

#[derive(Debug, Serialize)]
struct Line {
    file: &'static str,
    /// Counted from 1.
    line: usize,
    content: String,
}

async fn grep(Call { arguments, .. }: Call<Grep>) -> Result<Done, Problem> {
    let Grep { pattern, limit } = arguments;
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Problem::new(format!("pattern cannot exceed {PATTERN_BYTES_MAX} bytes")));
    }
    let limit = limit.unwrap_or(MATCHES);
    if !(1..=MATCHES_MAX).contains(&limit) {
        return Err(Problem::new(format!("limit must be from 1 to {MATCHES_MAX}")));
    }
    let regex = RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| Problem::new(format!("pattern is no regular expression: {error}")))?;
    let lines =
        DOCS.iter().flat_map(|(file, text)| text.lines().enumerate().map(move |(index, line)| (file, index, line)));
    let matches: Vec<Line> = lines
        .filter(|(.., line)| regex.is_match(line))
        .take(limit)
        .map(|(file, index, line)| Line { file, line: index + 1, content: beginning(line, LINE_CHARS_MAX).to_owned() })
        .collect();
    Done::of(&Found { count: matches.len(), matches })
}

/// Which page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// Its name, as list_docs and grep_docs tell it.
    path: String,
}

/// A page.
#[derive(Debug, Serialize)]
struct Page {
    path: &'static str,
    /// In bytes.
    size: usize,
    content: &'static str,
}

async fn read(Call { arguments, .. }: Call<Read>) -> Result<Done, Problem> {
    let path = arguments.path;
    if path.contains("..") {
        return Err(Problem::new("invalid path: directory traversal not allowed"));
    }
    let found = DOCS.iter().find(|(name, _)| *name == path);
    let (path, content) =
        found.ok_or_else(|| Problem::new(format!("no page {path:?}: list_docs tells which there are")))?;
    let page = Done::of(&Page { path, size: content.len(), content })?;
    let shown = beginning(content, TEXT_CHARS_MAX);
    let text = if shown.len() < content.len() { format!("{shown}\n… (truncated)") } else { shown.to_owned() };
    Ok(Done { text, ..page })
}

/// Nothing needs to be said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// All pages.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    generated_at: String,
    total_docs: usize,
    /// Sections.
    total_chunks: usize,
    /// How many pages each has.
    categories: BTreeMap<&'static str, usize>,
    /// How many pages are about one SDK.
    sdks: BTreeMap<&'static str, usize>,
    docs: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Named {
    path: &'static str,
    title: &'static str,
    size: usize,
}

async fn list(Call { api, .. }: Call<Nothing>) -> Result<Done, Problem> {
    let is_heading = |line: &&str| line.starts_with('#');
    let title = |text: &'static str| text.lines().find(is_heading).unwrap_or_default().trim_start_matches(['#', ' ']);
    Done::of(&Listed {
        generated_at: rfc3339(api.engine.ids().now()),
        total_docs: DOCS.len(),
        total_chunks: DOCS.iter().map(|(_, text)| text.lines().filter(is_heading).count()).sum(),
        categories: BTreeMap::from([("server", DOCS.len())]),
        sdks: BTreeMap::new(),
        docs: DOCS.iter().map(|(path, text)| Named { path, title: title(text), size: text.len() }).collect(),
    })
}

fn beginning(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_of_the_documentation_is_embedded() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let entries =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = entries.filter(|name| name.ends_with(".md")).collect();
        files.sort_unstable();
        assert_eq!(DOCS.map(|(name, _)| name.to_owned()).to_vec(), files);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!((beginning("äöü", 2), beginning("äöü", 3)), ("äö", "äöü"));
    }
}
