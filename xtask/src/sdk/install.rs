//! Makes the apps ready to start: installs their pinned packages, builds what must be built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::process::{command, succeeds};

/// Where packages and binaries go that are not kept beside the sources.
const BUILT: &str = "target/sdk-tests";

/// The directory of the client of MCP.
const MCP: &str = "mcp";

/// A JavaScript app with a lock file of npm.
pub(crate) fn javascript(dir: &Path) -> anyhow::Result<Command> {
    once(&dir.join("package-lock.json"), &dir.join("node_modules"), || {
        let mut npm = command("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        anyhow::ensure!(succeeds(npm.current_dir(dir))?, "npm ci failed in {}", dir.display());
        Ok(())
    })?;
    Ok(command("node", ["app.mjs"]))
}

/// The Python app that FastAPI serves.
pub(crate) fn fastapi(dir: &Path) -> anyhow::Result<Command> {
    Ok(command(&python(dir, "python")?, ["fastapi_app.py"]))
}

/// The Python app that Flask serves.
pub(crate) fn flask(dir: &Path) -> anyhow::Result<Command> {
    Ok(command(&python(dir, "python")?, ["flask_app.py"]))
}

/// The Go app; the compiler keeps the modules and what it has built.
pub(crate) fn go(dir: &Path) -> anyhow::Result<Command> {
    let app = built("go-app")?.display().to_string();
    // Read-only, so that nothing but the modules of `go.sum` is used.
    let mut go = command("go", ["build", "-mod=readonly", "-buildvcs=false", "-o", &app, "."]);
    anyhow::ensure!(succeeds(go.current_dir(dir))?, "go build failed");
    Ok(command(&app, [""; 0]))
}

/// The program that makes requests from OpenAPI documents.
pub(crate) fn schemathesis(dir: &Path) -> anyhow::Result<String> {
    let python = python(dir, "openapi")?;
    Ok(Path::new(&python).with_file_name("schemathesis").display().to_string())
}

/// The Python that has the client of MCP.
pub(crate) fn mcp() -> anyhow::Result<String> {
    python(&Path::new("sdk-tests").join(MCP), MCP)
}

/// A Python with the packages of the directory, in an environment of this name.
fn python(dir: &Path, name: &str) -> anyhow::Result<String> {
    let environment = built(name)?;
    let python = environment.join("bin/python").display().to_string();
    let pins = dir.join("requirements.txt");
    once(&pins, &environment, || {
        let mut make = command("python3", ["-m", "venv", "--clear"]);
        anyhow::ensure!(succeeds(make.arg(&environment))?, "python3 -m venv failed");
        let mut pip = command(&python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        anyhow::ensure!(succeeds(pip.arg("-r").arg(&pins))?, "pip install failed");
        Ok(())
    })?;
    Ok(python)
}

/// An absolute path below the directory of what is built, since apps are started in their own directory.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    Ok(std::env::current_dir()?.join(BUILT).join(name))
}

/// Installs into a directory unless that was done with the same pins before.
fn once(pins: &Path, directory: &Path, install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let wanted = std::fs::read_to_string(pins).with_context(|| pins.display().to_string())?;
    let stamp = directory.join(".installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    Ok(std::fs::write(stamp, wanted)?)
}
