//! What is tried: a handful of functions, and what happens to them over a few hours.

use std::fmt;

use serde_json::{Value, json};

use crate::app::{Block, Condition, Ending, Kind, Program, Stage, Step, Then, slug};
use crate::dice::Dice;

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// Virtual time after the last operation: enough for every retry and most waits to end.
const AFTERWARDS: i64 = 6 * HOUR;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) functions: Vec<Function>,
    /// Each with its time.
    pub(crate) operations: Vec<(i64, Operation)>,
    /// `--retry-interval`.
    pub(crate) retry_interval: Option<i64>,
    /// What the random part of every back-off is.
    pub(crate) jitter: i64,
    pub(crate) end: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) program: Program,
    pub(crate) config: Config,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) active: bool,
    pub(crate) retries: u32,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) cancels: Vec<Cancel>,
    pub(crate) start_within: Option<i64>,
    pub(crate) finish_within: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) event: String,
    pub(crate) condition: TriggerCondition,
}

#[derive(Clone, Debug)]
pub(crate) enum TriggerCondition {
    None,
    BigN,
    /// Of a lifecycle event: it is about this function.
    Of(usize),
    /// Of `inngest/deferred.schedule`: it names this function.
    Named(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    pub(crate) event: String,
    pub(crate) condition: Condition,
    pub(crate) timeout: Option<i64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Send(Vec<Sent>),
    Signal {
        name: String,
        k: i64,
    },
    /// The run of this place in the order of creation, counted round and round.
    Cancel(usize),
    /// The same; from one of its recorded steps.
    Rerun {
        run: usize,
        from: Option<usize>,
        input: bool,
    },
    /// A sync after which the function has this configuration.
    Sync {
        function: usize,
        config: Config,
    },
    /// The process is gone for so long.
    Crash {
        downtime: i64,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) tag: String,
    pub(crate) name: String,
    pub(crate) k: i64,
    pub(crate) n: i64,
    /// The sender's own id.
    pub(crate) id: Option<String>,
    /// `ts` lies so much in the future.
    pub(crate) delay: i64,
}

/// Names of events that start functions, resume waits, cancel runs.
const STARTING: [&str; 3] = ["t/a", "t/b", "t/c"];
const AWAITED: [&str; 3] = ["w/a", "w/b", "w/c"];
const CANCELLING: [&str; 2] = ["c/a", "c/b"];
/// Starts the last function only; steps may send it.
const LEAF: &str = "leaf/x";
const SIGNALS: [&str; 3] = ["red", "green", "blue"];

impl Scenario {
    pub(crate) fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = 2 + dice.below(4);
        let functions: Vec<Function> = (0..count).map(|index| function(&mut dice, index, count)).collect();
        let mut operations = Vec::new();
        let mut at = 0;
        let mut sent = 0;
        for index in 0..3 + dice.below(14) {
            at += gap(&mut dice);
            let operation =
                if index == 0 { send(&mut dice, &mut sent) } else { operation(&mut dice, &mut sent, &functions) };
            if let Operation::Crash { downtime } = &operation {
                operations.push((at, operation.clone()));
                at += downtime;
            } else {
                operations.push((at, operation));
            }
        }
        let retry_interval = dice.one_in(2).then(|| dice.between(500, 20_000));
        let jitter = dice.between(0, 29_999);
        Self { seed, functions, operations, retry_interval, jitter, end: at + AFTERWARDS }
    }
}

fn gap(dice: &mut Dice) -> i64 {
    match dice.below(10) {
        0..=3 => dice.between(11, 3_000),
        4..=7 => dice.between(SECOND, 40 * SECOND),
        8 => dice.between(MINUTE, HOUR),
        _ => dice.between(HOUR, 26 * HOUR),
    }
}

fn span(dice: &mut Dice) -> i64 {
    match dice.below(12) {
        0 => 0,
        1..=5 => dice.between(100, 5_000),
        6..=9 => dice.between(5 * SECOND, 3 * MINUTE),
        10 => dice.between(3 * MINUTE, 2 * HOUR),
        _ => dice.between(2 * HOUR, 50 * HOUR),
    }
}

