// inngest 3.x served by Hono. This version answers one step per request.

import { serve as listen } from "@hono/node-server";
import { Hono } from "hono";
import { Inngest, NonRetriableError, RetryAfterError, openai, referenceFunction } from "inngest";
import { serve } from "inngest/hono";
import { Journal, scenarios } from "../js/scenarios.mjs";

const client = new Inngest({ id: "sdk-js-v3" });
const journal = new Journal();
const define = (options, triggers, handler) => client.createFunction(options, triggers, handler);
const race = (branches) => branches();
const functions = scenarios({
  define,
  journal,
  race,
  openai,
  referenceFunction,
  NonRetriableError,
  RetryAfterError,
});

const app = new Hono();
app.on(["GET", "PUT", "POST"], "/api/inngest", serve({ client, functions }));
app.get("/log/:run", (context) => context.json(journal.of(context.req.param("run"))));
app.post("/send", async (context) => context.json(await client.send(await context.req.json())));
listen({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) });
