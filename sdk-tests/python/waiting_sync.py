"""The functions of the Flask app that wait for something outside of them, or end because of it."""

import datetime
import functools
import time
import typing

import inngest
import inngest.experimental.ai.openai

from journal import Journal


def waiting(client: inngest.Inngest, journal: Journal) -> list[inngest.Function[typing.Any]]:
    def on(name: str) -> inngest.TriggerEvent:
        return inngest.TriggerEvent(event=name)

    def noted(run: str, name: str, value: typing.Any = None) -> typing.Any:
        journal.note(run, name)
        return value

    def seconds(ctx: inngest.ContextSync) -> datetime.timedelta:
        return datetime.timedelta(seconds=typing.cast(int, ctx.event.data["seconds"]))

    @client.create_function(fn_id="wait", trigger=on("sdk/wait"))
    def wait(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        ctx.step.run("before", noted, ctx.run_id, "before")
        same_id = "async.data.id == event.data.id"
        reply = ctx.step.wait_for_event("reply", event="sdk/reply", if_exp=same_id, timeout=seconds(ctx))
        ctx.step.run("after", noted, ctx.run_id, "after")
        return {"name": reply and reply.name, "n": reply and reply.data["n"]}

    @client.create_function(fn_id="invoked", retries=0, trigger=on("sdk/invoked"))
    def invoked(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        n = typing.cast(int, ctx.event.data["n"])
        doubled = ctx.step.run("double", noted, ctx.run_id, "double", n * 2)
        return {"doubled": doubled, "name": ctx.event.name}

    @client.create_function(fn_id="invoked-refusing", retries=3, trigger=on("sdk/invoked-refusing"))
    def invoked_refusing(ctx: inngest.ContextSync) -> None:
        raise inngest.NonRetriableError("child refused")

    @client.create_function(fn_id="invoked-slow", trigger=on("sdk/invoked-slow"))
    def invoked_slow(ctx: inngest.ContextSync) -> None:
        ctx.step.sleep("long", datetime.timedelta(seconds=5))

    @client.create_function(fn_id="invoke", trigger=on("sdk/invoke"))
    def invoke(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        ctx.step.run("before", noted, ctx.run_id, "before")
        child = ctx.step.invoke("child", function=invoked, data={"n": ctx.event.data["n"]})
        ctx.step.run("after", noted, ctx.run_id, "after")
        return child

    def invoke_and_catch(
        fn_id: str, function_id: str, timeout: typing.Optional[datetime.timedelta] = None
    ) -> inngest.Function[typing.Any]:
        @client.create_function(fn_id=fn_id, retries=0, trigger=on(f"sdk/{fn_id}"))
        def invoke_caught(ctx: inngest.ContextSync) -> dict[str, str]:
            caught = ""
            try:
                ctx.step.invoke_by_id("child", function_id=function_id, data={}, timeout=timeout)
            except inngest.StepError as error:
                caught = error.message
            ctx.step.run("recover", noted, ctx.run_id, "recover")
            return {"caught": caught}

        return invoke_caught

    @client.create_function(fn_id="parallel-mixed", trigger=on("sdk/parallel-mixed"))
    def parallel_mixed(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        step, second = ctx.step, datetime.timedelta(seconds=1)
        ran, slept, waited, child = ctx.group.parallel((
            functools.partial(step.run, "ran", noted, ctx.run_id, "ran", 1),
            functools.partial(step.sleep, "nap", second),
            functools.partial(step.wait_for_event, "wait", event="sdk/never", timeout=second),
            functools.partial(step.invoke, "child", function=invoked, data={"n": 5}),
        ))  # fmt: skip
        step.run("after", noted, ctx.run_id, "after")
        return {"values": [ran, slept, waited, {"doubled": typing.cast(dict[str, int], child)["doubled"]}]}

    @client.create_function(fn_id="parallel-race", trigger=on("sdk/parallel-race"))
    def parallel_race(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        def fast() -> str:
            ctx.step.run("fast", noted, ctx.run_id, "fast")
            return ctx.step.run("fast next", noted, ctx.run_id, "fast next", "fast next")

        def slow() -> str:
            time.sleep(2)
            journal.note(ctx.run_id, "slow done")
            return "slow"

        branches = (fast, functools.partial(ctx.step.run, "slow", slow))
        return {"values": list(ctx.group.parallel(branches, parallel_mode=inngest.ParallelMode.RACE))}

    @client.create_function(fn_id="ai-infer", retries=0, trigger=on("sdk/ai-infer"))
    def ai_infer(ctx: inngest.ContextSync) -> dict[str, typing.Any]:
        url = f"{ctx.event.data['url']}/v1"
        adapter = inngest.experimental.ai.openai.Adapter(auth_key="sk-test", base_url=url, model="gpt-4o-mini")
        body = {"messages": [{"role": "user", "content": "hello"}]}
        reply: typing.Any = ctx.step.ai.infer("ask", adapter=adapter, body=body)
        ctx.step.run("after", noted, ctx.run_id, "after")
        return {"model": reply["model"], "answer": reply["choices"][0]["message"]["content"]}

    cancel = inngest.Cancel(event="sdk/cancel", if_exp="async.data.id == event.data.id")

    @client.create_function(fn_id="cancellable", cancel=[cancel], trigger=on("sdk/cancellable"))
    def cancellable(ctx: inngest.ContextSync) -> None:
        ctx.step.sleep("long", seconds(ctx))
        ctx.step.run("after", noted, ctx.run_id, "after")

    timeouts = inngest.Timeouts(finish=datetime.timedelta(seconds=2))

    @client.create_function(fn_id="finish-timeout", timeouts=timeouts, trigger=on("sdk/finish-timeout"))
    def finish_timeout(ctx: inngest.ContextSync) -> None:
        ctx.step.run("before", noted, ctx.run_id, "before")
        ctx.step.sleep("long", datetime.timedelta(seconds=60))
        ctx.step.run("after", noted, ctx.run_id, "after")

    @client.create_function(fn_id="cron", trigger=inngest.TriggerCron(cron="* * * * *"))
    def cron(ctx: inngest.ContextSync) -> None:
        journal.note("cron", f"tick {ctx.event.data['cron']}")

    return [
        wait, invoked, invoked_refusing, invoked_slow, invoke,
        invoke_and_catch("invoke-failed", "invoked-refusing"),
        invoke_and_catch("invoke-unknown", "nobody"),
        invoke_and_catch("invoke-timeout", "invoked-slow", datetime.timedelta(seconds=1)),
        parallel_mixed, parallel_race, ai_infer, cancellable, finish_timeout, cron,
    ]  # fmt: skip
