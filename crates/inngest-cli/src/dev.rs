//! `inngest dev`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use inngest_config::{ConfigError, DevOptions, Layers, file};
use inngest_devserver::{ServerError, Terminal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::{args, log};

/// Added to the number of the signal that ended a process.
const EXIT_SIGNALLED: i32 = 128;

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let mut layers = Layers::default();
    layers.add_flags(args::given(matches));
    let named = matches.get_one::<String>("config").cloned();
    let read = layers.add_environment(environment()).and_then(|()| add_file(&mut layers, named));
    log::init(&wishes(matches, &layers));
    let options = read.and_then(|used| {
        if let Some(path) = used {
            tracing::info!(file = %path, "using config");
        }
        for warning in &layers.warnings {
            tracing::warn!("{warning}");
        }
        if !layers.text("postgres-uri").is_empty() {
            tracing::warn!("postgres-uri is not supported yet: the embedded database is used");
        }
        DevOptions::resolve(&layers)
    });
    let ended =
        options.map_err(|error| error.to_string()).and_then(|options| serve(options).map_err(|e| e.to_string()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            args::err(&format!("Error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// What the environment and a file say: the named one, or that which is found here.
pub(crate) fn surroundings(named: Option<&str>) -> Result<Layers, ConfigError> {
    let mut layers = Layers::default();
    layers.add_environment(environment())?;
    add_file(&mut layers, named.map(str::to_owned))?;
    Ok(layers)
}

/// The environment, apart from what is no text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What flags, variables and files say about logs. A value that cannot be understood is reported with the
/// other options, in a log that is written as if it were not there.
fn wishes(matches: &ArgMatches, layers: &Layers) -> log::Wishes {
    let on = |name| matches.get_one(name).copied().unwrap_or_else(|| layers.bool(name).unwrap_or(false));
    let level = matches.get_one::<String>("log-level").cloned();
    // `--verbose` on the command line is stronger than a level from anywhere else.
    let verbose_flag = matches.get_one("verbose").copied().unwrap_or(false);
    let elsewhere = || Some(layers.text("log-level")).filter(|level| !level.is_empty() && !verbose_flag);
    log::Wishes {
        json: on("json"),
        format: layers.text("log-format"),
        verbose: on("verbose"),
        level: level.or_else(elsewhere),
    }
}

/// Adds the named file, or the nearest one that can be read; returns its path.
fn add_file(layers: &mut Layers, named: Option<String>) -> Result<Option<String>, ConfigError> {
    let named = named.or_else(|| Some(layers.text("config"))).filter(|path| !path.is_empty());
    let file = match named {
        Some(path) => Some(file::read_named(&path)?),
        None => {
            let home = std::env::var_os("HOME");
            let here = std::env::current_dir().unwrap_or_default();
            let found = file::search(&here, home.as_deref().map(Path::new));
            for (path, cause) in found.broken {
                layers.warnings.push(format!("error reading config file {}: {cause}; it is skipped", path.display()));
            }
            found.file
        }
    };
    let path = file.as_ref().map(|file| file.path.display().to_string());
    if let Some(file) = file {
        layers.add_file(file);
    }
    Ok(path)
}

fn serve(options: DevOptions) -> Result<(), ServerError> {
    // One core is left to the thread that writes the store: it is busy whenever the others are.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(1))
        .enable_all()
        .build()
        .expect("a machine that runs processes can run threads");
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        // From here on no signal ends the process by itself.
        let signals = signals();
        tokio::spawn(listen_for_signals(signals, stop));
        let terminal = std::io::stdout().is_terminal().then_some(Terminal);
        inngest_devserver::dev(options, crate::VERSION, stopped, terminal).await
    })
}

/// The signals that stop the server, each with the exit code of a process that it ends at once.
fn signals() -> std::io::Result<[(Signal, i32); 3]> {
    Ok([
        (signal(SignalKind::interrupt())?, EXIT_SIGNALLED + 2),
        (signal(SignalKind::quit())?, EXIT_SIGNALLED + 3),
        (signal(SignalKind::terminate())?, EXIT_SIGNALLED + 15),
    ])
}

/// The first signal asks for an orderly end, the second one ends at once. The store is safe either way.
async fn listen_for_signals(signals: std::io::Result<[(Signal, i32); 3]>, stop: watch::Sender<bool>) {
    let [(mut interrupt, interrupted), (mut quit, has_quit), (mut terminate, terminated)] = match signals {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received; stop the process with SIGKILL, nothing is lost by it");
            return std::future::pending().await;
        }
    };
    loop {
        let code = tokio::select! {
            _ = interrupt.recv() => interrupted,
            _ = quit.recv() => has_quit,
            _ = terminate.recv() => terminated,
        };
        if *stop.borrow() {
            std::process::exit(code);
        }
        stop.send_replace(true);
    }
}