fn function(dice: &mut Dice, index: usize, count: usize) -> Function {
    let program = program(dice, index, count);
    Function { program, config: config(dice, index, count) }
}

fn config(dice: &mut Dice, index: usize, count: usize) -> Config {
    let mut triggers = Vec::new();
    if index + 1 == count {
        triggers.push(Trigger { event: LEAF.into(), condition: TriggerCondition::None });
        // Not itself: a handler that is cancelled would start the next, for ever.
        let about = dice.below(index.max(1));
        let event = *dice.pick(&["inngest/function.failed", "inngest/function.finished", "inngest/function.cancelled"]);
        triggers.push(Trigger { event: event.into(), condition: TriggerCondition::Of(about) });
    } else {
        for name in STARTING {
            if index > 0 && dice.one_in(2) {
                continue;
            }
            let condition = if dice.one_in(4) { TriggerCondition::BigN } else { TriggerCondition::None };
            triggers.push(Trigger { event: name.into(), condition });
        }
        if dice.one_in(8) {
            triggers.push(Trigger { event: "t/*".into(), condition: TriggerCondition::None });
        }
    }
    let event = "inngest/deferred.schedule".to_owned();
    triggers.push(Trigger { event, condition: TriggerCondition::Named(index) });
    let cancel = |dice: &mut Dice| Cancel {
        event: (*dice.pick(&CANCELLING)).into(),
        condition: dice.pick(&[Condition::None, Condition::SameK, Condition::BigN, Condition::Both]).clone(),
        timeout: dice.one_in(3).then(|| dice.between(SECOND, 5 * MINUTE)),
    };
    let cancels = (0..[0, 0, 0, 1, 1, 2][dice.below(6)]).map(|_| cancel(dice)).collect();
    Config {
        active: true,
        retries: u32::try_from(dice.below(4)).expect("small"),
        triggers,
        cancels,
        start_within: dice.one_in(6).then(|| dice.between(500, MINUTE)),
        finish_within: dice.one_in(6).then(|| dice.between(SECOND, 10 * MINUTE)),
    }
}

/// Makes the steps of one function.
struct Writer<'d> {
    dice: &'d mut Dice,
    function: usize,
    functions: usize,
    steps: usize,
}

fn program(dice: &mut Dice, index: usize, count: usize) -> Program {
    let version = *dice.pick(&[2, 2, 2, 1, 0]);
    let checkpoints = version == 2 && dice.one_in(4);
    let length = 1 + dice.below(5);
    let mut writer = Writer { dice, function: index, functions: count, steps: 0 };
    let mut stages: Vec<Stage> = Vec::new();
    for _ in 0..length {
        writer.stage(checkpoints, &mut stages);
    }
    let ending = match dice.below(8) {
        0 => Ending::Completes,
        1 => Ending::ReturnsNothing,
        2 => Ending::Throws { no_retry: dice.one_in(2) },
        _ => Ending::Returns,
    };
    Program { stages, ending, version, checkpoints }
}

