"""The functions of the FastAPI app that wait for something outside of them, or end because of it."""

import asyncio
import datetime
import functools
import typing

import inngest
import inngest.experimental.ai.openai

from journal import Journal


def waiting(client: inngest.Inngest, journal: Journal) -> list[inngest.Function[typing.Any]]:
    def on(name: str) -> inngest.TriggerEvent:
        return inngest.TriggerEvent(event=name)

    async def noted(run: str, name: str, value: typing.Any = None) -> typing.Any:
        journal.note(run, name)
        return value

    def seconds(ctx: inngest.Context) -> datetime.timedelta:
        return datetime.timedelta(seconds=typing.cast(int, ctx.event.data["seconds"]))

    @client.create_function(fn_id="wait", trigger=on("sdk/wait"))
    async def wait(ctx: inngest.Context) -> dict[str, typing.Any]:
        await ctx.step.run("before", noted, ctx.run_id, "before")
        same_id = "async.data.id == event.data.id"
        reply = await ctx.step.wait_for_event("reply", event="sdk/reply", if_exp=same_id, timeout=seconds(ctx))
        await ctx.step.run("after", noted, ctx.run_id, "after")
        return {"name": reply and reply.name, "n": reply and reply.data["n"]}

    @client.create_function(fn_id="invoked", retries=0, trigger=on("sdk/invoked"))
    async def invoked(ctx: inngest.Context) -> dict[str, typing.Any]:
        n = typing.cast(int, ctx.event.data["n"])
        doubled = await ctx.step.run("double", noted, ctx.run_id, "double", n * 2)
        return {"doubled": doubled, "name": ctx.event.name}

    @client.create_function(fn_id="invoked-refusing", retries=3, trigger=on("sdk/invoked-refusing"))
    async def invoked_refusing(ctx: inngest.Context) -> None:
        raise inngest.NonRetriableError("child refused")

    @client.create_function(fn_id="invoked-slow", trigger=on("sdk/invoked-slow"))
    async def invoked_slow(ctx: inngest.Context) -> None:
        await ctx.step.sleep("long", datetime.timedelta(seconds=5))

    @client.create_function(fn_id="invoke", trigger=on("sdk/invoke"))
    async def invoke(ctx: inngest.Context) -> dict[str, typing.Any]:
        await ctx.step.run("before", noted, ctx.run_id, "before")
        child = await ctx.step.invoke("child", function=invoked, data={"n": ctx.event.data["n"]})
        await ctx.step.run("after", noted, ctx.run_id, "after")
        return child

    def invoke_and_catch(
        fn_id: str, function_id: str, timeout: typing.Optional[datetime.timedelta] = None
    ) -> inngest.Function[typing.Any]:
        @client.create_function(fn_id=fn_id, retries=0, trigger=on(f"sdk/{fn_id}"))
        async def invoke_caught(ctx: inngest.Context) -> dict[str, str]:
            caught = ""
            try:
                await ctx.step.invoke_by_id("child", function_id=function_id, data={}, timeout=timeout)
            except inngest.StepError as error:
                caught = error.message
            await ctx.step.run("recover", noted, ctx.run_id, "recover")
            return {"caught": caught}

        return invoke_caught

    @client.create_function(fn_id="parallel-mixed", trigger=on("sdk/parallel-mixed"))
    async def parallel_mixed(ctx: inngest.Context) -> dict[str, typing.Any]:
        step, second = ctx.step, datetime.timedelta(seconds=1)
        ran, slept, waited, child = await ctx.group.parallel((
            functools.partial(step.run, "ran", noted, ctx.run_id, "ran", 1),
            functools.partial(step.sleep, "nap", second),
            functools.partial(step.wait_for_event, "wait", event="sdk/never", timeout=second),
            functools.partial(step.invoke, "child", function=invoked, data={"n": 5}),
        ))  # fmt: skip
        await step.run("after", noted, ctx.run_id, "after")
        return {"values": [ran, slept, waited, {"doubled": typing.cast(dict[str, int], child)["doubled"]}]}

    @client.create_function(fn_id="parallel-race", trigger=on("sdk/parallel-race"))
    async def parallel_race(ctx: inngest.Context) -> dict[str, typing.Any]:
        async def fast() -> str:
            await ctx.step.run("fast", noted, ctx.run_id, "fast")
            return await ctx.step.run("fast next", noted, ctx.run_id, "fast next", "fast next")

        async def slow() -> str:
            await asyncio.sleep(2)
            journal.note(ctx.run_id, "slow done")
            return "slow"

        branches = (fast, functools.partial(ctx.step.run, "slow", slow))
        return {"values": list(await ctx.group.parallel(branches, parallel_mode=inngest.ParallelMode.RACE))}

    @client.create_function(fn_id="ai-infer", retries=0, trigger=on("sdk/ai-infer"))
    async def ai_infer(ctx: inngest.Context) -> dict[str, typing.Any]:
        url = f"{ctx.event.data['url']}/v1"
        adapter = inngest.experimental.ai.openai.Adapter(auth_key="sk-test", base_url=url, model="gpt-4o-mini")
        body = {"messages": [{"role": "user", "content": "hello"}]}
        reply: typing.Any = await ctx.step.ai.infer("ask", adapter=adapter, body=body)
        await ctx.step.run("after", noted, ctx.run_id, "after")
        return {"model": reply["model"], "answer": reply["choices"][0]["message"]["content"]}

    cancel = inngest.Cancel(event="sdk/cancel", if_exp="async.data.id == event.data.id")

    @client.create_function(fn_id="cancellable", cancel=[cancel], trigger=on("sdk/cancellable"))
    async def cancellable(ctx: inngest.Context) -> None:
        await ctx.step.sleep("long", seconds(ctx))
        await ctx.step.run("after", noted, ctx.run_id, "after")

    timeouts = inngest.Timeouts(finish=datetime.timedelta(seconds=2))

    @client.create_function(fn_id="finish-timeout", timeouts=timeouts, trigger=on("sdk/finish-timeout"))
    async def finish_timeout(ctx: inngest.Context) -> None:
        await ctx.step.run("before", noted, ctx.run_id, "before")
        await ctx.step.sleep("long", datetime.timedelta(seconds=60))
        await ctx.step.run("after", noted, ctx.run_id, "after")

    @client.create_function(fn_id="cron", trigger=inngest.TriggerCron(cron="* * * * *"))
    async def cron(ctx: inngest.Context) -> None:
        journal.note("cron", f"tick {ctx.event.data['cron']}")

    return [
        wait, invoked, invoked_refusing, invoked_slow, invoke,
        invoke_and_catch("invoke-failed", "invoked-refusing"),
        invoke_and_catch("invoke-unknown", "nobody"),
        invoke_and_catch("invoke-timeout", "invoked-slow", datetime.timedelta(seconds=1)),
        parallel_mixed, parallel_race, ai_infer, cancellable, finish_timeout, cron,
    ]  # fmt: skip
