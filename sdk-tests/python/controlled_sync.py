"""Functions under flow control: each does the same, and has one option."""

import datetime
import time
import typing

import inngest

from journal import Journal

KEY = "event.data.u"
SECOND = datetime.timedelta(seconds=1)


def controlled(client: inngest.Inngest, journal: Journal) -> list[inngest.Function[typing.Any]]:
    def on(fn_id: str, **options: typing.Any) -> inngest.Function[typing.Any]:
        @client.create_function(fn_id=fn_id, trigger=inngest.TriggerEvent(event=f"sdk/{fn_id}"), **options)
        def work(ctx: inngest.ContextSync) -> dict[str, int]:
            journal.note(ctx.run_id, "begin")
            time.sleep(0.3)
            journal.note(ctx.run_id, "end")
            return {"count": len(ctx.events)}

        return work

    limit = inngest.Concurrency
    return [
        on("limit-number", concurrency=[limit(limit=2)]),
        on("limit-key", concurrency=[limit(limit=1, key=KEY)]),
        on("limit-both", concurrency=[limit(limit=3), limit(limit=1, key=KEY)]),
        on("throttled", throttle=inngest.Throttle(limit=1, period=SECOND)),
        on("rate-limited", rate_limit=inngest.RateLimit(limit=1, period=60 * SECOND, key=KEY)),
        on("debounced", debounce=inngest.Debounce(period=SECOND, key=KEY)),
        on("batched", batch_events=inngest.Batch(max_size=3, timeout=2 * SECOND, key=KEY)),
        on(
            "urgent",
            concurrency=[limit(limit=1)],
            priority=inngest.Priority(run="event.data.u == 'gold' ? 120 : 0"),
        ),
        on("single-skip", singleton=inngest.Singleton(mode="skip", key=KEY)),
        on("single-cancel", singleton=inngest.Singleton(mode="cancel", key=KEY)),
        on("idempotent", idempotency=KEY),
    ]