impl Writer<'_> {
    fn stage(&mut self, checkpoints: bool, stages: &mut Vec<Stage>) {
        let times = |dice: &mut Dice| 1 + u32::try_from(dice.below(3)).expect("small");
        let stage = match self.dice.below(16) {
            0 => Stage::Throw {
                times: times(self.dice),
                no_retry: self.dice.one_in(5),
                retry_after: self.dice.one_in(3).then(|| u32::try_from(self.dice.below(90)).expect("small") + 1),
                status: *self.dice.pick(&[500, 400, 503]),
            },
            1 if !checkpoints => Stage::Nothing(times(self.dice)),
            2 => Stage::Unreachable(times(self.dice)),
            3 => {
                let id = self.id("d");
                let function = self.later_function().unwrap_or(self.function);
                // A function that deferred itself would go on for ever.
                if function == self.function {
                    return;
                }
                let refused = self.dice.one_in(5);
                if self.dice.one_in(3) {
                    let step = self.step(true);
                    stages.push(Stage::Defer { id: id.clone(), function, refused });
                    stages.push(Stage::Step(step));
                    Stage::Abort { id: self.id("x"), target: id }
                } else {
                    Stage::Defer { id, function, refused }
                }
            }
            4..=7 => {
                let branches = (0..2 + self.dice.below(3)).map(|_| {
                    let length = if self.dice.one_in(3) { 2 } else { 1 };
                    (0..length).map(|_| self.step(true)).collect()
                });
                let branches = branches.collect();
                Stage::Block(Block { branches, race: self.dice.one_in(3), all: !self.dice.one_in(3) })
            }
            _ => Stage::Step(self.step(false)),
        };
        stages.push(stage);
    }

    fn id(&mut self, letter: &str) -> String {
        self.steps += 1;
        format!("{letter}{}", self.steps)
    }

    fn later_function(&mut self) -> Option<usize> {
        let later = self.functions - self.function - 1;
        (later > 0).then(|| self.function + 1 + self.dice.below(later))
    }

    fn step(&mut self, in_block: bool) -> Step {
        let id = self.id("s");
        let caught = in_block || self.dice.one_in(2);
        let dice = &mut *self.dice;
        let kind = match dice.below(12) {
            0..=4 => Kind::Run {
                fails: if dice.one_in(3) { 1 + u32::try_from(dice.below(3)).expect("small") } else { 0 },
                then: *dice.pick(&[
                    Then::Returns,
                    Then::Returns,
                    Then::Returns,
                    Then::Returns,
                    Then::Fails,
                    Then::Forbids,
                ]),
                sends: dice.one_in(4).then(|| {
                    let leaf = self.function + 1 < self.functions && dice.one_in(3);
                    let name = if leaf { LEAF } else { *dice.pick(&["w/a", "w/b", "c/a"]) };
                    (name.to_owned(), dice.between(0, 2), dice.between(0, 6))
                }),
            },
            5 | 6 => Kind::Sleep(span(dice)),
            7 | 8 => {
                let lifecycle = dice.one_in(5);
                let event = if lifecycle { "inngest/function.finished" } else { *dice.pick(&AWAITED) };
                // An invocation beside it in the same answer must find it waiting.
                let invoked = lifecycle && dice.one_in(2);
                let event = if invoked { "inngest/function.invoked" } else { event };
                let condition = match dice.below(8) {
                    _ if invoked => Condition::None,
                    _ if lifecycle => Condition::Of(dice.below(self.functions)),
                    0 | 1 => Condition::SameK,
                    2 => Condition::BigN,
                    3 => Condition::Both,
                    4 if !in_block && dice.one_in(4) => Condition::Broken,
                    _ => Condition::None,
                };
                Kind::Wait { event: event.into(), condition, timeout: span(dice) }
            }
            9 | 10 => {
                let timeout = dice.one_in(3).then(|| dice.between(500, MINUTE));
                let k = dice.between(0, 2);
                let function = if dice.one_in(6) { None } else { self.later_function() };
                Kind::Invoke { function, timeout, k }
            }
            _ => Kind::Signal {
                name: (*dice.pick(&SIGNALS)).into(),
                replace: dice.one_in(2),
                timeout: dice.between(SECOND, 5 * MINUTE),
            },
        };
        Step { id, kind, caught }
    }
}

fn send(dice: &mut Dice, sent: &mut usize) -> Operation {
    let one = |dice: &mut Dice, sent: &mut usize| {
        *sent += 1;
        let names: &[&str] = match dice.below(8) {
            0..=4 => &STARTING,
            5 | 6 => &AWAITED,
            _ => &CANCELLING,
        };
        Sent {
            tag: format!("e{sent}"),
            name: (*dice.pick(names)).into(),
            k: dice.between(0, 2),
            n: dice.between(0, 6),
            id: dice.one_in(4).then(|| format!("own-{}", dice.below(3))),
            delay: if dice.one_in(6) { dice.between(SECOND, 5 * MINUTE) } else { 0 },
        }
    };
    let count = if dice.one_in(5) { 2 } else { 1 };
    Operation::Send((0..count).map(|_| one(dice, sent)).collect())
}

