//! The workloads: which event is sent, which functions it starts, and what each function does.
//!
//! | Name | One event starts | It shows |
//! |---|---|---|
//! | `hello` | one function without steps | the floor: intake, routing, one call, one result |
//! | `steps3`, `steps10` | one function with 3 or 10 steps in sequence | cost of a memoised step, growth of the request |
//! | `parallel` | one function that plans 10 steps at once | targeted calls and joining their results |
//! | `fanout` | five functions without steps | routing one event to many runs |
//! | `sleep` | one function that sleeps one second | timers, and how late they fire (end minus 1 s) |
//! | `tenants` | one function without steps, at most ten calls at a time for each of 50 tenants | what keyed concurrency costs |
//! | `throttled` | one function without steps, at most 100 starts a second | whether a throttle keeps its rate, and how exactly |
//! | `ingest` | nothing | accepting and storing events, one per request |
//! | `park` | one function that waits for an event with its own number | how many may wait, and what they cost |
//! | `miss` | nothing, although its name is awaited | looking an event up among those who wait |
//! | `release` | nothing: it resumes one run that was parked | releasing runs that wait |
//! | `asleep` | one function that sleeps an hour | what sleepers cost |
//!
//! The figures of a run: *accept* is from sending the event to its 200; *first call* is to the arrival of the first call
//! at the stub app; *end* is to the moment the last final response of the event's runs is written. With a fixed rate, all
//! three count from the instant the event was due, so a server that falls behind cannot hide it. *late*, of a throttled
//! workload, is from the time at which a start was due to its first call, when starts are due at even distances from the
//! earliest one on.

use clap::ValueEnum;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use std::time::Duration;

/// What is sent and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One event, one function, no step.
    Hello,
    /// One function with three sequential steps.
    Steps3,
    /// One function with ten sequential steps.
    Steps10,
    /// One function with ten parallel steps.
    Parallel,
    /// One event, five functions, no step.
    Fanout,
    /// One function that sleeps a second.
    Sleep,
    /// One function with a limit of calls for each tenant.
    Tenants,
    /// One function with a limit of starts.
    Throttled,
    /// Events that no function listens to.
    Ingest,
    /// One function that waits for the event that releases it.
    Park,
    /// Events that release nobody.
    Miss,
    /// Events that release one parked run each.
    Release,
    /// One function that sleeps an hour.
    Asleep,
}

/// What one function does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Answers with its result at once.
    Plain,
    /// Runs its steps one after the other.
    Sequential,
    /// Plans all its steps, then runs each when it is asked for.
    Parallel,
    /// Sleeps one second.
    Sleep,
    /// Waits for an event that carries its own number.
    Wait,
    /// Sleeps an hour.
    LongSleep,
}

/// One registered function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) slug: String,
    pub(crate) workload: Workload,
    /// Its number among the functions of its workload.
    pub(crate) index: u8,
    pub(crate) shape: Shape,
    pub(crate) steps: Vec<Step>,
}

/// One step, with everything that is written or searched on the hot path built beforehand.
#[derive(Debug)]
pub(crate) struct Step {
    /// Hashed id, 40 hex digits.
    pub(crate) id: String,
    /// `"<id>":`, which occurs in a request exactly when the step's result is in its `steps` map:
    /// elsewhere the id is a value, never a key.
    pub(crate) key: memchr::memmem::Finder<'static>,
    /// The op that reports its result, or for a sleep the sleep itself.
    pub(crate) op: String,
    /// The op that plans it.
    pub(crate) plan: String,
}

/// Functions of the `fanout` workload.
pub(crate) const FANOUT: u8 = 5;

/// Tenants of the `tenants` workload, who take turns in sending.
pub(crate) const TENANTS: u64 = 50;

/// Starts a second of the `throttled` workload. As many may come at once.
pub(crate) const THROTTLE: u32 = 100;

