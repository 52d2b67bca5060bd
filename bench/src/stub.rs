//! The stub app: answers the server's calls as an SDK would, from text prepared beforehand.
//!
//! Nothing is parsed as JSON. The event's sequence number and the ids of memoised steps are found by searching bytes;
//! both are chosen so that they cannot occur by accident. Sockets are the driver's business, so this part is pure.

use crate::http::Message;
use crate::workload::{Function, Shape, functions};
use memchr::memmem::Finder;
use serde_json::{Value, json};

/// Path of the app, as registered.
pub(crate) const PATH: &str = "/api/inngest";
/// Key in the event's data that carries the sequence number.
pub(crate) const SEQUENCE_KEY: &str = "bench_seq";

const SDK_HEADERS: &str =
    "content-type: application/json\r\nx-inngest-sdk: inngest-js:v4.24.0\r\nx-inngest-req-version: 2\r\n";

/// The app and its prepared answers.
pub(crate) struct Stub {
    functions: Vec<Function>,
    sequence: Finder<'static>,
    done: Vec<u8>,
}

/// What a call turned out to be, for the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Introspection or a sync request.
    Sync,
    /// A function was called for the event with this sequence number.
    Function { function: usize, sequence: u64, answer: Answer },
    /// Not understood; answered with 500.
    Unknown(&'static str),
}

/// What the function answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its result: the run ends.
    Result,
    /// The result of the step with this number.
    Step(u8),
    /// A plan of steps, or a sleep: nothing was executed.
    Plan,
    /// A wait without a foreseeable end: the run is where its workload wants it.
    Parked,
}

