//! How the jobs of a parallel block hang together.
//!
//! Request version 2: the steps of one answer form a group, and one discovery follows when the last of them is
//! resolved ("joined"). If any of them is in race mode, a discovery follows each of them, and the group only
//! tells that it is a race. Versions 0 and 1: no groups, a discovery follows each step, and the app must
//! plan its steps for the rest of the run.
//!
//! A job that may run steps itself (neither `plan_only` nor in a group) is the only one of its run. The planner
//! keeps to that, and relies on it.

use std::borrow::Cow;

use inngest_core::Payload;
use inngest_queue::{JobId, QueueItem};
use serde::Deserialize;

use super::Planning;
use crate::response::{Op, OpReport};

/// First request version whose parallel steps are joined.
const JOINING_VERSION: i32 = 2;
/// The bit of a group's number that marks race mode.
const RACE: u64 = 1;

/// What new jobs get from the answer that makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Request version of all jobs that follow.
    pub(super) version: i32,
    /// `plan_only` of the jobs of this block.
    pub(super) plan_only: bool,
    /// Their group: the one this answer opens, else that of the job itself.
    pub(super) group: Option<u64>,
}

/// How a group goes on when one of its steps is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// One discovery when all are.
    Joined(u64),
    /// A discovery for each.
    Race,
}

/// Whether this job is the only one of its run.
pub(super) const fn is_alone(item: &QueueItem) -> bool {
    !item.plan_only && item.group.is_none()
}

/// The group of a discovery that follows a joined one while steps of other groups may still run.
pub(super) const fn race_after(joined: u64) -> u64 {
    joined | RACE
}

impl Block {
    /// No block of its own: what follows is as the job itself is.
    pub(super) fn inherited(planning: &Planning<'_>) -> Self {
        let item = planning.item;
        Self { version: item.version, plan_only: item.plan_only, group: item.group }
    }

    /// The block that an answer opens, if it opens one.
    pub(super) fn of(planning: &Planning<'_>, version: i32, ops: &[OpReport]) -> Self {
        let inherited = Self { version, ..Self::inherited(planning) };
        let steps = || ops.iter().filter(|report| is_step(report.op));
        if steps().nth(1).is_none() {
            return inherited;
        }
        if version < JOINING_VERSION {
            return Self { plan_only: true, ..inherited };
        }
        if !steps().any(|report| is_resolved_later(report.op) && !planning.run.has_step(&report.id)) {
            return inherited;
        }
        let mut ids: Vec<&str> = steps().map(|report| report.id.as_str()).collect();
        ids.sort_unstable();
        let race = steps().any(|report| wants_race(report.opts.as_ref()));
        let key = JobId::discovery(planning.run.id, &ids).key & !RACE;
        Self { plan_only: true, group: Some(key | u64::from(race)), ..inherited }
    }

    /// The group, and how it goes on.
    pub(super) fn group(&self) -> Option<Group> {
        self.group.map(|group| if group & RACE == 0 { Group::Joined(group) } else { Group::Race })
    }

    /// Whether the app must plan its steps for the rest of the run once it did so.
    pub(super) const fn plans_for_ever(&self) -> bool {
        self.version < JOINING_VERSION
    }
}

/// Ops that count for parallelism: not the lazy ones, and not those that are about no step.
const fn is_step(op: Op) -> bool {
    !matches!(
        op,
        Op::None | Op::DiscoveryRequest | Op::RunComplete | Op::SyncRunComplete | Op::DeferAdd | Op::DeferAbort
    )
}

/// Ops that leave their step to be resolved by something else than this answer.
const fn is_resolved_later(op: Op) -> bool {
    matches!(
        op,
        Op::StepPlanned
            | Op::Sleep
            | Op::WaitForEvent
            | Op::WaitForSignal
            | Op::InvokeFunction
            | Op::Gateway
            | Op::AiGateway
    )
}

fn wants_race(opts: Option<&Payload>) -> bool {
    #[derive(Deserialize)]
    struct Opts<'a> {
        #[serde(rename = "parallelMode", borrow, default)]
        mode: Option<Cow<'a, str>>,
    }
    let opts = opts.and_then(|opts| serde_json::from_slice::<Opts<'_>>(opts).ok());
    opts.and_then(|opts| opts.mode).is_some_and(|mode| mode.eq_ignore_ascii_case("race"))
}
