use super::super::names::OutputRefError;
use super::super::{OutputRef, SpanOp, trace_id};
use super::*;

#[test]
fn a_reference_survives_its_text() {
    for of in [
        OutputOf::Run,
        OutputOf::Step(StepId::from("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8")),
        OutputOf::Attempt { job: u64::MAX, generation: 3 },
    ] {
        let reference = OutputRef { run: this(), of };
        let text = reference.to_text();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        assert_eq!(OutputRef::from_text(&text), Ok(reference));
    }
}

#[test]
fn a_text_that_names_nothing_says_why() {
    use base64::Engine as _;
    let encoded = |json: &str| base64::engine::general_purpose::URL_SAFE.encode(json);
    let run = this();
    let error = |text: &str| OutputRef::from_text(text).unwrap_err();
    for text in [
        "%",
        &encoded("[]7"),
        &encoded(r#"{"run":"x"}"#),
        &encoded(&format!(r#"{{"run":"{run}","job":"zz","generation":1}}"#)),
    ] {
        let error = error(text);
        assert!(error.to_string().starts_with("error parsing span identifier: "), "{text}: {error}");
    }
    assert_eq!(error(&encoded("{}")), OutputRefError::NoRun);
    assert_eq!(error(&encoded(&format!(r#"{{"run":"{run}","job":"1"}}"#))), OutputRefError::NoSpan);
}

#[test]
fn ids_have_the_length_that_tracers_expect() {
    assert_eq!(trace_id(this()), "018bcfe5680000000000000000000001");
    assert_eq!(trace_id(this()).len(), 32);
    assert_eq!(Rows::running(1).tree().id.len(), 16);
}

#[test]
fn names_are_those_of_graphql() {
    assert_eq!(SpanOp::WaitForEvent.as_str(), "WAIT_FOR_EVENT");
}
