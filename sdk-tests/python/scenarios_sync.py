"""The functions of the Flask app: the same ones as in `../js/scenarios.mjs`, in the synchronous style."""

import datetime
import functools
import time
import typing

import inngest

from journal import Journal


def scenarios(client: inngest.Inngest, journal: Journal) -> list[inngest.Function[typing.Any]]:
    def on(name: str) -> inngest.TriggerEvent:
        return inngest.TriggerEvent(event=name)

    def noted(run: str, name: str, value: typing.Any = None) -> typing.Any:
        journal.note(run, name)
        return value

    def on_failure(ctx: inngest.ContextSync) -> None:
        error = typing.cast(dict[str, str], ctx.event.data["error"])
        journal.note(str(ctx.event.data["run_id"]), f"onFailure: {error['message']}")

    @client.create_function(fn_id="hello", trigger=on("sdk/hello"))
    def hello(ctx: inngest.ContextSync) -> dict[str, str]:
        journal.note(ctx.run_id, "body")
        return {"greeting": f"hello {ctx.event.data['name']}"}

    @client.create_function(fn_id="wildcard", trigger=[on("sdk/wild.*"), on("sdk/second")])
    def wildcard(ctx: inngest.ContextSync) -> dict[str, str]:
        return {"name": ctx.event.name}

    @client.create_function(fn_id="steps", trigger=on("sdk/steps"))
    def steps(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        run, n = ctx.run_id, typing.cast(int, ctx.event.data["n"])
        one = ctx.step.run("one", noted, run, "one", n + 1)
        two = ctx.step.run("two", noted, run, "two", {"doubled": one * 2})
        three = ctx.step.run("three", noted, run, "three", [one, two["doubled"]])
        return {"one": one, "two": two, "three": three}

    @client.create_function(fn_id="parallel", trigger=on("sdk/parallel"))
    def parallel(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        def branch(name: str, value: int) -> typing.Callable[[], int]:
            return functools.partial(ctx.step.run, name, noted, ctx.run_id, name, value)

        values = ctx.group.parallel((branch("left", 1), branch("middle", 2), branch("right", 3)))
        total = ctx.step.run("join", noted, ctx.run_id, "join", sum(values))
        return {"values": list(values), "sum": total}

    @client.create_function(fn_id="sleep", trigger=on("sdk/sleep"))
    def sleep(ctx: inngest.ContextSync) -> dict[str, bool]:
        ctx.step.run("before", noted, ctx.run_id, "before")
        ctx.step.sleep("nap", datetime.timedelta(seconds=1))
        ctx.step.run("after", noted, ctx.run_id, "after")
        return {"slept": True}

    @client.create_function(fn_id="retry", retries=3, trigger=on("sdk/retry"))
    def retry(ctx: inngest.ContextSync) -> dict[str, int]:
        def flaky() -> int:
            times = journal.note(ctx.run_id, "flaky")
            if times < 3:
                raise RuntimeError(f"flaky {times}")
            return times

        ctx.step.run("first", noted, ctx.run_id, "first")
        tries = ctx.step.run("flaky", flaky)
        ctx.step.run("last", noted, ctx.run_id, "last")
        return {"tries": tries}

    @client.create_function(fn_id="retry-after", retries=1, trigger=on("sdk/retry-after"))
    def retry_after(ctx: inngest.ContextSync) -> dict[str, int]:
        def late() -> int:
            times = journal.note(ctx.run_id, "late")
            if times == 1:
                raise inngest.RetryAfterError("not yet", datetime.timedelta(seconds=3))
            return times

        return {"tries": ctx.step.run("late", late)}

    @client.create_function(fn_id="step-error", retries=1, trigger=on("sdk/step-error"))
    def step_error(ctx: inngest.ContextSync) -> dict[str, str]:
        def refused() -> None:
            journal.note(ctx.run_id, "refused")
            raise ValueError("card refused")

        caught = ""
        try:
            ctx.step.run("refused", refused)
        except inngest.StepError as error:
            caught = error.message
        ctx.step.run("recover", noted, ctx.run_id, "recover")
        return {"caught": caught}

    @client.create_function(fn_id="failure", retries=3, on_failure=on_failure, trigger=on("sdk/failure"))
    def failure(ctx: inngest.ContextSync) -> None:
        ctx.step.run("before", noted, ctx.run_id, "before")
        journal.note(ctx.run_id, "body")
        raise inngest.NonRetriableError("cannot go on")

    @client.create_function(fn_id="exhausted", retries=1, on_failure=on_failure, trigger=on("sdk/exhausted"))
    def exhausted(ctx: inngest.ContextSync) -> None:
        def hopeless() -> None:
            journal.note(ctx.run_id, "hopeless")
            raise ValueError("never works")

        ctx.step.run("hopeless", hopeless)

    @client.create_function(fn_id="function-error", retries=2, trigger=on("sdk/function-error"))
    def function_error(ctx: inngest.ContextSync) -> dict[str, int]:
        ctx.step.run("before", noted, ctx.run_id, "before")
        if journal.note(ctx.run_id, "body") == 1:
            raise RuntimeError("first call fails")
        return {"attempt": ctx.attempt}

    @client.create_function(fn_id="error-cause", retries=0, trigger=on("sdk/error-cause"))
    def error_cause(ctx: inngest.ContextSync) -> None:
        raise ValueError("outer") from TypeError("inner")

    @client.create_function(fn_id="fan-out", trigger=on("sdk/fan-out"))
    def fan_out(ctx: inngest.ContextSync) -> dict[str, list[str]]:
        children = [inngest.Event(name="sdk/fan-out.child", data={"n": n}) for n in (1, 2, 3)]
        return {"ids": ctx.step.send_event("send", children)}

    @client.create_function(fn_id="fan-out-child", trigger=on("sdk/fan-out.child"))
    def fan_out_child(ctx: inngest.ContextSync) -> int:
        n = typing.cast(int, ctx.event.data["n"])
        return ctx.step.run("multiply", noted, ctx.run_id, "multiply", n * 10)

    @client.create_function(fn_id="big-output", trigger=on("sdk/big-output"))
    def big_output(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        size = typing.cast(int, ctx.event.data["size"])
        text = ctx.step.run("make", noted, ctx.run_id, "make", "é" * (size // 2))
        bytes_ = ctx.step.run("measure", noted, ctx.run_id, "measure", len(text.encode()))
        return {"bytes": bytes_, "text": text}

    @client.create_function(fn_id="crash-asleep", trigger=on("sdk/crash-asleep"))
    def crash_asleep(ctx: inngest.ContextSync) -> dict[str, bool]:
        for name in ("a", "b", "c"):
            ctx.step.run(name, noted, ctx.run_id, name)
        ctx.step.sleep("over the crash", datetime.timedelta(seconds=3))
        for name in ("d", "e", "f"):
            ctx.step.run(name, noted, ctx.run_id, name)
        return {"done": True}

    @client.create_function(fn_id="crash-awake", trigger=on("sdk/crash-awake"))
    def crash_awake(ctx: inngest.ContextSync) -> dict[str, bool]:
        def slow() -> None:
            journal.note(ctx.run_id, "slow")
            time.sleep(1.5)

        ctx.step.run("before", noted, ctx.run_id, "before")
        ctx.step.run("slow", slow)
        ctx.step.run("after", noted, ctx.run_id, "after")
        return {"done": True}

    return [
        hello, wildcard, steps, parallel, sleep, retry, retry_after, step_error, failure, exhausted, function_error,
        error_cause, fan_out, fan_out_child, big_output, crash_asleep, crash_awake,
    ]  # fmt: skip
