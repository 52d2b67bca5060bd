// The functions of the JavaScript apps. Both SDK generations serve the same ones: `define` hides that they take
// triggers in different places. Every function notes what it executes in the journal, so that the tests can tell
// a memoised step from one that ran twice.

import { controlled } from "./controlled.mjs";

const events = (...names) => names.map((event) => ({ event }));
const every = (cron) => [{ cron }];
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

/**
 * `race` lets the promise of a callback settle before all its steps have: JS v4 must be told, JS v3 always does so.
 */
export function scenarios({ define, journal, race, openai, referenceFunction, NonRetriableError, RetryAfterError }) {
  const onFailure = async ({ event, error }) => {
    journal.note(event.data.run_id, `onFailure: ${error.message}`);
  };

  const checkpointed = async ({ step, runId }) => {
    journal.note(runId, "call");
    const plain = (name) =>
      step.run(name, () => {
        journal.note(runId, name);
        return name;
      });
    const values = [await plain("a"), await plain("b")];
    await step.sleep("nap", "1s");
    values.push(await plain("c"));
    const flaky = () => {
      if (journal.note(runId, "flaky") === 1) throw new Error("flaky");
      return "flaky";
    };
    values.push(await step.run("flaky", flaky));
    values.push(await plain("d"));
    return { values };
  };

  const invoked = define({ id: "invoked", retries: 0 }, events("sdk/invoked"), async ({ event, step }) => {
    const doubled = await step.run("double", () => event.data.n * 2);
    return { doubled, name: event.name };
  });

  const invokedRefusing = define({ id: "invoked-refusing", retries: 3 }, events("sdk/invoked-refusing"), async () => {
    throw new NonRetriableError("child refused");
  });

  const invokedSlow = define({ id: "invoked-slow" }, events("sdk/invoked-slow"), async ({ step }) =>
    step.sleep("long", "5s"),
  );

  const invokeAndCatch = (id, options) =>
    define({ id, retries: 0 }, events(`sdk/${id}`), async ({ step, runId }) => {
      const caught = await step.invoke("child", options).then(
        () => null,
        (error) => error.message,
      );
      await step.run("recover", () => void journal.note(runId, "recover"));
      return { caught };
    });

  return [
    ...controlled({ define, journal }),

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

    define({ id: "parallel-mixed" }, events("sdk/parallel-mixed"), async ({ step, runId }) => {
      const ran = () => {
        journal.note(runId, "ran");
        return 1;
      };
      const [run, slept, waited, child] = await Promise.all([
        step.run("ran", ran),
        step.sleep("nap", "1s"),
        step.waitForEvent("wait", { event: "sdk/never", timeout: "1s" }),
        step.invoke("child", { function: invoked, data: { n: 5 } }),
      ]);
      await step.run("after", () => void journal.note(runId, "after"));
      return { values: [run, slept ?? null, waited, { doubled: child.doubled }] };
    }),

    define({ id: "parallel-race" }, events("sdk/parallel-race"), async ({ step, runId }) => {
      const noted = (name) =>
        step.run(name, () => {
          journal.note(runId, name);
          return name;
        });
      const slow = async () => {
        await pause(2000);
        journal.note(runId, "slow done");
        return "slow";
      };
      const branches = () => Promise.all([noted("fast").then(() => noted("fast next")), step.run("slow", slow)]);
      return { values: await race(branches) };
    }),

    define({ id: "promise-race" }, events("sdk/promise-race"), async ({ step, runId }) => {
      const fast = () => {
        journal.note(runId, "fast");
        return "fast";
      };
      const branches = () => Promise.race([step.run("fast", fast), step.sleep("slow", "30s").then(() => "slow")]);
      const winner = await race(branches);
      await step.run("after", () => void journal.note(runId, "after"));
      return { winner };
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

    define({ id: "checkpointed", retries: 2, checkpointing: true }, events("sdk/checkpointed"), checkpointed),

    define(
      { id: "checkpointed-batch", retries: 2, checkpointing: { bufferedSteps: 3, maxInterval: "2s" } },
      events("sdk/checkpointed-batch"),
      checkpointed,
    ),

    define({ id: "wait" }, events("sdk/wait"), async ({ event, step, runId }) => {
      await step.run("before", () => void journal.note(runId, "before"));
      const reply = await step.waitForEvent("reply", {
        event: "sdk/reply",
        timeout: `${event.data.seconds}s`,
        if: "async.data.id == event.data.id",
      });
      await step.run("after", () => void journal.note(runId, "after"));
      return { name: reply?.name ?? null, n: reply?.data.n ?? null };
    }),

    define({ id: "signal" }, events("sdk/signal"), async ({ event, step, runId }) => {
      await step.run("before", () => void journal.note(runId, "before"));
      const { signal, seconds } = event.data;
      const got = await step.waitForSignal("wait", { signal, timeout: `${seconds}s`, onConflict: "fail" });
      await step.run("after", () => void journal.note(runId, "after"));
      return { signal: got?.signal ?? null, data: got?.data ?? null };
    }),

    // Fails while nobody waits for the signal.
    define({ id: "signal-send", retries: 0 }, events("sdk/signal-send"), async ({ event, step }) => {
      await step.sendSignal("send", { signal: event.data.signal, data: { n: event.data.n } });
    }),

    invoked,
    invokedRefusing,
    invokedSlow,

    define({ id: "invoke" }, events("sdk/invoke"), async ({ event, step, runId }) => {
      await step.run("before", () => void journal.note(runId, "before"));
      const child = await step.invoke("child", { function: invoked, data: { n: event.data.n } });
      await step.run("after", () => void journal.note(runId, "after"));
      return child;
    }),

    invokeAndCatch("invoke-failed", { function: invokedRefusing, data: {} }),
    invokeAndCatch("invoke-unknown", { function: referenceFunction({ functionId: "nobody" }), data: {} }),
    invokeAndCatch("invoke-timeout", { function: invokedSlow, data: {}, timeout: "1s" }),

    define({ id: "fetch", retries: 0 }, events("sdk/fetch"), async ({ event, step, runId }) => {
      const headers = { "x-sdk-test": "yes", "content-type": "application/json" };
      const response = await step.fetch(event.data.url, { method: "PUT", headers, body: JSON.stringify({ n: 1 }) });
      await step.run("after", () => void journal.note(runId, "after"));
      return { status: response.status, echo: await response.json() };
    }),

    define({ id: "fetch-refused", retries: 0 }, events("sdk/fetch-refused"), async ({ event, step, runId }) => {
      let caught = false;
      try {
        await step.fetch(event.data.url);
      } catch {
        caught = true;
      }
      await step.run("recover", () => void journal.note(runId, "recover"));
      return { caught };
    }),

    define({ id: "ai-infer", retries: 0 }, events("sdk/ai-infer"), async ({ event, step, runId }) => {
      const reply = await step.ai.infer("ask", {
        model: openai({ model: "gpt-4o-mini", apiKey: "sk-test", baseUrl: `${event.data.url}/v1/` }),
        body: { messages: [{ role: "user", content: "hello" }] },
      });
      await step.run("after", () => void journal.note(runId, "after"));
      return { model: reply.model, answer: reply.choices[0].message.content };
    }),

    define(
      { id: "cancellable", cancelOn: [{ event: "sdk/cancel", match: "data.id" }] },
      events("sdk/cancellable"),
      async ({ event, step, runId }) => {
        await step.sleep("long", `${event.data.seconds}s`);
        await step.run("after", () => void journal.note(runId, "after"));
      },
    ),

    define(
      { id: "finish-timeout", timeouts: { finish: "2s" } },
      events("sdk/finish-timeout"),
      async ({ step, runId }) => {
        await step.run("before", () => void journal.note(runId, "before"));
        await step.sleep("long", "60s");
        await step.run("after", () => void journal.note(runId, "after"));
      },
    ),

    define({ id: "cron" }, every("* * * * *"), async ({ event }) => {
      journal.note("cron", `tick ${event.data.cron}`);
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
