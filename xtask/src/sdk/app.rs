//! The apps: how each is installed and started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::DIR;
use crate::process::{command, succeeds};

/// Python packages are installed here, not in the source tree.
const PYTHON: &str = "target/sdk-tests/python";

/// An app of `sdk-tests/`.
#[derive(Debug)]
pub(super) struct App {
    /// Name in the test output.
    pub(super) name: &'static str,
    /// App id that it registers with.
    pub(super) id: &'static str,
    language: Language,
    dir: &'static str,
    entry: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    JavaScript,
    Python,
}

/// Every app.
pub(super) const ALL: [App; 4] = [
    App { name: "js-v4", id: "sdk-js-v4", language: Language::JavaScript, dir: "js-v4", entry: "app.mjs" },
    App { name: "js-v3", id: "sdk-js-v3", language: Language::JavaScript, dir: "js-v3", entry: "app.mjs" },
    App { name: "fastapi", id: "sdk-fastapi", language: Language::Python, dir: "python", entry: "fastapi_app.py" },
    App { name: "flask", id: "sdk-flask", language: Language::Python, dir: "python", entry: "flask_app.py" },
];

impl App {
    fn dir(&self) -> PathBuf {
        Path::new(DIR).join(self.dir)
    }

    /// Whether the SDK sends the causes of an error along.
    pub(super) fn sends_causes(&self) -> bool {
        self.language == Language::JavaScript
    }

    /// Installs exactly the pinned packages, unless that was done before.
    pub(super) fn install(&self) -> anyhow::Result<()> {
        let dir = self.dir();
        let (pins, installed) = match self.language {
            Language::JavaScript => (dir.join("package-lock.json"), dir.join("node_modules")),
            Language::Python => (dir.join("requirements.txt"), PathBuf::from(PYTHON)),
        };
        let stamp = installed.join(".installed");
        let wanted = fs::read_to_string(&pins).with_context(|| pins.display().to_string())?;
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        println!("installing the packages of {}", pins.display());
        match self.language {
            Language::JavaScript => {
                let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
                must(command("npm", arguments).current_dir(&dir))?;
            }
            Language::Python => {
                must(&mut command("python3", ["-m", "venv", "--clear", PYTHON]))?;
                let pip = format!("{PYTHON}/bin/pip");
                let pins = pins.display().to_string();
                must(&mut command(&pip, ["install", "--disable-pip-version-check", "--quiet", "-r", &pins]))?;
            }
        }
        Ok(fs::write(stamp, wanted)?)
    }

    /// The command that serves the app; `PORT` is where, `INNGEST_DEV` the server.
    pub(super) fn command(&self, port: u16, server: &str) -> anyhow::Result<Command> {
        let program = match self.language {
            Language::JavaScript => PathBuf::from("node"),
            // Relative programs are looked for in the new working directory.
            Language::Python => std::env::current_dir()?.join(PYTHON).join("bin/python"),
        };
        let mut command = Command::new(program);
        command
            .arg(self.entry)
            .current_dir(self.dir())
            .env("PORT", port.to_string())
            .env("INNGEST_DEV", server)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}

fn must(command: &mut Command) -> anyhow::Result<()> {
    anyhow::ensure!(succeeds(command)?, "{command:?} failed");
    Ok(())
}
