//! The app under test: functions whose code is a small program, and what an SDK would answer for it.
//!
//! [`Program::answer`] is pure: model and engine put the same question and get the same answer, and how long it took.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dice;

/// The code of a function.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) stages: Vec<Stage>,
    pub(crate) ending: Ending,
    /// `x-inngest-req-version` of its answers.
    pub(crate) version: i32,
    /// Runs several steps in one call and checkpoints each.
    pub(crate) checkpoints: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Step(Step),
    Block(Block),
    /// Throws while the call has an attempt below `times`.
    Throw {
        times: u32,
        no_retry: bool,
        retry_after: Option<u32>,
        status: u16,
    },
    /// Answers with an empty list of ops while the call has an attempt below this.
    Nothing(u32),
    /// The connection breaks while the call has an attempt below this.
    Unreachable(u32),
    /// A function to run when this run has ended.
    Defer {
        id: String,
        function: usize,
        refused: bool,
    },
    Abort {
        id: String,
        target: String,
    },
}

/// Branches side by side.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) branches: Vec<Vec<Step>>,
    /// Its ops say `parallelMode: race`.
    pub(crate) race: bool,
    /// The code after it waits for all branches, or for the first.
    pub(crate) all: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// An error of this step does not end the function.
    pub(crate) caught: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The user's own code. Fails while the attempt is below `fails`.
    Run {
        fails: u32,
        then: Then,
        sends: Option<(String, i64, i64)>,
    },
    Sleep(i64),
    Wait {
        event: String,
        condition: Condition,
        timeout: i64,
    },
    /// `None`: a function that does not exist.
    Invoke {
        function: Option<usize>,
        timeout: Option<i64>,
        k: i64,
    },
    Signal {
        name: String,
        replace: bool,
        timeout: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Returns,
    /// `StepFailed`.
    Fails,
    /// `StepError` with the header that forbids to try again.
    Forbids,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    /// `k` is that of the run's own event.
    SameK,
    /// `n` is above 3.
    BigN,
    Both,
    /// About this function.
    Of(usize),
    /// Does not compile.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Returns,
    /// By an op.
    Completes,
    ReturnsNothing,
    Throws {
        no_retry: bool,
    },
}

/// What a call tells the app.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// The run, by a name that does not depend on random ids.
    pub(crate) run: &'a str,
    /// The planned step to run; `None`: from the top.
    pub(crate) target: Option<&'a str>,
    pub(crate) attempt: u32,
    pub(crate) generation: u32,
    pub(crate) plan_only: bool,
    pub(crate) steps: &'a BTreeMap<String, Value>,
    /// Whether each can be aborted.
    pub(crate) defers: &'a BTreeMap<String, bool>,
}

/// What the app does about a call.
#[derive(Debug)]
pub(crate) struct Said {
    /// While the call goes on: milliseconds after its begin.
    pub(crate) acts: Vec<(i64, Act)>,
    /// When the answer is there.
    pub(crate) after: i64,
    pub(crate) answer: Answer,
    pub(crate) no_retry: bool,
    pub(crate) retry_after: Option<u32>,
    pub(crate) version: i32,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The step sends an event of this name, with `k` and `n`.
    Send {
        step: String,
        event: (String, i64, i64),
    },
    Checkpoint(Op),
}

#[derive(Debug)]
pub(crate) enum Answer {
    Ops(Vec<Op>),
    Returned(Option<Value>),
    Threw { status: u16, name: String, message: String },
    Unreachable,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Ran {
        id: String,
        data: Value,
    },
    Error {
        id: String,
        message: String,
    },
    Failed {
        id: String,
        message: String,
    },
    Planned {
        id: String,
        race: bool,
    },
    /// Anything that is resolved by the server.
    Later {
        step: Step,
        race: bool,
    },
    Complete(Value),
    Discover,
    DeferAdd {
        id: String,
        function: usize,
        refused: bool,
    },
    DeferAbort {
        id: String,
        target: String,
    },
}

