//! Configuration files: found in the working directory or above it, in JSON, YAML or TOML.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::ConfigError;

/// Names that are looked for in each directory, in this order.
const NAMES: [&str; 4] = ["inngest.json", "inngest.yaml", "inngest.yml", "inngest.toml"];

/// The content of a file: keys with their values as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Keys and values; a scalar is a list of one.
    pub values: Vec<(String, Vec<String>)>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The first file that could be parsed.
    pub file: Option<File>,
    /// Files on the way that could not, with the reason.
    pub broken: Vec<(PathBuf, String)>,
}

/// Reads the file that the user named.
pub fn read_named(path: &str) -> Result<File, ConfigError> {
    read(Path::new(path)).map_err(|cause| ConfigError::File { path: path.to_owned(), cause })
}

/// Reads a whole document from a file that the user named; an empty one is an empty object.
pub fn read_document(path: &str) -> Result<Value, ConfigError> {
    let wrong = |cause| ConfigError::File { path: path.to_owned(), cause };
    match parse(Path::new(path)).map_err(wrong)? {
        Value::Null => Ok(Value::Object(Map::new())),
        value => Ok(value),
    }
}

/// Looks in `from`, in every directory above it, and in `~/.config/inngest`.
#[must_use]
pub fn search(from: &Path, home: Option<&Path>) -> Found {
    let mut found = Found::default();
    let user = home.map(|home| home.join(".config/inngest"));
    for dir in from.ancestors().map(Path::to_owned).chain(user) {
        for name in NAMES {
            let path = dir.join(name);
            if !path.is_file() {
                continue;
            }
            match read(&path) {
                Ok(file) => {
                    found.file = Some(file);
                    return found;
                }
                Err(cause) => found.broken.push((path, cause)),
            }
        }
    }
    found
}

fn parse(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("error parsing config file: {error}"))?;
    let parsed = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => json(&text),
        Some("toml") => toml(&text),
        Some(_) => yaml(&text),
        None => yaml(&text).or_else(|_| json(&text)),
    };
    parsed.map_err(|error| format!("error parsing config file: {error}"))
}

fn read(path: &Path) -> Result<File, String> {
    let object = match parse(path)? {
        Value::Object(object) => object,
        // An empty file, or one with comments only.
        Value::Null => Map::new(),
        _ => return Err("error parsing config file: keys with values are expected".to_owned()),
    };
    let values = object.into_iter().filter_map(|(key, value)| Some((key, texts(value)?))).collect();
    Ok(File { path: path.to_owned(), values })
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn yaml(text: &str) -> Result<Value, String> {
    serde_norway::from_str(text).map_err(|error| error.to_string())
}

fn toml(text: &str) -> Result<Value, String> {
    ::toml::from_str(text).map_err(|error| error.to_string())
}

fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Null => None,
        Value::Array(items) => Some(items.into_iter().filter_map(texts).flatten().collect()),
        Value::String(text) => Some(vec![text]),
        other => Some(vec![other.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path).map(|file| file.values)
    }

    #[test]
    fn every_format_is_read() {
        let expected =
            vec![("port".to_owned(), vec!["9".to_owned()]), ("urls".to_owned(), vec!["a".to_owned(), "b".to_owned()])];
        for (name, text) in [
            ("x.json", r#"{"port":9,"urls":["a","b"]}"#),
            ("x.yaml", "port: 9\nurls: [a, b]\n"),
            ("x.yml", "port: 9\nurls:\n  - a\n  - b\n"),
            ("x.toml", "port = 9\nurls = [\"a\", \"b\"]\n"),
            ("x", "port: 9\nurls: [a, b]\n"),
        ] {
            let mut found = values(name, text).unwrap();
            found.sort();
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(values("x.yaml", "# nothing yet\n").unwrap(), []);
        for (name, text) in [("x.json", "{"), ("x.yaml", "- a"), ("x.toml", "port"), ("x.json", "1")] {
            assert!(values(name, text).unwrap_err().starts_with("error parsing config file"), "{name} {text}");
        }
    }

    #[test]
    fn a_document_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let document = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            read_document(path.to_str().unwrap())
        };
        let expected = serde_json::json!({ "throttles": [{ "name": "a", "limit": 1 }] });
        for (name, text) in [
            ("x.json", r#"{"throttles":[{"name":"a","limit":1}]}"#),
            ("x.yaml", "throttles:\n  - name: a\n    limit: 1\n"),
            ("x.toml", "[[throttles]]\nname = \"a\"\nlimit = 1\n"),
        ] {
            assert_eq!(document(name, text).unwrap(), expected, "{name}");
        }
        assert_eq!(document("x.yaml", "# nothing yet\n").unwrap(), serde_json::json!({}));
        let error = document("x.json", "{").unwrap_err().to_string();
        assert!(error.contains("x.json: error parsing config file: "), "{error}");
        assert!(read_document("/nowhere/x.json").is_err());
    }

    #[test]
    fn the_nearest_file_that_parses_counts() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(dir.path().join("inngest.yaml"), "port: 1").unwrap();
        assert_eq!(search(&deep, None).file.unwrap().path, dir.path().join("inngest.yaml"));
        std::fs::write(dir.path().join("a/inngest.json"), "{").unwrap();
        let found = search(&deep, None);
        assert_eq!((found.file.unwrap().path, found.broken.len()), (dir.path().join("inngest.yaml"), 1));
        std::fs::write(deep.join("inngest.json"), "{}").unwrap();
        assert_eq!(search(&deep, None).file.unwrap().path, deep.join("inngest.json"));
        let error = read_named("/nowhere/inngest.yaml").unwrap_err().to_string();
        assert!(
            error.starts_with("error reading config file /nowhere/inngest.yaml: error parsing config file: "),
            "{error}"
        );
    }
}
