// The functions of the JavaScript apps. Both SDK generations serve the same ones: `define` hides that they take
// triggers in different places. Every function notes what it executes in the journal, so that the tests can tell
// a memoised step from one that ran twice.

const events = (...names) => names.map((event) => ({ event }));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What was executed, by run id. */
export class Journal {
  #entries = new Map();

  /** Notes that `step` of `run` was executed and returns how often it was by now. */
  note(run, step) {
    const entries = this.#entries.get(run) ?? [];
    entries.push({ step, at: Date.now() });
    this.#entries.set(run, entries);
    return entries.filter((entry) => entry.step === step).length;
  }

  of(run) {
    return { now: Date.now(), entries: this.#entries.get(run) ?? [] };
  }
}

export function scenarios({ define, journal, NonRetriableError, RetryAfterError }) {
  const onFailure = async ({ event, error }) => {
    journal.note(event.data.run_id, `onFailure: ${error.message}`);
  };

  return [
    define({ id: "hello" }, events("sdk/hello"), async ({ event, runId }) => {
      journal.note(runId, "body");
      return { greeting: `hello ${event.data.name}` };
    }),

    define({ id: "wildcard" }, events("sdk/wild.*", "sdk/second"), async ({ event }) => ({ name: event.name })),

    define({ id: "steps" }, events("sdk/steps"), async ({ event, step, runId }) => {
      const one = await step.run("one", () => {
        journal.note(runId, "one");
        return event.data.n + 1;
      });
      const two = await step.run("two", () => {
        journal.note(runId, "two");
        return { doubled: one * 2 };
      });
      const three = await step.run("three", () => {
        journal.note(runId, "three");
        return [one, two.doubled];
      });
      return { one, two, three };
    }),

    define({ id: "parallel" }, events("sdk/parallel"), async ({ step, runId }) => {
      const branch = (name, value) =>
        step.run(name, () => {
          journal.note(runId, name);
          return value;
        });
      const values = await Promise.all([branch("left", 1), branch("middle", 2), branch("right", 3)]);
      const sum = await step.run("join", () => {
        journal.note(runId, "join");
        return values.reduce((total, value) => total + value, 0);
      });
      return { values, sum };
    }),

    define({ id: "sleep" }, events("sdk/sleep"), async ({ step, runId }) => {
      await step.run("before", () => void journal.note(runId, "before"));
      await step.sleep("nap", "1s");
      await step.run("after", () => void journal.note(runId, "after"));
      return { slept: true };
    }),

    define({ id: "retry", retries: 3 }, events("sdk/retry"), async ({ step, runId }) => {
      await step.run("first", () => void journal.note(runId, "first"));
      const tries = await step.run("flaky", () => {
        const times = journal.note(runId, "flaky");
        if (times < 3) throw new Error(`flaky ${times}`);
        return times;
      });
      await step.run("last", () => void journal.note(runId, "last"));
      return { tries };
    }),

    define({ id: "retry-after", retries: 1 }, events("sdk/retry-after"), async ({ step, runId }) => {
      const tries = await step.run("late", () => {
        const times = journal.note(runId, "late");
        if (times === 1) throw new RetryAfterError("not yet", 3000);
        return times;
      });
      return { tries };
    }),

    define({ id: "step-error", retries: 1 }, events("sdk/step-error"), async ({ step, runId }) => {
      let caught;
      try {
        await step.run("refused", () => {
          journal.note(runId, "refused");
          throw new Error("card refused");
        });
      } catch (error) {
        caught = error.message;
      }
      await step.run("recover", () => void journal.note(runId, "recover"));
      return { caught };
    }),

    define({ id: "failure", retries: 3, onFailure }, events("sdk/failure"), async ({ step, runId }) => {
      await step.run("before", () => void journal.note(runId, "before"));
      journal.note(runId, "body");
      throw new NonRetriableError("cannot go on");
    }),

    define({ id: "exhausted", retries: 1, onFailure }, events("sdk/exhausted"), async ({ step, runId }) => {
      await step.run("hopeless", () => {
        journal.note(runId, "hopeless");
        throw new Error("never works");
      });
    }),

    define({ id: "function-error", retries: 2 }, events("sdk/function-error"), async ({ step, runId, attempt }) => {
      await step.run("before", () => void journal.note(runId, "before"));
      if (journal.note(runId, "body") === 1) throw new Error("first call fails");
      return { attempt };
    }),

    define({ id: "error-cause", retries: 0 }, events("sdk/error-cause"), async () => {
      throw new Error("outer", { cause: new TypeError("inner") });
    }),

    define({ id: "fan-out" }, events("sdk/fan-out"), async ({ step }) => {
      const sent = await step.sendEvent(
        "send",
        [1, 2, 3].map((n) => ({ name: "sdk/fan-out.child", data: { n } })),
      );
      return { ids: sent.ids };
    }),

    define({ id: "fan-out-child" }, events("sdk/fan-out.child"), async ({ event, step }) =>
      step.run("multiply", () => event.data.n * 10),
    ),

    define({ id: "big-output" }, events("sdk/big-output"), async ({ event, step }) => {
      const text = await step.run("make", () => "é".repeat(event.data.size / 2));
      const bytes = await step.run("measure", () => Buffer.byteLength(text));
      return { bytes, text };
    }),

    define({ id: "crash-asleep" }, events("sdk/crash-asleep"), async ({ step, runId }) => {
      for (const name of ["a", "b", "c"]) await step.run(name, () => journal.note(runId, name));
      await step.sleep("over the crash", "3s");
      for (const name of ["d", "e", "f"]) await step.run(name, () => journal.note(runId, name));
      return { done: true };
    }),

    define({ id: "crash-awake" }, events("sdk/crash-awake"), async ({ step, runId }) => {
      await step.run("before", () => journal.note(runId, "before"));
      await step.run("slow", async () => {
        journal.note(runId, "slow");
        await pause(1500);
      });
      await step.run("after", () => journal.note(runId, "after"));
      return { done: true };
    }),
  ];
}