fn operation(dice: &mut Dice, sent: &mut usize, functions: &[Function]) -> Operation {
    match dice.below(20) {
        0..=10 => send(dice, sent),
        11 | 12 => Operation::Signal { name: (*dice.pick(&SIGNALS)).into(), k: dice.between(0, 9) },
        13 | 14 => Operation::Cancel(dice.below(1_000)),
        15 | 16 => Operation::Rerun {
            run: dice.below(1_000),
            from: dice.one_in(2).then(|| dice.below(1_000)),
            input: dice.one_in(2),
        },
        17 => {
            let index = dice.below(functions.len());
            let old = &functions[index].config;
            let new = match dice.below(3) {
                0 => Config { active: false, ..old.clone() },
                1 => old.clone(),
                _ => config(dice, index, functions.len()),
            };
            Operation::Sync { function: index, config: new }
        }
        _ => Operation::Crash { downtime: if dice.one_in(3) { dice.between(SECOND, MINUTE) } else { 0 } },
    }
}

/// Making a scenario smaller.
impl Scenario {
    pub(crate) fn size(&self) -> usize {
        let stages: usize = self.functions.iter().map(|function| function.program.stages.len()).sum();
        self.operations.len() + stages
    }

    /// The same without one thing; `None` when there is nothing at this place.
    pub(crate) fn without(&self, place: usize) -> Option<Self> {
        let mut smaller = self.clone();
        if place < self.operations.len() {
            smaller.operations.remove(place);
            return Some(smaller);
        }
        let mut place = place - self.operations.len();
        for function in &mut smaller.functions {
            let Function { program, config } = function;
            if place < program.stages.len() {
                program.stages.remove(place);
                return Some(smaller);
            }
            place -= program.stages.len();
            if place < config.triggers.len() {
                config.triggers.remove(place);
                return Some(smaller);
            }
            place -= config.triggers.len();
        }
        None
    }
}

impl Config {
    /// As an SDK registers it.
    pub(crate) fn to_json(&self, function: usize) -> Value {
        let slug = slug(function);
        let triggers: Vec<Value> = self.triggers.iter().map(Trigger::to_json).collect();
        let cancels: Vec<Value> = self.cancels.iter().map(Cancel::to_json).collect();
        let url = format!("http://app.test/api?fnId={slug}&stepId=step");
        let runtime = json!({ "type": "http", "url": url });
        let step = json!({ "id": "step", "name": "step", "runtime": runtime, "retries": { "attempts": self.retries } });
        let mut function = json!({ "id": slug, "name": slug, "triggers": triggers, "steps": { "step": step } });
        if !cancels.is_empty() {
            function["cancel"] = cancels.into();
        }
        for (key, within) in [("start", self.start_within), ("finish", self.finish_within)] {
            if let Some(ms) = within {
                function["timeouts"][key] = format!("{ms}ms").into();
            }
        }
        function
    }
}

impl Trigger {
    fn to_json(&self) -> Value {
        let expression = match &self.condition {
            TriggerCondition::None => return json!({ "event": self.event }),
            TriggerCondition::BigN => "event.data.n > 3".to_owned(),
            TriggerCondition::Of(function) => format!("event.data.function_id == '{}'", slug(*function)),
            TriggerCondition::Named(function) => format!("event.data._inngest.fn_slug == '{}'", slug(*function)),
        };
        json!({ "event": self.event, "expression": expression })
    }
}

impl Cancel {
    fn to_json(&self) -> Value {
        let mut cancel = json!({ "event": self.event });
        if let Some(text) = self.condition.text() {
            cancel["if"] = text.into();
        }
        if let Some(ms) = self.timeout {
            cancel["timeout"] = format!("{ms}ms").into();
        }
        cancel
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "retry interval {:?}, jitter {}", self.retry_interval, self.jitter)?;
        for (index, function) in self.functions.iter().enumerate() {
            let Program { stages, ending, version, checkpoints } = &function.program;
            writeln!(f, "f{index}: {:?}", function.config)?;
            writeln!(f, "    version {version}, checkpoints {checkpoints}")?;
            for stage in stages {
                writeln!(f, "    {stage:?}")?;
            }
            writeln!(f, "    {ending:?}")?;
        }
        for (at, operation) in &self.operations {
            writeln!(f, "@{at} {operation:?}")?;
        }
        Ok(())
    }
}
