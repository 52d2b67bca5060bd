//! What the ops of a reply are read as.

use super::*;

fn one(body: &str) -> OpReport {
    let mut ops = read(body.as_bytes()).unwrap();
    assert_eq!(ops.len(), 1);
    ops.remove(0)
}

fn expected(op: Op) -> OpReport {
    OpReport {
        op,
        id: "86f7".into(),
        display_name: "a".into(),
        name: Some("a".into()),
        opts: None,
        input: None,
        data: None,
        error: None,
        metadata: Vec::new(),
        timing: None,
    }
}

fn json(text: &'static str) -> Option<Payload> {
    Some(Payload::from_static(text.as_bytes()))
}

#[test]
fn each_sdk_has_its_own_way_to_report_a_step() {
    let js = r#"[{"id":"86f7","op":"StepRun","name":"a","opts":{},"displayName":"a","userland":{"id":"a"},"data":{"h":1},"timing":{"a":1795489019303000000,"b":0}}]"#;
    let py = r#"[{"displayName":"a","id":"86f7","name":"a","op":"StepRun","opts":null,"userland":{"id":"a","index":null},"data":{"h":1}}]"#;
    let go = r#"[{"op":"StepRun","id":"86f7","name":"a","opts":null,"data":{"h":1},"error":null,"displayName":null,"timing":{"a":1795489202032901069,"b":510},"userland":{"id":"a"}}]"#;
    let kt = r#"[{"id":"86f7","name":"a","op":"StepRun","statusCode":"StepComplete","data":{"h":1},"error":null}]"#;
    let step = OpReport { data: json(r#"{"h":1}"#), ..expected(Op::StepRun) };
    let js_step = OpReport { opts: json("{}"), timing: Some((1_795_489_019_303_000_000, 0)), ..step.clone() };
    let go_step = OpReport { timing: Some((1_795_489_202_032_901_069, 510)), ..step.clone() };
    for (body, expected) in [(js, js_step), (py, step.clone()), (go, go_step), (kt, step)] {
        assert_eq!(one(body), expected, "{body}");
    }
}

#[test]
fn one_op_may_stand_without_a_list() {
    assert_eq!(one(r#" {"op":"Sleep","id":"86f7","name":"a"} "#), expected(Op::Sleep));
}

#[test]
fn members_are_read_leniently() {
    let op = r#""op":"StepRun","id":"86f7""#;
    for (members, report) in [
        (r#""name":"a","data":null"#, OpReport { data: json("null"), ..expected(Op::StepRun) }),
        (r#""name":"a","opts":[1]"#, expected(Op::StepRun)),
        (r#""name":"a","opts":"x","timing":"soon","userland":7"#, expected(Op::StepRun)),
        (r#""name":"a","timing":{"a":0,"b":0}"#, expected(Op::StepRun)),
        (r#""name":"a","timing":{"a":7.5,"b":1.25e2}"#, OpReport { timing: Some((7, 125)), ..expected(Op::StepRun) }),
        (
            r#""name":"a","opts":{"type":"t","input":[ 1 ]}"#,
            OpReport { opts: json(r#"{"input":[1],"type":"t"}"#), input: json("[1]"), ..expected(Op::StepRun) },
        ),
        (r#""name":"a","opts":{"input":null}"#, OpReport { opts: json(r#"{"input":null}"#), ..expected(Op::StepRun) }),
        (r#""name":"a","displayName":"D \u00e9""#, OpReport { display_name: "D é".into(), ..expected(Op::StepRun) }),
        (
            r#""displayName":"","userland":{"id":"u","index":1}"#,
            OpReport { name: None, display_name: "u".into(), ..expected(Op::StepRun) },
        ),
        ("\"x\":1", OpReport { name: None, display_name: "".into(), ..expected(Op::StepRun) }),
    ] {
        assert_eq!(one(&format!("[{{{op},{members}}}]")), report, "{members}");
    }
}

#[test]
fn payloads_become_canonical() {
    let report =
        one(r#"[{"op":"StepFailed","id":"x","data":{"b":1.50,"a":"\u20ac"},"error":{"stack":"s","name":"n"}}]"#);
    assert_eq!(report.data, json("{\"a\":\"€\",\"b\":1.5}"));
    assert_eq!(report.error, json(r#"{"name":"n","stack":"s"}"#));
}

#[test]
fn every_op_is_found_by_its_name_in_any_letter_case() {
    for op in Op::ALL {
        let name = op.as_str();
        for spelling in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            assert_eq!(Op::parse(&spelling), Some(op), "{spelling}");
        }
    }
    assert_eq!(Op::parse("StepStateFailed"), Some(Op::StepFailed));
    for name in ["", "StepNotFound", "Nope"] {
        assert_eq!(Op::parse(name), None, "{name}");
    }
}

#[test]
fn ids_may_be_missing_where_they_mean_nothing() {
    for op in ["None", "DiscoveryRequest", "RunComplete"] {
        assert_eq!(one(&format!(r#"[{{"op":"{op}"}}]"#)).id.as_str(), "");
    }
}

#[test]
fn many_ops_are_all_kept() {
    let body = format!("[{}]", vec![r#"{"op":"StepPlanned","id":"x"}"#; 1500].join(","));
    assert_eq!(read(body.as_bytes()).unwrap().len(), 1500);
    assert_eq!(read(b"[]").unwrap(), []);
}

#[test]
fn what_is_no_list_of_ops_is_refused_with_the_reason() {
    let reading = "error reading generator opcode response: ";
    for (body, reason) in [
        ("", "no response data".to_owned()),
        (" \n ", "no response data".to_owned()),
        ("zzz", format!("{reading}expected JSON object or array")),
        ("\"text\"", format!("{reading}expected JSON object or array")),
        ("<html>hi</html>", format!("{reading}expected JSON object or array")),
        (r#"[{"op":"Nope","id":"x"}]"#, format!("{reading}Nope does not belong to Opcode values")),
        (r#"[{"op":"StepError","id":"x"}]"#, format!("{reading}StepError has no error")),
        (r#"[{"op":"StepError","id":"x","error":null}]"#, format!("{reading}StepError has no error")),
        (r#"[{"op":"StepRun","id":"","data":1}]"#, format!("{reading}StepRun has no id")),
        (r#"[{"op":"Sleep","name":"1s"}]"#, format!("{reading}Sleep has no id")),
        ("[null]", format!("{reading}invalid type: null, expected an op at line 1 column 5")),
        (r#"[{"id":"x"}]"#, format!("{reading}missing field `op` at line 1 column 11")),
    ] {
        assert_eq!(read(body.as_bytes()).unwrap_err(), reason, "{body}");
    }
    for body in [
        "[",
        "[{",
        "{",
        "[1]",
        r#"[{"op":7}]"#,
        r#"[{"op":"StepRun","id":[]}]"#,
        r#"[{"op":"None"}] x"#,
        "[{\"op\":\"None\"},]",
    ] {
        assert!(read(body.as_bytes()).unwrap_err().starts_with(reading), "{body}");
    }
    let deep = format!(r#"[{{"op":"StepRun","id":"x","data":{}1{}}}]"#, "[".repeat(20_000), "]".repeat(20_000));
    assert!(read(deep.as_bytes()).unwrap_err().starts_with(reading));
}

#[test]
fn text_that_is_not_utf_8_is_replaced() {
    let report = &read(b"[{\"op\":\"StepRun\",\"id\":\"x\",\"data\":\"\xff\"}]").unwrap()[0];
    assert_eq!(report.data, json("\"\u{fffd}\""));
}
