//! A case of a schedule: `spec`, whether it is `registrable`, and the `next` times after `from`.

use inngest_core::Millis;
use serde_json::Value as Json;

use super::Verdict;
use crate::cron::Schedule;
use crate::date;

/// Times that a case without any is compared with.
const TIMES: usize = 5;

/// Compares what we make of a schedule with its case. With `std_next` a case says what should be, whatever the Go
/// server does.
#[must_use]
pub fn check_schedule(case: &Json) -> Verdict {
    let Some(spec) = case["spec"].as_str() else { return Verdict::Differs("the case has no `spec`".to_owned()) };
    let schedule = Schedule::parse(spec);
    let deviation = deviation(spec).filter(|_| schedule.is_ok());
    let expected = case.get("std_next").or_else(|| case.get("next"));
    // The Go server's file has no times of six fields, and Go counts `@every` from the moment it is asked.
    if let Some(why) = deviation
        && (expected.is_none() || spec.starts_with("@every"))
    {
        return Verdict::Deviates(why);
    }
    let is_registrable = deviation.is_some() || case["registrable"].as_bool().unwrap_or(true);
    let schedule = match schedule {
        Err(error) if is_registrable => return Verdict::Differs(error.to_string()),
        Err(_) => return Verdict::Same,
        Ok(_) if !is_registrable => return Verdict::Differs("expected to be refused, but it is accepted".to_owned()),
        Ok(schedule) => schedule,
    };
    let parse = |time: &Json| time.as_str().and_then(date::parse);
    let expected: Option<Vec<Millis>> =
        expected.and_then(Json::as_array).and_then(|all| all.iter().map(parse).collect());
    let (Some(from), Some(expected)) = (parse(&case["from"]), expected) else {
        return Verdict::Differs("the case has no `from` or no `next` that are dates".to_owned());
    };
    let found = times(&schedule, from, expected.len().max(TIMES));
    match deviation {
        _ if found != expected => Verdict::Differs(format!("expected {expected:?}, found {found:?}")),
        Some(why) => Verdict::Deviates(why),
        None => Verdict::Same,
    }
}

/// What the Go server refuses and we accept, because users expect it.
fn deviation(spec: &str) -> Option<&'static str> {
    let fields = spec.split_whitespace().filter(|field| !field.contains("TZ=")).count();
    if spec.contains('@') {
        Some("words such as @daily are accepted")
    } else {
        (fields == 6).then_some("a sixth field, for seconds, is accepted")
    }
}

fn times(schedule: &Schedule, from: Millis, count: usize) -> Vec<Millis> {
    let next = |after: &Millis| schedule.next(*after);
    std::iter::successors(schedule.next(from), next).take(count).collect()
}
