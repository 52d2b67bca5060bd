// inngest 4.x served by Express. Checkpointing is on, as it is by default in this version.

import express from "express";
import { Inngest, NonRetriableError, RetryAfterError, group, openai, referenceFunction } from "inngest";
import { serve } from "inngest/express";
import { Journal, scenarios } from "../js/scenarios.mjs";

const client = new Inngest({ id: "sdk-js-v4" });
const journal = new Journal();
const define = (options, triggers, handler) => client.createFunction({ ...options, triggers }, handler);
const race = (branches) => group.parallel({ mode: "race" }, branches);
const functions = scenarios({
  define,
  journal,
  race,
  openai,
  referenceFunction,
  NonRetriableError,
  RetryAfterError,
});

const app = express();
app.use(express.json({ limit: "10mb" }));
app.use("/api/inngest", serve({ client, functions }));
app.get("/log/:run", (request, response) => response.json(journal.of(request.params.run)));
app.post("/send", async (request, response) => response.json(await client.send(request.body)));
app.listen(Number(process.env.PORT), "127.0.0.1");
