//! `inngest dev`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use inngest_config::{ConfigError, DevOptions, Layers, file};
use inngest_devserver::{ServerError, Terminal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{args, log};

/// The exit code of a process that a second signal ended.
const EXIT_SECOND_SIGNAL: i32 = 130;

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let mut layers = Layers::default();
    layers.add_flags(args::given(matches));
    let read = layers.add_environment(std::env::vars()).and_then(|()| add_file(&mut layers, matches));
    let wishes = log::Wishes {
        json: matches.get_one("json").copied().unwrap_or(false) || layers.bool("json").unwrap_or(false),
        verbose: matches.get_one("verbose").copied().unwrap_or(false) || layers.bool("verbose").unwrap_or(false),
        level: matches
            .get_one::<String>("log-level")
            .cloned()
            .or_else(|| Some(layers.text("log-level")))
            .filter(|level| !level.is_empty()),
    };
    log::init(&wishes);
    let options = read.and_then(|used| {
        if let Some(path) = used {
            tracing::info!(file = %path, "using config");
        }
        for warning in &layers.warnings {
            tracing::warn!("{warning}");
        }
        DevOptions::resolve(&layers)
    });
    match options
        .map_err(|error| error.to_string())
        .and_then(|options| serve(options).map_err(|error| error.to_string()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Adds the named file, or the nearest one that can be read; returns its path.
fn add_file(layers: &mut Layers, matches: &ArgMatches) -> Result<Option<String>, ConfigError> {
    let named = matches.get_one::<String>("config").cloned();
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
        tokio::spawn(listen_for_signals(stop));
        let terminal = std::io::stdout().is_terminal().then_some(Terminal);
        inngest_devserver::dev(options, crate::VERSION, stopped, terminal).await
    })
}

/// The first signal asks for an orderly end, the second one ends at once. The store is safe either way.
async fn listen_for_signals(stop: watch::Sender<bool>) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()];
    let signals: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
    let [mut interrupt, mut terminate, mut quit] = match signals.map(<[_; 3]>::try_from) {
        Ok(Ok(signals)) => signals,
        _ => {
            tracing::error!("signals cannot be received; stop the process with SIGKILL, nothing is lost by it");
            return std::future::pending().await;
        }
    };
    let mut count = 0;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
        }
        count += 1;
        if count > 1 {
            std::process::exit(EXIT_SECOND_SIGNAL);
        }
        stop.send_replace(true);
    }
}