impl Op {
    pub(crate) fn step(&self) -> Option<&str> {
        match self {
            Self::Ran { id, .. } | Self::Error { id, .. } | Self::Failed { id, .. } | Self::Planned { id, .. } => {
                Some(id)
            }
            Self::Later { step, .. } => Some(&step.id),
            Self::Complete(_) | Self::Discover | Self::DeferAdd { .. } | Self::DeferAbort { .. } => None,
        }
    }

    pub(crate) fn is_race(&self) -> bool {
        matches!(self, Self::Planned { race: true, .. } | Self::Later { race: true, .. })
    }

    /// As SDKs write it.
    pub(crate) fn to_json(&self) -> Value {
        let error = |message: &str| json!({ "name": "Boom", "message": message });
        let mut op = match self {
            Self::Ran { id, data } => json!({ "op": "StepRun", "id": id, "name": id, "data": data }),
            Self::Error { id, message } => json!({ "op": "StepError", "id": id, "name": id, "error": error(message) }),
            Self::Failed { id, message } => {
                json!({ "op": "StepFailed", "id": id, "name": id, "error": error(message) })
            }
            Self::Planned { id, .. } => json!({ "op": "StepPlanned", "id": id, "name": id, "opts": {} }),
            Self::Later { step, .. } => step.to_json(),
            Self::Complete(data) => json!({ "op": "RunComplete", "id": "complete", "data": data }),
            Self::Discover => json!({ "op": "DiscoveryRequest", "id": "" }),
            Self::DeferAdd { id, function, refused } => {
                let input = if *refused { json!([1]) } else { json!({ "k": 1, "n": 5, "tag": id }) };
                json!({ "op": "DeferAdd", "id": id, "opts": { "fn_slug": slug(*function), "input": input } })
            }
            Self::DeferAbort { id, target } => {
                json!({ "op": "DeferAbort", "id": id, "opts": { "target_hashed_id": target } })
            }
        };
        if self.is_race() {
            op["opts"]["parallelMode"] = "race".into();
        }
        op
    }
}

impl Step {
    fn to_json(&self) -> Value {
        let id = &self.id;
        let span = |ms: i64| if ms == 0 { String::new() } else { format!("{ms}ms") };
        match &self.kind {
            Kind::Run { .. } => unreachable!("{id} runs in the app"),
            Kind::Sleep(ms) => json!({ "op": "Sleep", "id": id, "displayName": id, "name": span(*ms), "opts": {} }),
            Kind::Wait { event, condition, timeout } => {
                let mut opts = json!({ "event": event, "timeout": span(*timeout) });
                if let Some(text) = condition.text() {
                    opts["if"] = text.into();
                }
                json!({ "op": "WaitForEvent", "id": id, "displayName": id, "name": event, "opts": opts })
            }
            Kind::Invoke { function, timeout, k } => {
                let payload = json!({ "data": { "k": k, "n": 5, "tag": "invoked" } });
                let mut opts =
                    json!({ "function_id": function.map_or("app-none".to_owned(), slug), "payload": payload });
                if let Some(timeout) = timeout {
                    opts["timeout"] = span(*timeout).into();
                }
                json!({ "op": "InvokeFunction", "id": id, "displayName": id, "opts": opts })
            }
            Kind::Signal { name, replace, timeout } => {
                let conflict = if *replace { "replace" } else { "fail" };
                let opts = json!({ "signal": name, "timeout": span(*timeout), "conflict": conflict });
                json!({ "op": "WaitForSignal", "id": id, "displayName": id, "opts": opts })
            }
        }
    }
}

impl Condition {
    pub(crate) fn text(&self) -> Option<String> {
        Some(match self {
            Self::None => return None,
            Self::SameK => "event.data.k == async.data.k".to_owned(),
            Self::BigN => "async.data.n > 3".to_owned(),
            Self::Both => "event.data.k == async.data.k && async.data.n > 3".to_owned(),
            Self::Of(function) => format!("async.data.function_id == '{}'", slug(*function)),
            Self::Broken => "async.data.k ==".to_owned(),
        })
    }
}

pub(crate) fn slug(function: usize) -> String {
    format!("app-f{function}")
}

/// What the walk through a program came to.
#[derive(Default)]
struct Walk<'p> {
    /// Steps that could go on, with the mode of their block.
    open: Vec<(&'p Step, bool)>,
    lazy: Vec<Op>,
    outcome: Option<Outcome>,
}

