use inngest_core::RunStatus;
use inngest_state::StepOp;
use inngest_state::trace::UserSpan;

use super::*;

impl Rows {
    fn user(mut self, id: u8, parent: Option<u8>, name: &str, step: Option<(&str, u32)>, call: &str) -> Self {
        let id_of = |number: u8| [0, 0, 0, 0, 0, 0, 0, number];
        let started_ns = (QUEUED + i64::from(id)) * 1_000_000;
        self.0.trace.spans.push(UserSpan {
            run: this(),
            id: id_of(id),
            parent: parent.map(id_of),
            step: step.map(|(step, _)| StepId::from(step)),
            attempt: step.map(|(_, attempt)| attempt),
            name: name.into(),
            started_ns,
            ended_ns: started_ns + 5_000_000,
            failed: name == "fails",
            content: payload(&format!(r#"{{"call":"{call}"}}"#)),
        });
        self
    }
}

/// The span of the call of an attempt at a job.
fn call(job: JobId, attempt: u64) -> String {
    format!("{:016x}", job.key.wrapping_add(attempt))
}

#[test]
fn they_lie_in_their_steps_and_attempts() {
    let rows = Rows::ended(RunStatus::Completed, 1, 70)
        .last_call(after("once"), 0, 60, 61, 200)
        .attempt(start(), Some("work"), 0, (0, 1, 2), 206, Some(3))
        .step("work", StepOp::Run, start(), 1, (0, 4, 30))
        .run("once", after("work"), (30, 31, 60))
        .user(10, None, "inngest.execution", Some(("work", 1)), "")
        .user(11, Some(10), "outer-op", Some(("work", 1)), "")
        .user(12, Some(11), "inner-op", Some(("work", 1)), "")
        .user(13, Some(99), "fails", Some(("work", 0)), "")
        .user(32, None, "in the only one", None, &call(after("work"), 0))
        .user(33, None, "nowhere", None, "0000000000000000");
    let tree = rows.tree();
    check(
        &tree,
        "Run COMPLETED att0 q0 s1 e70 dur69 out(run) resp200
           work COMPLETED RUN att1 q0 s1 e30 dur29 out(work) resp206
             Attempt 0 FAILED RUN att0 q0 s1 e2 dur1 out(call 1) resp206
               fails FAILED userland q13 s13 e18 dur5
             Attempt 1 COMPLETED RUN att1 q2 sched3 s4 e30 dur26 out(work) resp206
               outer-op COMPLETED userland q11 s11 e16 dur5
                 inner-op COMPLETED userland q12 s12 e17 dur5
           once COMPLETED RUN att0 q30 s31 e60 dur29 out(once) resp206
             in the only one COMPLETED userland q32 s32 e37 dur5
           nowhere COMPLETED userland q33 s33 e38 dur5
           Finalization COMPLETED FINALIZATION att0 q60 s61 e70 dur9 out(run) resp200",
    );
    let outer = &tree.children[0].children[1].children[0];
    assert_eq!(outer.children[0].parent.as_deref(), Some(&*outer.id));
    assert_eq!(outer.id, "000000000000000b", "as the user's own tracer knows it");
}

#[test]
fn whatever_they_say_of_each_other_each_is_shown_once() {
    let mut rows = Rows::running(1).user(1, Some(2), "a", None, "").user(2, Some(1), "b", None, "");
    for id in 3..=200 {
        rows = rows.user(id, Some(id - 1), "deep", None, "");
    }
    fn count(span: &Span) -> (usize, usize) {
        let inner = span.children.iter().map(count);
        inner.fold((1, 1), |(spans, depth), (inner, below)| (spans + inner, depth.max(below + 1)))
    }
    let (spans, depth) = count(&rows.tree());
    assert_eq!(spans, 201);
    assert!(depth <= 40, "{depth}");
    let mut chain = Rows::running(1).user(1, None, "deep", None, "");
    for id in 2..=200 {
        chain = chain.user(id, Some(id - 1), "deep", None, "");
    }
    let (spans, depth) = count(&chain.tree());
    assert_eq!((spans, depth), (201, 34), "no deeper than 32 in each other");
}
