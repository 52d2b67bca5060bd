//! Every case of `cron_cases.json`: what the Go server makes of a schedule, or what it should make of it.

use inngest_core::Millis;
use inngest_expr::cron::Schedule;
use inngest_expr::date;
use serde_json::Value;

/// What the Go server refuses and we accept, because users expect it.
fn is_accepted_on_purpose(spec: &str) -> bool {
    let fields = spec.split_whitespace().filter(|field| !field.contains("TZ=")).count();
    spec.contains('@') || fields == 6
}

#[test]
fn every_case_has_its_times() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/cron_cases.json")).unwrap();
    assert_eq!(cases.len(), 95);
    let (mut accepted, mut problems) = (Vec::new(), Vec::new());
    for case in &cases {
        let spec = case["spec"].as_str().unwrap();
        let schedule = Schedule::parse(spec);
        let on_purpose = is_accepted_on_purpose(spec) && schedule.is_ok();
        if on_purpose {
            accepted.push(spec);
            // The file has no times of six fields, and Go counts `@every` from the moment it is asked.
            if case.get("next").is_none() || spec.starts_with("@every") {
                continue;
            }
        }
        let registrable = on_purpose || case["registrable"].as_bool().unwrap_or(true);
        match schedule {
            Err(error) if registrable => problems.push(format!("{spec}: {error}")),
            Err(_) => {}
            Ok(_) if !registrable => problems.push(format!("{spec}: accepted")),
            Ok(schedule) => {
                let wanted = case.get("std_next").unwrap_or_else(|| &case["next"]);
                let wanted: Vec<Millis> = wanted.as_array().unwrap().iter().map(time).collect();
                let found = times(&schedule, time(&case["from"]));
                if found != wanted {
                    problems.push(format!("{spec} from {}: {found:?} instead of {wanted:?}", case["from"]));
                }
            }
        }
    }
    println!("{} cases, accepted on purpose: {accepted:?}", cases.len());
    assert_eq!(accepted.len(), 11);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn time(text: &Value) -> Millis {
    text.as_str().and_then(date::parse).expect("the times of cases are dates")
}

fn times(schedule: &Schedule, from: Millis) -> Vec<Millis> {
    let mut times = Vec::new();
    let mut after = from;
    while times.len() < 5 {
        let Some(next) = schedule.next(after) else { break };
        times.push(next);
        after = next;
    }
    times
}