impl Stub {
    pub(crate) fn new() -> Self {
        let sequence = Finder::new(&format!("\"{SEQUENCE_KEY}\":")).into_owned();
        Stub { functions: functions(), sequence, done: reply("200 OK", r#"{"ok":true}"#) }
    }

    pub(crate) fn function(&self, index: usize) -> &Function {
        &self.functions[index]
    }

    /// Body of `POST /fn/register`.
    pub(crate) fn registration(&self, port: u16) -> String {
        let url = format!("http://127.0.0.1:{port}{PATH}");
        let functions: Vec<Value> = self.functions.iter().map(|function| registered(function, &url)).collect();
        json!({
            "url": url, "deployType": "ping", "framework": "nodejs", "appName": "bench", "functions": functions,
            "sdk": "js:v4.24.0", "v": "0.1", "capabilities": {},
        })
        .to_string()
    }

    /// Appends the answer to `out` and says what was answered.
    pub(crate) fn answer(&self, request: &Message<'_>, out: &mut Vec<u8>) -> Call {
        if request.start_line.starts_with(b"POST ") {
            return self.invoke(request, out).unwrap_or_else(|why| {
                out.extend_from_slice(&reply("500 Internal Server Error", &json!({ "message": why }).to_string()));
                Call::Unknown(why)
            });
        }
        let body = json!({
            "message": "The benchmark registers itself", "modified": false, "schema_version": "2024-05-24",
            "function_count": self.functions.len(), "has_event_key": true, "has_signing_key": false, "mode": "dev",
        });
        out.extend_from_slice(&reply("200 OK", &body.to_string()));
        Call::Sync
    }

    fn invoke(&self, request: &Message<'_>, out: &mut Vec<u8>) -> Result<Call, &'static str> {
        let slug = query(request.start_line, b"fnId=").ok_or("no fnId in the URL")?;
        let known = self.functions.iter().position(|function| function.slug.as_bytes() == slug);
        let function = known.ok_or("unknown fnId")?;
        let sequence = self.sequence_of(&request.body).ok_or("no sequence number in the event")?;
        let answer = self.run(function, query(request.start_line, b"stepId="), &request.body, out)?;
        Ok(Call::Function { function, sequence, answer })
    }

    fn sequence_of(&self, body: &[u8]) -> Option<u64> {
        let digits = &body[self.sequence.find(body)? + self.sequence.needle().len()..];
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }

    fn run(
        &self,
        function: usize,
        step: Option<&[u8]>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Answer, &'static str> {
        let Function { shape, steps, .. } = &self.functions[function];
        if let Some(target) = step.filter(|step| *step != b"step") {
            let number = steps.iter().position(|step| step.id.as_bytes() == target).ok_or("unknown stepId")?;
            return Ok(step_result(&steps[number].op, number, out));
        }
        let Some(next) = steps.iter().position(|step| step.key.find(body).is_none()) else {
            out.extend_from_slice(&self.done);
            return Ok(Answer::Result);
        };
        match shape {
            Shape::Plain | Shape::Sequential => Ok(step_result(&steps[next].op, next, out)),
            Shape::Sleep => {
                out.extend_from_slice(&reply("206 Partial Content", &format!("[{}]", steps[next].op)));
                Ok(Answer::Plan)
            }
            Shape::Wait | Shape::LongSleep => {
                out.extend_from_slice(&reply("206 Partial Content", &format!("[{}]", steps[next].op)));
                Ok(Answer::Parked)
            }
            Shape::Parallel => {
                let missing = steps.iter().filter(|step| step.key.find(body).is_none());
                let plans: Vec<&str> = missing.map(|step| step.plan.as_str()).collect();
                out.extend_from_slice(&reply("206 Partial Content", &format!("[{}]", plans.join(","))));
                Ok(Answer::Plan)
            }
        }
    }
}

fn step_result(op: &str, number: usize, out: &mut Vec<u8>) -> Answer {
    out.extend_from_slice(&reply("206 Partial Content", &format!("[{op}]")));
    Answer::Step(u8::try_from(number).expect("no workload has more than ten steps"))
}

fn reply(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{SDK_HEADERS}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn registered(function: &Function, url: &str) -> Value {
    let slug = &function.slug;
    let mut definition = function.workload.options();
    definition["id"] = json!(slug);
    definition["name"] = json!(slug);
    definition["triggers"] = json!([{ "event": function.workload.event() }]);
    definition["steps"] = json!({ "step": {
        "id": "step", "name": "step", "retries": { "attempts": 3 },
        "runtime": { "type": "http", "url": format!("{url}?fnId={slug}&stepId=step") },
    }});
    definition
}

/// Value of the query parameter `key` (given with its `=`) in a request line.
fn query<'a>(start_line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let from = start_line.iter().position(|byte| *byte == b'?')? + 1;
    let end = start_line.iter().rposition(|byte| *byte == b' ')?;
    let pairs = start_line.get(from..end)?.split(|byte| *byte == b'&');
    pairs.into_iter().find_map(|pair| pair.strip_prefix(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Kind, parse};

    fn call(stub: &Stub, target: &str, body: &str) -> (Call, Value) {
        let request = format!("POST {PATH}?{target} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut out = Vec::new();
        let message = parse(request.as_bytes(), Kind::Request).expect("request").expect("complete");
        let call = stub.answer(&message, &mut out);
        let answer = parse(&out, Kind::Response { at_end: false }).expect("answer").expect("complete");
        assert_eq!(answer.len, out.len(), "content-length is right");
        (call, serde_json::from_slice(&answer.body).expect("JSON"))
    }

    fn body(memoised: &[&str]) -> String {
        let pairs: Vec<String> = memoised.iter().map(|id| format!(r#""{id}":{{"data":1}}"#)).collect();
        format!(
            r#"{{"ctx":{{"stack":{{"stack":["{}"]}}}},"event":{{"data":{{"bench_seq":17}}}},"steps":{{{}}}}}"#,
            memoised.join(r#"",""#),
            pairs.join(",")
        )
    }

    fn answer_of(call: Call) -> Answer {
        match call {
            Call::Function { sequence: 17, answer, .. } => answer,
            other => panic!("unexpected {other:?}"),
        }
    }

    #[test]
    fn sequential_steps_run_until_all_are_memoised() {
        let stub = Stub::new();
        let index = stub.functions.iter().position(|function| function.slug == "bench-steps3").expect("registered");
        let ids: Vec<&str> = stub.functions[index].steps.iter().map(|step| step.id.as_str()).collect();
        for done in 0..=3 {
            let (call, json) = call(&stub, "fnId=bench-steps3&stepId=step", &body(&ids[..done]));
            if done == 3 {
                assert_eq!((answer_of(call), json), (Answer::Result, json!({ "ok": true })));
            } else {
                assert_eq!(answer_of(call), Answer::Step(u8::try_from(done).expect("small")));
                assert_eq!((&json[0]["op"], &json[0]["id"]), (&json!("StepRun"), &json!(ids[done])));
            }
        }
    }

    #[test]
    fn an_id_in_the_stack_alone_is_not_memoised() {
        let stub = Stub::new();
        let ids = &stub.functions.iter().find(|function| function.slug == "bench-steps3").expect("registered").steps;
        let body = format!(r#"{{"ctx":{{"stack":["{}"]}},"event":{{"bench_seq":17}},"steps":{{}}}}"#, ids[0].id);
        assert_eq!(answer_of(call(&stub, "fnId=bench-steps3&stepId=step", &body).0), Answer::Step(0));
    }

    #[test]
    fn parallel_steps_are_planned_then_run_on_request() {
        let stub = Stub::new();
        let function = stub.functions.iter().find(|function| function.shape == Shape::Parallel).expect("registered");
        let ids: Vec<&str> = function.steps.iter().map(|step| step.id.as_str()).collect();
        let (planned, json) = call(&stub, "fnId=bench-parallel&stepId=step", &body(&[]));
        assert_eq!((answer_of(planned), json.as_array().map(Vec::len)), (Answer::Plan, Some(10)));
        let (planned, json) = call(&stub, "fnId=bench-parallel&stepId=step", &body(&ids[..7]));
        assert_eq!((answer_of(planned), json.as_array().map(Vec::len)), (Answer::Plan, Some(3)));
        let (ran, json) = call(&stub, &format!("fnId=bench-parallel&stepId={}", ids[4]), &body(&[]));
        assert_eq!((answer_of(ran), &json[0]["op"]), (Answer::Step(4), &json!("StepRun")));
        let (ended, _) = call(&stub, "fnId=bench-parallel&stepId=step", &body(&ids));
        assert_eq!(answer_of(ended), Answer::Result);
    }

    #[test]
    fn sleep_then_result() {
        let stub = Stub::new();
        let (slept, json) = call(&stub, "fnId=bench-sleep&stepId=step", &body(&[]));
        assert_eq!((answer_of(slept), &json[0]["op"], &json[0]["name"]), (Answer::Plan, &json!("Sleep"), &json!("1s")));
        let id = json[0]["id"].as_str().expect("id");
        assert_eq!(answer_of(call(&stub, "fnId=bench-sleep&stepId=step", &body(&[id])).0), Answer::Result);
    }

    #[test]
    fn a_parked_run_ends_when_it_is_released() {
        let stub = Stub::new();
        let (parked, json) = call(&stub, "fnId=bench-park&stepId=step", &body(&[]));
        assert_eq!((answer_of(parked), &json[0]["name"]), (Answer::Parked, &json!("bench/release")));
        let id = json[0]["id"].as_str().expect("id");
        assert_eq!(answer_of(call(&stub, "fnId=bench-park&stepId=step", &body(&[id])).0), Answer::Result);
    }

    #[test]
    fn calls_that_make_no_sense_get_a_500() {
        let stub = Stub::new();
        for (target, body, why) in [
            ("stepId=step", r#"{"bench_seq":1}"#, "no fnId in the URL"),
            ("fnId=other&stepId=step", r#"{"bench_seq":1}"#, "unknown fnId"),
            ("fnId=bench-hello&stepId=step", r#"{"event":{}}"#, "no sequence number in the event"),
            ("fnId=bench-hello&stepId=step", r#"{"bench_seq":"#, "no sequence number in the event"),
            ("fnId=bench-hello&stepId=abc", r#"{"bench_seq":1}"#, "unknown stepId"),
        ] {
            let (call, json) = call(&stub, target, body);
            assert_eq!((call, &json["message"]), (Call::Unknown(why), &json!(why)));
        }
    }

    #[test]
    fn registration_names_every_function_and_its_trigger() {
        let stub = Stub::new();
        let body: Value = serde_json::from_str(&stub.registration(4321)).expect("JSON");
        assert_eq!(body["url"], "http://127.0.0.1:4321/api/inngest");
        assert_eq!(body["functions"].as_array().map(Vec::len), Some(stub.functions.len()));
        assert_eq!(body["functions"][0]["triggers"], json!([{ "event": "bench/hello" }]));
        let url = &body["functions"][0]["steps"]["step"]["runtime"]["url"];
        assert_eq!(url, "http://127.0.0.1:4321/api/inngest?fnId=bench-hello&stepId=step");
    }

    #[test]
    fn introspection_and_sync_are_answered() {
        for method in ["GET", "PUT"] {
            let request = format!("{method} {PATH} HTTP/1.1\r\n\r\n");
            let message = parse(request.as_bytes(), Kind::Request).expect("request").expect("complete");
            let mut out = Vec::new();
            assert_eq!(Stub::new().answer(&message, &mut out), Call::Sync);
            assert!(out.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    }
}