enum Outcome {
    End,
    Threw { status: u16, name: String, message: String, no_retry: bool, retry_after: Option<u32> },
    Nothing,
    Unreachable,
}

/// Steps a checkpointing app runs before it asks for a new call.
const STEPS_PER_CALL: usize = 3;

impl Program {
    /// What an SDK with this program answers. `salt` decides how long it takes.
    pub(crate) fn answer(&self, salt: u64, seen: &Seen<'_>) -> Said {
        let parts = [
            seen.run,
            seen.target.unwrap_or(""),
            &format!("{} {} {} {}", seen.attempt, seen.generation, seen.steps.len(), seen.plan_only),
        ];
        let chance = dice::hash(salt, &parts);
        let most = if chance.is_multiple_of(4) { 120 } else { 9_000 };
        let after = 20 + i64::try_from((chance >> 8) % most).expect("small");
        let mut said = Said {
            acts: Vec::new(),
            after,
            answer: Answer::Ops(Vec::new()),
            no_retry: false,
            retry_after: None,
            version: self.version,
        };
        let mut acts = Vec::new();
        self.decide(seen, &mut said, &mut acts);
        let parts = i64::try_from(acts.len()).expect("few") + 1;
        said.acts = (1..).zip(acts).map(|(part, act)| (part * after / parts, act)).collect();
        said
    }

    fn decide(&self, seen: &Seen<'_>, said: &mut Said, acts: &mut Vec<Act>) {
        if let Some(target) = seen.target {
            let step = self.step(target).expect("only steps of this program are planned");
            let op = execute(step, seen.attempt, said, acts);
            said.answer = Answer::Ops(vec![op]);
            return;
        }
        let mut steps = seen.steps.clone();
        let mut executed = 0;
        loop {
            let Walk { open, lazy, outcome } = self.walk(seen, &steps);
            let mut ops = lazy;
            match outcome {
                Some(Outcome::End) if matches!(self.ending, Ending::Throws { .. }) => {
                    let no_retry = self.ending == Ending::Throws { no_retry: true };
                    said.no_retry = no_retry;
                    let status = if no_retry { 400 } else { 500 };
                    said.answer = Answer::Threw { status, name: "Thrown".into(), message: "at the end".into() };
                }
                Some(Outcome::End) => {
                    let result = json!({ "steps": steps.iter().map(|(id, value)| (id.clone(), brief(value))).collect::<BTreeMap<_, _>>() });
                    if !ops.is_empty() || self.ending == Ending::Completes || executed > 0 {
                        ops.push(Op::Complete(result));
                        said.answer = Answer::Ops(ops);
                    } else {
                        said.answer = Answer::Returned((self.ending == Ending::Returns).then_some(result));
                    }
                }
                Some(Outcome::Threw { status, name, message, no_retry, retry_after }) => {
                    said.no_retry = no_retry;
                    said.retry_after = retry_after;
                    said.answer = Answer::Threw { status, name, message };
                }
                Some(Outcome::Nothing) => said.answer = Answer::Ops(Vec::new()),
                Some(Outcome::Unreachable) => said.answer = Answer::Unreachable,
                None => match open[..] {
                    [(step, _)] if !seen.plan_only && matches!(step.kind, Kind::Run { .. }) => {
                        let op = execute(step, seen.attempt, said, acts);
                        if let (true, Op::Ran { id, data }) = (self.checkpoints, &op)
                            && ops.is_empty()
                        {
                            steps.insert(id.clone(), json!({ "data": data }));
                            acts.push(Act::Checkpoint(op));
                            executed += 1;
                            if executed < STEPS_PER_CALL {
                                continue;
                            }
                            said.answer = Answer::Ops(vec![Op::Discover]);
                        } else {
                            ops.push(op);
                            said.answer = Answer::Ops(ops);
                        }
                    }
                    _ => {
                        ops.extend(open.into_iter().map(|(step, race)| match step.kind {
                            Kind::Run { .. } => Op::Planned { id: step.id.clone(), race },
                            _ => Op::Later { step: step.clone(), race },
                        }));
                        said.answer = Answer::Ops(ops);
                    }
                },
            }
            return;
        }
    }

