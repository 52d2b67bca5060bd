//! Values of options from all sources, strongest first.

use std::time::Duration;

use crate::ConfigError;
use crate::file::File;
use crate::spec::{self, Kind, Spec};

/// A year. More is a mistake, and far more would overflow when it is added to the time of day.
const SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// A configuration file.
    File(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => f.write_str(path),
        }
    }
}

type Entry = (&'static str, Source, Vec<String>);

/// All values that were given.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Stronger entries first.
    entries: Vec<Entry>,
    /// Texts for the user: keys nobody knows, files that were skipped.
    pub warnings: Vec<String>,
}

impl Layers {
    /// Adds the flags of the command line: they are stronger than everything added later.
    pub fn add_flags(&mut self, flags: impl IntoIterator<Item = (&'static str, Vec<String>)>) {
        self.entries.extend(flags.into_iter().map(|(name, values)| (name, Source::Flag(name), values)));
    }

    /// Adds `INNGEST_*` variables; others, and those of SDKs, are none of ours. An empty variable is one that
    /// is not set: compose files make them. `X_FILE` names a file that holds the secret `X`; `X` itself and an
    /// option's own name count more than the file and an alias.
    pub fn add_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix("INNGEST_").filter(|_| !value.is_empty()) else { continue };
            let key = name.to_lowercase().replace('_', "-");
            if let Some(spec) = spec::find(&key) {
                let entries = if spec.name == key { &mut named } else { &mut others };
                entries.push((spec.name, Source::Variable(variable), vec![value]));
            } else if let Some(name) = key.strip_suffix("-file").and_then(spec::secret) {
                others.push((name, Source::Variable(variable), vec![content(&value)?]));
            }
        }
        self.entries.extend(named.into_iter().chain(others));
        Ok(())
    }

    /// Adds the content of a file, and a warning for each key that means nothing.
    pub fn add_file(&mut self, file: File) {
        let path = file.path.display().to_string();
        for (key, values) in file.values {
            match spec::find(&key) {
                Some(spec) => self.entries.push((spec.name, Source::File(path.clone()), values)),
                None => self.warnings.push(unknown(&key, &path)),
            }
        }
    }

    /// The strongest value of an option.
    fn get(&self, name: &'static str) -> Option<&Entry> {
        self.entries.iter().find(|(key, ..)| *key == name)
    }

    /// A text; empty when nothing was given and there is no default.
    #[must_use]
    pub fn text(&self, name: &'static str) -> String {
        let given = self.get(name).and_then(|(_, _, values)| values.last()).cloned();
        given.unwrap_or_else(|| known(name).default.to_owned())
    }

    /// A list: all values of the strongest source, split at commas.
    #[must_use]
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let values = self.get(name).map_or(&[][..], |(_, _, values)| values);
        let parts = values.iter().flat_map(|value| value.split(','));
        parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    /// A number.
    pub fn number(&self, name: &'static str) -> Result<u64, ConfigError> {
        let text = self.text(name);
        text.trim().parse().map_err(|_| self.wrong(name, text, "an integer"))
    }

    /// A switch.
    pub fn bool(&self, name: &'static str) -> Result<bool, ConfigError> {
        let text = self.text(name);
        match text.trim().to_lowercase().as_str() {
            "1" | "t" | "true" => Ok(true),
            "0" | "f" | "false" | "" => Ok(false),
            _ => Err(self.wrong(name, text, "true or false")),
        }
    }

    /// A number of seconds within a range that no clock overflows with.
    pub fn seconds(&self, name: &'static str) -> Result<Duration, ConfigError> {
        match self.number(name)? {
            seconds if seconds <= SECONDS_MAX => Ok(Duration::from_secs(seconds)),
            seconds => Err(self.wrong(name, seconds.to_string(), "at most 31536000 seconds, which is a year")),
        }
    }

    /// Checks the kind of every value that was given, also of options without effect: a mistake in one of
    /// those is a mistake all the same.
    pub fn check_kinds(&self) -> Result<(), ConfigError> {
        for (name, ..) in &self.entries {
            match known(name).kind {
                Kind::Bool => drop(self.bool(name)?),
                Kind::Number => drop(self.number(name)?),
                Kind::Text | Kind::List => {}
            }
        }
        Ok(())
    }

    /// The error that `value` of option `name` is not what was expected.
    #[must_use]
    pub fn wrong(&self, name: &'static str, value: String, expected: &'static str) -> ConfigError {
        let origin = self.get(name).map_or_else(|| "default".to_owned(), |(_, source, _)| source.to_string());
        ConfigError::Value { value, option: name, origin, expected }
    }
}

fn known(name: &str) -> &'static Spec {
    spec::find(name).expect("options are named from the table")
}

fn content(path: &str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::File { path: path.to_owned(), cause: error.to_string() })?;
    Ok(text.strip_suffix('\n').map_or_else(|| text.clone(), |text| text.trim_end_matches('\r').to_owned()))
}

fn unknown(key: &str, path: &str) -> String {
    let names = spec::DEV.iter().filter(|spec| !spec.hidden).flat_map(|spec| spec.aliases.iter().chain([&spec.name]));
    let close = names.map(|name| (distance(name, key), name)).min_by_key(|(distance, _)| *distance);
    // A third of the letters may be wrong; beyond that it is another word.
    let close = close.filter(|(distance, _)| *distance <= key.chars().count().div_ceil(3));
    let hint = close.map(|(_, name)| format!("; did you mean {name}?"));
    format!("{path}: unknown key {key:?} is ignored{}", hint.unwrap_or_default())
}

/// How many letters must change to make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