impl Workload {
    pub(crate) const ALL: [Workload; 9] = [
        Workload::Hello,
        Workload::Steps3,
        Workload::Steps10,
        Workload::Parallel,
        Workload::Fanout,
        Workload::Sleep,
        Workload::Tenants,
        Workload::Throttled,
        Workload::Ingest,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Hello => "hello",
            Workload::Steps3 => "steps3",
            Workload::Steps10 => "steps10",
            Workload::Parallel => "parallel",
            Workload::Fanout => "fanout",
            Workload::Sleep => "sleep",
            Workload::Tenants => "tenants",
            Workload::Throttled => "throttled",
            Workload::Ingest => "ingest",
            Workload::Park => "park",
            Workload::Miss => "miss",
            Workload::Release => "release",
            Workload::Asleep => "asleep",
        }
    }

    pub(crate) fn event(self) -> String {
        match self {
            Workload::Miss => Workload::Release.event(),
            _ => format!("bench/{}", self.name()),
        }
    }

    /// Runs that one event starts.
    pub(crate) fn runs_per_event(self) -> u8 {
        match self {
            Workload::Ingest | Workload::Miss => 0,
            Workload::Fanout => FANOUT,
            _ => 1,
        }
    }

    /// Options of its functions, an object.
    pub(crate) fn options(self) -> Value {
        match self {
            Workload::Tenants => json!({ "concurrency": [{ "limit": 10, "key": "event.data.tenant" }] }),
            Workload::Throttled => json!({ "throttle": { "limit": THROTTLE, "period": "1s" } }),
            _ => json!({}),
        }
    }

    /// From one start to the next, where a limit of starts is what takes the time.
    pub(crate) fn spacing(self) -> Option<Duration> {
        (self == Workload::Throttled).then(|| Duration::from_secs(1) / THROTTLE)
    }

    fn shape_and_steps(self) -> (Shape, usize) {
        match self {
            Workload::Hello
            | Workload::Fanout
            | Workload::Tenants
            | Workload::Throttled
            | Workload::Ingest
            | Workload::Miss
            | Workload::Release => (Shape::Plain, 0),
            Workload::Steps3 => (Shape::Sequential, 3),
            Workload::Steps10 => (Shape::Sequential, 10),
            Workload::Parallel => (Shape::Parallel, 10),
            Workload::Sleep => (Shape::Sleep, 1),
            Workload::Park => (Shape::Wait, 1),
            Workload::Asleep => (Shape::LongSleep, 1),
        }
    }
}

/// Every function of the stub app.
pub(crate) fn functions() -> Vec<Function> {
    let of_workload = |workload: Workload| (0..workload.runs_per_event()).map(move |index| (workload, index));
    Workload::ALL
        .into_iter()
        .chain([Workload::Park, Workload::Asleep])
        .flat_map(of_workload)
        .map(|(workload, index)| Function::new(workload, index))
        .collect()
}

impl Function {
    fn new(workload: Workload, index: u8) -> Self {
        let slug = match workload {
            Workload::Fanout => format!("bench-fanout-{}", index + 1),
            _ => format!("bench-{}", workload.name()),
        };
        let (shape, steps) = workload.shape_and_steps();
        let steps = (0..steps).map(|number| Step::new(shape, number)).collect();
        Function { slug, workload, index, shape, steps }
    }
}

impl Step {
    fn new(shape: Shape, number: usize) -> Self {
        let name = match shape {
            Shape::Sleep | Shape::LongSleep => "nap".to_owned(),
            Shape::Wait => "wait".to_owned(),
            Shape::Plain | Shape::Sequential | Shape::Parallel => format!("step-{number}"),
        };
        let id = hex::encode(Sha1::digest(name.as_bytes()));
        let opts = match shape {
            Shape::Wait => r#"{"timeout":"1h","if":"async.data.bench_seq == event.data.bench_seq"}"#,
            _ => "{}",
        };
        let common = format!(r#""id":"{id}","displayName":"{name}","userland":{{"id":"{name}"}},"opts":{opts}"#);
        let op = match shape {
            Shape::Sleep => format!(r#"{{{common},"op":"Sleep","name":"1s","data":null}}"#),
            Shape::LongSleep => format!(r#"{{{common},"op":"Sleep","name":"1h","data":null}}"#),
            Shape::Wait => {
                format!(r#"{{{common},"op":"WaitForEvent","name":"{}","data":null}}"#, Workload::Release.event())
            }
            _ => format!(r#"{{{common},"op":"StepRun","name":"{name}","data":{{"done":{number}}}}}"#),
        };
        let plan = format!(r#"{{{common},"op":"StepPlanned","name":"{name}","data":null}}"#);
        let key = memchr::memmem::Finder::new(&format!(r#""{id}":"#)).into_owned();
        Step { id, key, op, plan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_match_their_workloads() {
        let functions = functions();
        for workload in Workload::ALL.into_iter().chain([Workload::Park, Workload::Asleep]) {
            let of_it = functions.iter().filter(|function| function.workload == workload).count();
            assert_eq!(of_it, usize::from(workload.runs_per_event()), "{workload:?}");
        }
        let mut slugs: Vec<_> = functions.iter().map(|function| &function.slug).collect();
        slugs.dedup();
        assert_eq!(slugs.len(), functions.len(), "slugs are distinct");
    }

    #[test]
    fn ops_are_json_with_the_hashed_id() {
        for function in functions() {
            for step in &function.steps {
                assert_eq!(step.id.len(), 40);
                for (text, op) in [(&step.op, None), (&step.plan, Some("StepPlanned"))] {
                    let json: serde_json::Value = serde_json::from_str(text).expect(text);
                    assert_eq!(json["id"], step.id.as_str());
                    let expected = match function.shape {
                        Shape::Sleep | Shape::LongSleep => "Sleep",
                        Shape::Wait => "WaitForEvent",
                        Shape::Plain | Shape::Sequential | Shape::Parallel => "StepRun",
                    };
                    assert_eq!(json["op"], op.unwrap_or(expected));
                }
            }
        }
        assert_eq!(hex::encode(Sha1::digest(b"a")), "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
    }
}
