"""The functions of the FastAPI app: the same ones as in `../js/scenarios.mjs`, in the asynchronous style."""

import asyncio
import datetime
import functools
import typing

import inngest

from journal import Journal


def scenarios(client: inngest.Inngest, journal: Journal) -> list[inngest.Function[typing.Any]]:
    def on(name: str) -> inngest.TriggerEvent:
        return inngest.TriggerEvent(event=name)

    async def noted(run: str, name: str, value: typing.Any = None) -> typing.Any:
        journal.note(run, name)
        return value

    async def on_failure(ctx: inngest.Context) -> None:
        error = typing.cast(dict[str, str], ctx.event.data["error"])
        journal.note(str(ctx.event.data["run_id"]), f"onFailure: {error['message']}")

    @client.create_function(fn_id="hello", trigger=on("sdk/hello"))
    async def hello(ctx: inngest.Context) -> dict[str, str]:
        journal.note(ctx.run_id, "body")
        return {"greeting": f"hello {ctx.event.data['name']}"}

    @client.create_function(fn_id="wildcard", trigger=[on("sdk/wild.*"), on("sdk/second")])
    async def wildcard(ctx: inngest.Context) -> dict[str, str]:
        return {"name": ctx.event.name}

    @client.create_function(fn_id="steps", trigger=on("sdk/steps"))
    async def steps(ctx: inngest.Context) -> dict[str, typing.Any]:
        run, n = ctx.run_id, typing.cast(int, ctx.event.data["n"])
        one = await ctx.step.run("one", noted, run, "one", n + 1)
        two = await ctx.step.run("two", noted, run, "two", {"doubled": one * 2})
        three = await ctx.step.run("three", noted, run, "three", [one, two["doubled"]])
        return {"one": one, "two": two, "three": three}

    @client.create_function(fn_id="parallel", trigger=on("sdk/parallel"))
    async def parallel(ctx: inngest.Context) -> dict[str, typing.Any]:
        def branch(name: str, value: int) -> typing.Callable[[], typing.Awaitable[int]]:
            return functools.partial(ctx.step.run, name, noted, ctx.run_id, name, value)

        values = await ctx.group.parallel((branch("left", 1), branch("middle", 2), branch("right", 3)))
        total = await ctx.step.run("join", noted, ctx.run_id, "join", sum(values))
        return {"values": list(values), "sum": total}

    @client.create_function(fn_id="sleep", trigger=on("sdk/sleep"))
    async def sleep(ctx: inngest.Context) -> dict[str, bool]:
        await ctx.step.run("before", noted, ctx.run_id, "before")
        await ctx.step.sleep("nap", datetime.timedelta(seconds=1))
        await ctx.step.run("after", noted, ctx.run_id, "after")
        return {"slept": True}

    @client.create_function(fn_id="retry", retries=3, trigger=on("sdk/retry"))
    async def retry(ctx: inngest.Context) -> dict[str, int]:
        async def flaky() -> int:
            times = journal.note(ctx.run_id, "flaky")
            if times < 3:
                raise RuntimeError(f"flaky {times}")
            return times

        await ctx.step.run("first", noted, ctx.run_id, "first")
        tries = await ctx.step.run("flaky", flaky)
        await ctx.step.run("last", noted, ctx.run_id, "last")
        return {"tries": tries}

    @client.create_function(fn_id="retry-after", retries=1, trigger=on("sdk/retry-after"))
    async def retry_after(ctx: inngest.Context) -> dict[str, int]:
        async def late() -> int:
            times = journal.note(ctx.run_id, "late")
            if times == 1:
                raise inngest.RetryAfterError("not yet", datetime.timedelta(seconds=3))
            return times

        return {"tries": await ctx.step.run("late", late)}

    @client.create_function(fn_id="step-error", retries=1, trigger=on("sdk/step-error"))
    async def step_error(ctx: inngest.Context) -> dict[str, str]:
        async def refused() -> None:
            journal.note(ctx.run_id, "refused")
            raise ValueError("card refused")

        caught = ""
        try:
            await ctx.step.run("refused", refused)
        except inngest.StepError as error:
            caught = error.message
        await ctx.step.run("recover", noted, ctx.run_id, "recover")
        return {"caught": caught}

    @client.create_function(fn_id="failure", retries=3, on_failure=on_failure, trigger=on("sdk/failure"))
    async def failure(ctx: inngest.Context) -> None:
        await ctx.step.run("before", noted, ctx.run_id, "before")
        journal.note(ctx.run_id, "body")
        raise inngest.NonRetriableError("cannot go on")

    @client.create_function(fn_id="exhausted", retries=1, on_failure=on_failure, trigger=on("sdk/exhausted"))
    async def exhausted(ctx: inngest.Context) -> None:
        async def hopeless() -> None:
            journal.note(ctx.run_id, "hopeless")
            raise ValueError("never works")

        await ctx.step.run("hopeless", hopeless)

    @client.create_function(fn_id="function-error", retries=2, trigger=on("sdk/function-error"))
    async def function_error(ctx: inngest.Context) -> dict[str, int]:
        await ctx.step.run("before", noted, ctx.run_id, "before")
        if journal.note(ctx.run_id, "body") == 1:
            raise RuntimeError("first call fails")
        return {"attempt": ctx.attempt}

    @client.create_function(fn_id="error-cause", retries=0, trigger=on("sdk/error-cause"))
    async def error_cause(ctx: inngest.Context) -> None:
        raise ValueError("outer") from TypeError("inner")

    @client.create_function(fn_id="fan-out", trigger=on("sdk/fan-out"))
    async def fan_out(ctx: inngest.Context) -> dict[str, list[str]]:
        children = [inngest.Event(name="sdk/fan-out.child", data={"n": n}) for n in (1, 2, 3)]
        return {"ids": await ctx.step.send_event("send", children)}

    @client.create_function(fn_id="fan-out-child", trigger=on("sdk/fan-out.child"))
    async def fan_out_child(ctx: inngest.Context) -> int:
        n = typing.cast(int, ctx.event.data["n"])
        return await ctx.step.run("multiply", noted, ctx.run_id, "multiply", n * 10)

    @client.create_function(fn_id="big-output", trigger=on("sdk/big-output"))
    async def big_output(ctx: inngest.Context) -> dict[str, typing.Any]:
        size = typing.cast(int, ctx.event.data["size"])
        text = await ctx.step.run("make", noted, ctx.run_id, "make", "é" * (size // 2))
        bytes_ = await ctx.step.run("measure", noted, ctx.run_id, "measure", len(text.encode()))
        return {"bytes": bytes_, "text": text}

    @client.create_function(fn_id="crash-asleep", trigger=on("sdk/crash-asleep"))
    async def crash_asleep(ctx: inngest.Context) -> dict[str, bool]:
        for name in ("a", "b", "c"):
            await ctx.step.run(name, noted, ctx.run_id, name)
        await ctx.step.sleep("over the crash", datetime.timedelta(seconds=3))
        for name in ("d", "e", "f"):
            await ctx.step.run(name, noted, ctx.run_id, name)
        return {"done": True}

    @client.create_function(fn_id="crash-awake", trigger=on("sdk/crash-awake"))
    async def crash_awake(ctx: inngest.Context) -> dict[str, bool]:
        async def slow() -> None:
            journal.note(ctx.run_id, "slow")
            await asyncio.sleep(1.5)

        await ctx.step.run("before", noted, ctx.run_id, "before")
        await ctx.step.run("slow", slow)
        await ctx.step.run("after", noted, ctx.run_id, "after")
        return {"done": True}

    return [
        hello, wildcard, steps, parallel, sleep, retry, retry_after, step_error, failure, exhausted, function_error,
        error_cause, fan_out, fan_out_child, big_output, crash_asleep, crash_awake,
    ]  # fmt: skip
