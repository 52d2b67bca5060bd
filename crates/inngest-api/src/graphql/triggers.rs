//! Events as texts, and what started a run.

use async_graphql::SimpleObject;
use inngest_core::{Millis, canonical};
use inngest_queue::Gathering;
use inngest_state::history::{EventRecord, RunRecord};
use ulid::Ulid;

use super::problem::Result;
use super::scalars::{Raw, Time, UlidText, text};
use super::session::Session;

/// The members of an event, each JSON.
#[derive(Default)]
pub(super) struct Parts<'e> {
    pub(super) data: Option<&'e [u8]>,
    id: Option<&'e [u8]>,
    name: Option<&'e [u8]>,
    ts: Option<&'e [u8]>,
    user: Option<&'e [u8]>,
    v: Option<&'e [u8]>,
}

impl<'e> Parts<'e> {
    pub(super) fn of(record: &'e EventRecord) -> Self {
        let mut parts = Self::default();
        for (name, value) in canonical::fields(&record.body) {
            match &*name {
                "data" => parts.data = Some(value),
                "id" => parts.id = Some(value),
                "name" => parts.name = Some(value),
                "ts" => parts.ts = Some(value),
                // Stored with every event, whether its sender named one or not.
                "user" => parts.user = Some(value).filter(|user| *user != b"{}"),
                "v" => parts.v = Some(value),
                _ => {}
            }
        }
        parts
    }

    /// In the order of their names, as `EventV2.raw` has them.
    pub(super) fn sorted(&self) -> String {
        let data = self.data.filter(|data| *data != b"null").unwrap_or(b"{}");
        object(&[
            ("data", Some(data)),
            ("id", self.id),
            ("name", self.name),
            ("ts", self.ts),
            ("user", self.user),
            ("v", Some(self.v.unwrap_or(b"null"))),
        ])
    }

    /// As in payloads and `Event.raw`.
    pub(super) fn plain(&self) -> String {
        object(&[
            ("id", self.id),
            ("name", self.name),
            ("data", self.data),
            ("ts", self.ts),
            ("v", self.v),
            ("user", self.user),
        ])
    }

    /// `v`; empty when there is none.
    pub(super) fn version(&self) -> String {
        self.v.and_then(|v| serde_json::from_slice(v).ok()).unwrap_or_default()
    }

    /// A text below `data`.
    pub(super) fn datum(&self, path: &str) -> Option<String> {
        let data: serde_json::Value = serde_json::from_slice(self.data?).ok()?;
        Some(data.pointer(path)?.as_str()?.to_owned())
    }
}

fn object(members: &[(&str, Option<&[u8]>)]) -> String {
    let mut out = String::from("{");
    for (name, value) in members {
        if let Some(value) = value {
            out.push_str(if out.len() > 1 { "," } else { "" });
            out.push_str(&format!("\"{name}\":{}", text(value)));
        }
    }
    out.push('}');
    out
}

/// What started a run.
#[derive(SimpleObject)]
pub(super) struct RunTraceTrigger {
    event_name: Option<String>,
    #[graphql(name = "IDs")]
    ids: Vec<UlidText>,
    payloads: Vec<Raw>,
    timestamp: Time,
    is_batch: bool,
    #[graphql(name = "batchID")]
    batch_id: Option<UlidText>,
    cron: Option<String>,
}

impl RunTraceTrigger {
    pub(super) async fn of(session: &Session, run: &RunRecord) -> Result<Self> {
        let events = session.events(&run.event_ids).await?;
        let same_name = events.iter().all(|record| record.event.name == run.event_name);
        let first = run.event_ids.iter().min().map_or(run.queued_at, |event| event.timestamp());
        Ok(Self {
            event_name: Some(run.event_name.to_string()).filter(|_| same_name && !run.is_scheduled()),
            ids: run.event_ids.iter().copied().map(UlidText::from).collect(),
            payloads: events.iter().map(|record| Raw(Parts::of(record).plain().into())).collect(),
            timestamp: first.into(),
            is_batch: is_batch(run),
            batch_id: batch_id(run),
            cron: cron(session, run).await?,
        })
    }
}

/// Whether the events of a run were gathered in a batch.
pub(super) fn is_batch(run: &RunRecord) -> bool {
    run.gathering == Some(Gathering::Batch)
}

/// A batch is named by its first event and its run: its time is when it began.
pub(super) fn batch_id(run: &RunRecord) -> Option<UlidText> {
    let began = batch_began(run)?;
    let random = run.id.0.random();
    Some(UlidText(Ulid::from_parts(began.0.max(0).unsigned_abs(), random)))
}

/// When the first event of a batch came.
pub(super) fn batch_began(run: &RunRecord) -> Option<Millis> {
    run.event_ids.iter().min().filter(|_| is_batch(run)).map(|event| event.timestamp())
}

/// The schedule that started a run.
pub(super) async fn cron(session: &Session, run: &RunRecord) -> Result<Option<String>> {
    let Some(event) = run.event_ids.first().filter(|_| run.is_scheduled()) else { return Ok(None) };
    let record = session.event(*event).await?;
    Ok(record.and_then(|record| Parts::of(&record).datum("/cron")))
}