    /// Runs through the code as far as the known steps carry it.
    fn walk(&self, seen: &Seen<'_>, steps: &BTreeMap<String, Value>) -> Walk<'_> {
        let mut walk = Walk::default();
        for stage in &self.stages {
            match stage {
                Stage::Step(step) => match steps.get(&step.id) {
                    None => {
                        walk.open.push((step, false));
                        return walk;
                    }
                    Some(value) => {
                        if let (false, Some(error)) = (step.caught, value.get("error")) {
                            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
                            let (name, message) = (text("name"), text("message"));
                            let (status, no_retry, retry_after) = (500, false, None);
                            walk.outcome = Some(Outcome::Threw { status, name, message, no_retry, retry_after });
                            return walk;
                        }
                    }
                },
                Stage::Block(block) => {
                    let mut done = 0;
                    for branch in &block.branches {
                        match branch.iter().find(|step| !steps.contains_key(&step.id)) {
                            Some(step) => walk.open.push((step, block.race)),
                            None => done += 1,
                        }
                    }
                    let needed = if block.all { block.branches.len() } else { 1 };
                    if done < needed {
                        return walk;
                    }
                }
                Stage::Throw { times, no_retry, retry_after, status } if seen.attempt < *times => {
                    let (name, message) = ("Thrown".to_owned(), format!("attempt {}", seen.attempt));
                    let (status, no_retry, retry_after) = (*status, *no_retry, *retry_after);
                    walk.outcome = Some(Outcome::Threw { status, name, message, no_retry, retry_after });
                    return walk;
                }
                Stage::Nothing(times) if seen.attempt < *times => {
                    walk.outcome = Some(Outcome::Nothing);
                    return walk;
                }
                Stage::Unreachable(times) if seen.attempt < *times => {
                    walk.outcome = Some(Outcome::Unreachable);
                    return walk;
                }
                Stage::Throw { .. } | Stage::Nothing(_) | Stage::Unreachable(_) => {}
                Stage::Defer { id, function, refused } => {
                    if !seen.defers.contains_key(id) {
                        walk.lazy.push(Op::DeferAdd { id: id.clone(), function: *function, refused: *refused });
                    }
                }
                Stage::Abort { id, target } => {
                    if seen.defers.get(target) == Some(&true) {
                        walk.lazy.push(Op::DeferAbort { id: id.clone(), target: target.clone() });
                    }
                }
            }
        }
        walk.outcome = Some(Outcome::End);
        walk
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flat_map(|stage| -> Vec<&Step> {
            match stage {
                Stage::Step(step) => vec![step],
                Stage::Block(block) => block.branches.iter().flatten().collect(),
                _ => Vec::new(),
            }
        })
    }

    pub(crate) fn step(&self, id: &str) -> Option<&Step> {
        self.steps().find(|step| step.id == id)
    }
}

fn execute(step: &Step, attempt: u32, said: &mut Said, acts: &mut Vec<Act>) -> Op {
    let Kind::Run { fails, then, sends } = &step.kind else { unreachable!("{} runs on the server", step.id) };
    let id = step.id.clone();
    if attempt < *fails {
        return Op::Error { id, message: format!("attempt {attempt}") };
    }
    match then {
        Then::Returns => {
            acts.extend(sends.iter().map(|event| Act::Send { step: id.clone(), event: event.clone() }));
            Op::Ran { data: id.clone().into(), id }
        }
        Then::Fails => Op::Failed { id, message: "for good".into() },
        Then::Forbids => {
            said.no_retry = true;
            Op::Error { id, message: "not again".into() }
        }
    }
}

/// The value of a step, short and without random ids.
fn brief(value: &Value) -> Value {
    if value.is_null() {
        return "nothing".into();
    }
    if let Some(error) = value.get("error") {
        return format!("error {}", error["name"].as_str().unwrap_or_default()).into();
    }
    if let Some(name) = value.get("name") {
        return format!("event {} {}", name.as_str().unwrap_or_default(), value["data"]["k"]).into();
    }
    let text = value["data"].to_string();
    if text.len() <= 40 { text.into() } else { format!("{:x}", dice::hash(0, &[&text])).into() }
}
