//! The oracle: random functions, events, crashes and hours of virtual time, on the real engine and on a small model of
//! what it must do; both must tell the same.
//!
//! [`scenario`] makes up functions and operations from a seed, [`app`] is the SDK they run on, [`model`] works out
//! what must follow, [`real`] lets the engine do it, and [`record`] is the form in which both are compared: which
//! runs there are, every call with what it carries and when, attempts, recorded values, events, ends, and what is
//! still to be done. An operation, as counted here, is one event, call, timer, signal, cancellation, rerun, sync,
//! checkpoint or crash.
//!
//! `INNGEST_ORACLE_SEED=<n>` plays one scenario again and prints it. `INNGEST_ORACLE_OPERATIONS=<n>` asks for another
//! amount of work than the default, with new seeds.

mod app;
mod dice;
mod model;
mod real;
mod record;
mod scenario;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use model::Model;
use scenario::Scenario;

/// Operations of a normal run.
const OPERATIONS: usize = 100_000;
/// Durations of calls that are tried until no two things happen to one run in the same millisecond.
const SALTS: u64 = 12;

/// What became of one scenario.
enum Outcome {
    Same(usize),
    /// In every variant something was left to chance.
    Ambiguous(String),
    Differs(String),
}

fn check(scenario: &Scenario) -> Outcome {
    let mut reason = String::new();
    let played = (0..SALTS).find_map(|salt| {
        let mut model = Model::play(scenario, salt);
        match model.ambiguous.take() {
            None => Some((salt, model)),
            Some(ambiguous) => {
                reason = ambiguous;
                None
            }
        }
    });
    let Some((salt, model)) = played else { return Outcome::Ambiguous(reason) };
    let operations = model.decided.clone();
    let expected = model.record();
    let dir = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let seen = runtime.block_on(real::play(scenario, salt, &operations, dir.path()));
    drop(runtime);
    let (mut missing, mut extra) = (expected.lines, seen);
    missing.sort_unstable();
    extra.sort_unstable();
    let common: BTreeSet<String> = missing.iter().filter(|line| extra.binary_search(line).is_ok()).cloned().collect();
    if missing == extra {
        return Outcome::Same(expected.operations);
    }
    missing.retain(|line| !common.contains(line));
    extra.retain(|line| !common.contains(line));
    let list = |lines: &[String], sign: char| lines.iter().map(|line| format!("{sign} {line}\n")).collect::<String>();
    Outcome::Differs(format!(
        "salt {salt}; - is what the model expects, + what the engine did\n{}{}",
        list(&missing, '-'),
        list(&extra, '+')
    ))
}

/// A directory for a database; in memory where the system has such a place.
fn scratch() -> tempfile::TempDir {
    const MEMORY: &str = "/dev/shm";
    tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).expect("a directory for the database")
}

/// Leaves out operations, functions' stages and so on as long as the two still differ.
fn shrink(mut scenario: Scenario) -> Scenario {
    let differs = |scenario: &Scenario| matches!(check(scenario), Outcome::Differs(_));
    loop {
        let before = scenario.size();
        let mut place = 0;
        while let Some(smaller) = scenario.without(place) {
            if differs(&smaller) {
                scenario = smaller;
            } else {
                place += 1;
            }
        }
        if scenario.size() == before {
            return scenario;
        }
    }
}

fn explain(scenario: Scenario, first: String) -> String {
    let seed = scenario.seed;
    if !matches!(check(&scenario), Outcome::Differs(_)) {
        return format!("seed {seed} differed, and does so no more when played again:\n{scenario}{first}");
    }
    let small = shrink(scenario);
    let difference = match check(&small) {
        Outcome::Differs(difference) => difference,
        _ => first,
    };
    format!("INNGEST_ORACLE_SEED={seed} plays this again\n{small}{difference}")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn engine_and_model_tell_the_same() {
    if let Some(seed) = number("INNGEST_ORACLE_SEED") {
        let scenario = Scenario::generate(seed);
        println!("{scenario}");
        match check(&scenario) {
            Outcome::Same(operations) => println!("seed {seed}: the same, {operations} operations"),
            Outcome::Ambiguous(reason) => println!("seed {seed}: left to chance: {reason}"),
            Outcome::Differs(difference) => panic!("{}", explain(scenario, difference)),
        }
        return;
    }
    let wanted =
        number("INNGEST_ORACLE_OPERATIONS").map(|wanted| usize::try_from(wanted).expect("a number of operations"));
    // A normal run is the same everywhere; a longer one goes where nobody has been.
    let first = match wanted {
        None => 0,
        Some(_) => number("INNGEST_ORACLE_FIRST").unwrap_or(1_000_000),
    };
    let wanted = wanted.unwrap_or(OPERATIONS);
    let begun = Instant::now();
    let (next, done) = (AtomicU64::new(first), AtomicUsize::new(0));
    let (played, chance) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while done.load(Ordering::Relaxed) < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let scenario = Scenario::generate(seed);
            match check(&scenario) {
                Outcome::Same(operations) => {
                    done.fetch_add(operations, Ordering::Relaxed);
                    played.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::Ambiguous(_) => drop(chance.fetch_add(1, Ordering::Relaxed)),
                Outcome::Differs(difference) => {
                    // The others need not go on.
                    done.fetch_add(wanted, Ordering::Relaxed);
                    panic!("{}", explain(scenario, difference));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let [done, played, chance] = [done, played, chance].map(AtomicUsize::into_inner);
    println!(
        "{done} operations in {played} scenarios from seed {first}, {chance} left to chance, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(chance * 5 < played, "too many scenarios are left to chance: {chance} beside {played}");
}
