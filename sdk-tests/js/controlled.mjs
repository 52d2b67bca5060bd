// Functions under flow control: each does the same, and has one option, written as the documentation of the SDK writes it.

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const key = "event.data.u";

const options = {
  "limit-number": { concurrency: 2 },
  "limit-key": { concurrency: { limit: 1, key } },
  "limit-both": { concurrency: [{ limit: 3 }, { limit: 1, key }] },
  throttled: { throttle: { limit: 1, period: "1s", burst: 1 } },
  "rate-limited": { rateLimit: { limit: 1, period: "1m", key } },
  debounced: { debounce: { period: "1s", key } },
  batched: { batchEvents: { maxSize: 3, timeout: "2s", key } },
  urgent: { concurrency: 1, priority: { run: "event.data.u == 'gold' ? 120 : 0" } },
  "single-skip": { singleton: { mode: "skip", key } },
  "single-cancel": { singleton: { mode: "cancel", key } },
  idempotent: { idempotency: key },
};

export function controlled({ define, journal }) {
  const work = async ({ events, runId }) => {
    journal.note(runId, "begin");
    await pause(300);
    journal.note(runId, "end");
    return { count: events.length };
  };
  return Object.entries(options).map(([id, option]) => define({ id, ...option }, [{ event: `sdk/${id}` }], work));
}
