/** Cases C to G: submit, status, status stream, result, cancel. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ValidationError } from "@fal-ai/client";
import { type Case, notApplicable } from "../case.ts";
import { STUB } from "../context.ts";
import { check, detail, fails, matches, same, status } from "../expect.ts";
import type { Json } from "../http.ts";

const LATER = "a model here is an engine behind a protocol of its own: it has no HTTP answers";

export const cases: Case[] = [
  {
    number: 20,
    title: "submit: 200 with the ids, the three URLs, IN_QUEUE and a position",
    async run(ctx) {
      const body = await ctx.submit();
      matches(body.request_id, /^[0-9a-f-]{36}$/, "request_id");
      for (const name of ["response_url", "status_url", "cancel_url"])
        matches(body[name], /^https?:\/\//, name);
      same(body.status, "IN_QUEUE", "status");
      check(
        Number.isInteger(body.queue_position) && body.queue_position >= 0,
        `queue_position is ${body.queue_position}`,
      );
    },
  },
  {
    number: 21,
    title: "the three URLs are absolute, reachable and in the short form",
    async run(ctx) {
      const body = await ctx.submit();
      for (const name of ["response_url", "status_url", "cancel_url"])
        matches(new URL(body[name]).pathname, new RegExp(`/${STUB}/requests/${body.request_id}`), name);
      await ctx.ended(body.request_id);
      status(await ctx.call(body.status_url), 200, "status_url");
      status(await ctx.call(body.response_url), 200, "response_url");
      status(await ctx.call(body.cancel_url, { method: "PUT" }), 400, "cancel_url");
    },
  },
  {
    number: 22,
    title: "the handle of PY submit uses those URLs",
    needs: ["tls"],
    async run(ctx) {
      const said = await ctx.python("basics");
      matches(said.status_url, /^https:\/\/queue\.fal\.run\/tempera\/stub\/requests\//, "status_url");
      same(said.submit.echo, "one", "what the handle got");
    },
  },
  {
    number: 23,
    title: "JS submit without options",
    async run(ctx) {
      const { request_id } = await ctx.fal().queue.submit(STUB, { input: {} });
      same((await ctx.ended(request_id)).status, "COMPLETED", "its end");
    },
  },
  {
    number: 24,
    title: "low waits behind a later normal",
    alone: true,
    async run(ctx) {
      let low: Json;
      let normal: Json;
      {
        await using _ = await ctx.fullQueue();
        low = await ctx.submit({}, { headers: { "x-fal-queue-priority": "low" } });
        normal = await ctx.submit({});
        const position = async (id: string) => (await ctx.call(ctx.at(id, "/status"))).json().queue_position;
        check(
          (await position(normal.request_id)) < (await position(low.request_id)),
          "the low one stands before the normal one",
        );
      }
      await Promise.all([ctx.ended(low.request_id), ctx.ended(normal.request_id)]);
    },
  },
  {
    number: 25,
    title: "an unknown priority is ignored",
    run: async (ctx) =>
      same(
        (
          await ctx.ended(
            (
              await ctx.submit({}, { headers: { "x-fal-queue-priority": "urgent" } })
            ).request_id,
          )
        ).status,
        "COMPLETED",
        "its end",
      ),
  },
  {
    number: 26,
    title: "fal_max_queue_length=0 with a waiting queue: 429",
    alone: true,
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const waiting = await ctx.submit({});
      const refused = await ctx.call(`/queue/${STUB}?fal_max_queue_length=0`, { method: "POST", body: {} });
      detail(status(refused, 429, "a submit to a longer queue"), "429");
      await ctx.call(ctx.at(waiting.request_id, "/cancel"), { method: "PUT" });
    },
  },
  {
    number: 27,
    title: "X-Fal-Request-Timeout: 30.0 and 30 parse, garbage is never a 500",
    async run(ctx) {
      for (const value of ["30.0", "30", "soon", "-1", "1e9", ""]) {
        const answer = await ctx.call(`/queue/${STUB}`, {
          method: "POST",
          body: {},
          headers: { "x-fal-request-timeout": value },
        });
        status(answer, value.startsWith("30") ? 200 : [200, 400], `timeout ${value}`);
      }
    },
  },
  {
    number: 28,
    title: "start timeout: COMPLETED with its error_type, result 504 caused by the user",
    alone: true,
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const { request_id: id } = await ctx.submit({}, { headers: { "x-fal-request-timeout": "1" } });
      const last = await ctx.ended(id);
      same(last.status, "COMPLETED", "status");
      check(
        ["startup_timeout", "request_timeout"].includes(last.error_type),
        `error_type is ${last.error_type}`,
      );
      const result = status(await ctx.call(ctx.at(id)), 504, "result");
      same(result.header("x-fal-request-timeout-type"), "user", "X-Fal-Request-Timeout-Type");
    },
  },
  {
    number: 29,
    title: "JS does not retry that result",
    alone: true,
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const { request_id: id } = await ctx.submit({}, { headers: { "x-fal-request-timeout": "1" } });
      await ctx.ended(id);
      const { startForwarder } = await import("../forwarder.ts");
      const between = await startForwarder(ctx.url);
      try {
        const error = await fails(ctx.fal(between.url).queue.result(STUB, { requestId: id }), "the result");
        same([error.status, between.seen.length], [504, 1], "status and attempts");
      } finally {
        await between.close();
      }
    },
  },
  {
    number: 30,
    title: "X-Fal-Request-Start-Timeout overrides the older header",
    alone: true,
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const headers = { "x-fal-request-start-timeout": "1", "x-fal-request-timeout": "600" };
      same((await ctx.call(ctx.at((await ended(ctx, headers)).request_id))).status, 504, "the result");
    },
  },
  {
    number: 31,
    title: "the start timeout does not stop a running request",
    async run(ctx) {
      const { request_id: id } = await ctx.submit(
        // A busy server may take seconds to start it.
        { delay_ms: 12_000 },
        { headers: { "x-fal-request-timeout": "10" } },
      );
      await ctx.ended(id);
      status(await ctx.call(ctx.at(id)), 200, "the result");
    },
  },
  {
    number: 32,
    title: "X-Fal-No-Retry: one attempt only",
    alone: true,
    async run(ctx) {
      const { request_id: id } = await ctx.submit(
        { fail: "crash", fail_attempts: 1, prompt: randomUUID() },
        { headers: { "x-fal-no-retry": "true" } },
      );
      await ctx.ended(id);
      status(await ctx.call(ctx.at(id)), 503, "the result");
    },
  },
  {
    number: 33,
    title: "X-Fal-Retry-Config limits the named condition; malformed JSON is ignored",
    alone: true,
    async run(ctx) {
      const limited = await ctx.submit(
        { fail: "crash", fail_attempts: 1, prompt: randomUUID() },
        { headers: { "x-fal-retry-config": '{"connection_error":{"retries":0}}' } },
      );
      await ctx.ended(limited.request_id);
      status(await ctx.call(ctx.at(limited.request_id)), 503, "connection_error limited to no retries");
      for (const config of ["{", '{"timeout":{"retries":0}}']) {
        const { request_id: id } = await ctx.submit(
          { fail: "crash", fail_attempts: 1 },
          { headers: { "x-fal-retry-config": config } },
        );
        await ctx.ended(id);
        same(
          status(await ctx.call(ctx.at(id)), 200, config).json().attempt,
          2,
          `the attempt that worked, with ${config}`,
        );
      }
    },
  },
  {
    number: 34,
    title: "an invalid input is refused at submit with the 422 of its result (our one difference)",
    async run(ctx) {
      const refused = status(
        await ctx.call(`/queue/${STUB}`, { method: "POST", body: { steps: -1 } }),
        422,
        "submit",
      );
      same(detail(refused, "422")[0].loc, ["body", "steps"], "loc");
    },
  },
  {
    number: 35,
    title: "a body that is not JSON: 4xx with detail",
    async run(ctx) {
      for (const body of ["not json", "[1", '"text"', "\u0000"]) {
        const answer = await ctx.call(`/queue/${STUB}`, {
          method: "POST",
          body,
          headers: { "content-type": "application/json" },
        });
        check(answer.status >= 400 && answer.status < 500, `${JSON.stringify(body)}: ${answer.status}`);
        detail(answer, JSON.stringify(body));
      }
    },
  },
  {
    number: 36,
    title: "bodies of 10 MB are accepted",
    async run(ctx) {
      const payload = `data:text/plain;base64,${"A".repeat(10_500_000)}`;
      const { request_id: id } = await ctx.submit({ payload });
      await ctx.ended(id);
      same((await ctx.call(ctx.at(id))).json().echo.length, payload.length, "the length that came back");
    },
  },
  notApplicable(37, "X-Foo reaches the app", LATER),
  {
    number: 38,
    title: "IN_QUEUE: 202 with an integer position",
    alone: true,
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const { request_id: id } = await ctx.submit();
      const answer = status(await ctx.call(ctx.at(id, "/status")), 202, "status");
      same(answer.json().status, "IN_QUEUE", "status");
      check(Number.isInteger(answer.json().queue_position), "queue_position is no integer");
      await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" });
    },
  },
  {
    number: 39,
    title: "IN_PROGRESS: 202 with the key logs",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 20_000 });
      await ctx.running(id);
      const body = status(await ctx.call(ctx.at(id, "/status")), 202, "status").json();
      await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" });
      same([body.status, "logs" in body], ["IN_PROGRESS", true], "status, and whether it has logs");
    },
  },
  {
    number: 40,
    title: "COMPLETED: 200 with logs and metrics.inference_time",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      const body = status(await ctx.call(ctx.at(id, "/status")), 200, "status").json();
      same(
        [body.status, "logs" in body, typeof body.metrics.inference_time],
        ["COMPLETED", true, "number"],
        "the body",
      );
    },
  },
  {
    number: 41,
    title: "logs is null by default, a list with 1 and true",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ unknown: 1 });
      await ctx.ended(id);
      same((await ctx.call(ctx.at(id, "/status"))).json().logs, null, "logs when not asked for");
      for (const value of ["1", "true"])
        check(
          Array.isArray((await ctx.call(ctx.at(id, `/status?logs=${value}`))).json().logs),
          `logs=${value} gives no list`,
        );
    },
  },
  {
    number: 42,
    title: "logs=0 and logs=false give none",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ unknown: 1 });
      await ctx.ended(id);
      for (const value of ["0", "false"])
        check(
          !((await ctx.call(ctx.at(id, `/status?logs=${value}`))).json().logs?.length > 0),
          `logs=${value} gives lines`,
        );
    },
  },
  {
    number: 43,
    title: "log entries have timestamp, message, level, source and labels",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ unknown: 1 });
      await ctx.ended(id);
      const [line] = (await ctx.call(ctx.at(id, "/status?logs=1"))).json().logs;
      for (const name of ["timestamp", "message", "level", "source"])
        check(typeof line?.[name] === "string", `a log line has no ${name}`);
      same(line.labels, { level: line.level, source: line.source }, "the labels");
    },
  },
  {
    number: 44,
    title: "PY iter_events(with_logs=True): in order, without an exception",
    needs: ["tls"],
    async run(ctx) {
      const { seen, output } = await ctx.python("events");
      const order = [...new Set(seen)];
      check(
        order.join() === "Queued,InProgress,Completed" || order.join() === "InProgress,Completed",
        `it saw ${order}`,
      );
      same(output.attempt, 1, "the attempt");
    },
  },
  {
    number: 45,
    title: "JS subscribe({logs: true}) reports logs",
    async run(ctx) {
      const lines: string[] = [];
      await ctx.fal().subscribe(STUB, {
        input: { delay_ms: 300, unknown: 1 } as never,
        logs: true,
        pollInterval: 50,
        onQueueUpdate: (update) =>
          "logs" in update && lines.push(...(update.logs ?? []).map(({ message }) => message)),
      });
      check(
        lines.some((line) => line.includes("unknown")),
        "no log line was reported",
      );
    },
  },
  {
    number: 46,
    title: "a failed request: COMPLETED, 200, error and error_type; PY Completed.error",
    needs: ["tls"],
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ fail: "error" });
      await ctx.ended(id);
      const body = status(await ctx.call(ctx.at(id, "/status")), 200, "status").json();
      same(
        [body.status, typeof body.error, body.error_type],
        ["COMPLETED", "string", "runner_server_error"],
        "the status",
      );
      const said = await ctx.python("failed");
      check(said.error, "PY Completed.error is empty");
      same(said.error_type, "runner_server_error", "PY error_type");
    },
  },
  {
    number: 47,
    title: "no other status than the three, however a request ends",
    alone: true,
    async run(ctx) {
      const ends = [
        {},
        { fail: "error" },
        { fail: "invalid" },
        { fail: "crash", fail_attempts: 1 },
        { delay_ms: 60_000 },
      ];
      for (const [i, input] of ends.entries()) {
        const { request_id: id } = await ctx.submit(input);
        if (i === 4) await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" });
        const { events } = await ctx.stream(ctx.at(id, "/status/stream"));
        for (const event of events)
          check(
            ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"].includes(event.status),
            `a status is ${event.status}`,
          );
        same(events.at(-1).status, "COMPLETED", `the end of ${JSON.stringify(input)}`);
      }
    },
  },
  {
    number: 48,
    title: "an unknown id: 404 NOT_FOUND",
    async run(ctx) {
      for (const id of ["00000000-0000-4000-8000-000000000000", "nonsense"])
        same(
          [
            (await ctx.call(ctx.at(id, "/status"))).status,
            (await ctx.call(ctx.at(id, "/status"))).json().status,
          ],
          [404, "NOT_FOUND"],
          id,
        );
    },
  },
  {
    number: 49,
    title: "the full-path form works",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      status(
        await ctx.call(`/queue/${STUB}/sub/requests/${id}/status`),
        200,
        "owner/alias/sub/requests/…/status",
      );
    },
  },
  {
    number: 50,
    title: "the SDK's fal.apps: 202 until 200, with trailing slashes and no redirect",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 5_000 });
      const seen: number[] = [];
      do seen.push((await ctx.call(ctx.at(id, "/status/"))).status);
      while (seen.at(-1) === 202);
      same(new Set(seen).size, 2, "different codes");
      same(seen.at(-1), 200, "the last code");
      status(await ctx.call(ctx.at(id, "/")), 200, "the result with a slash");
    },
  },
  {
    number: 51,
    title: "a request completes after a platform retry",
    alone: true,
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 200, fail: "crash", fail_attempts: 1 });
      const { events } = await ctx.stream(ctx.at(id, "/status/stream"));
      const words = events.map(({ status: word }) => word).join(" ");
      matches(words, /IN_PROGRESS.*IN_QUEUE.*COMPLETED$/, "the statuses");
      status(await ctx.call(ctx.at(id)), 200, "the result");
    },
  },
  {
    number: 52,
    title: "the queue position decreases monotonically",
    alone: true,
    async run(ctx) {
      const ids: string[] = [];
      const positions: number[] = [];
      {
        await using _ = await ctx.fullQueue();
        for (let i = 0; i < 5; i++) ids.push((await ctx.submit({ delay_ms: 200 })).request_id);
        const last = ids.at(-1) as string;
        positions.push((await ctx.call(ctx.at(last, "/status"))).json().queue_position);
        for (const id of ids.slice(0, 3)) {
          await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" });
          await ctx.ended(id);
          positions.push((await ctx.call(ctx.at(last, "/status"))).json().queue_position);
        }
      }
      check(
        positions.every((position, i) => i === 0 || position <= (positions[i - 1] ?? 0)),
        `the positions were ${positions}`,
      );
      check((positions.at(-1) ?? 0) < (positions[0] ?? 0), `the positions were ${positions}`);
      await ctx.ended(ids.at(-1) as string);
    },
  },
  {
    number: 53,
    title: "another account's key: 404",
    needs: ["otherKey"],
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      for (const path of ["/status", ""])
        status(await ctx.call(ctx.at(id, path), { key: ctx.otherKey ?? "" }), 404, path);
      status(
        await ctx.call(ctx.at(id, "/cancel"), { method: "PUT", key: ctx.otherKey ?? "" }),
        404,
        "cancel",
      );
    },
  },
  {
    number: 54,
    title: "100 pollers change nothing",
    async run(ctx) {
      const ids = await Promise.all(
        Array.from(
          { length: 10 },
          async (_, i) => (await ctx.submit({ delay_ms: 1_500, seed: i })).request_id as string,
        ),
      );
      let done = false;
      const pollers = Array.from({ length: 100 }, async (_, i) => {
        while (!done) {
          await ctx.call(ctx.at(ids[i % ids.length] as string, "/status"));
          await sleep(100);
        }
      });
      await Promise.all(ids.map((id) => ctx.ended(id)));
      done = true;
      await Promise.all(pollers);
      for (const [i, id] of ids.entries())
        same((await ctx.call(ctx.at(id))).json().seed, i, "the seed of a result");
    },
  },
  {
    number: 55,
    title: "the status stream is text/event-stream for any Accept",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.stream(ctx.at(id, "/status/stream"), { headers: { accept: "application/json" } });
    },
  },
  {
    number: 56,
    title: "each event is one JSON status; COMPLETED is the last, then the stream ends",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 200, steps: 2 });
      const { events } = await ctx.stream(ctx.at(id, "/status/stream"));
      for (const event of events)
        check(
          typeof event.status === "string" && event.request_id === id,
          `an event is ${JSON.stringify(event)}`,
        );
      same(events.filter(({ status: word }) => word === "COMPLETED").length, 1, "how many are COMPLETED");
      same(events.at(-1).status, "COMPLETED", "the last");
    },
  },
  {
    number: 57,
    title: "JS subscribe({mode: streaming, logs}): every line once",
    alone: true,
    async run(ctx) {
      let lines: string[] = [];
      const { data } = await ctx.fal().subscribe(STUB, {
        input: { delay_ms: 300, steps: 3, unknown: 1, fail: "crash", fail_attempts: 1 } as never,
        mode: "streaming",
        logs: true,
        onQueueUpdate: (update) => {
          // The client collects the lines: each update has all lines so far.
          if ("logs" in update)
            lines = (update.logs ?? []).map(({ timestamp, message }) => `${timestamp} ${message}`);
        },
      });
      same((data as Json).attempt, 2, "the attempt");
      check(lines.length >= 2, `${lines.length} lines were reported`);
      same(new Set(lines).size, lines.length, "how many of the lines differ");
    },
  },
  {
    number: 58,
    title: "a comment at least every 15 s while idle",
    waits: true,
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 40_000 });
      const { comments } = await ctx.stream(ctx.at(id, "/status/stream"));
      check(comments.length >= 2, `${comments.length} comments in 40 s`);
    },
  },
  {
    number: 59,
    title: "a stream opened after the end: one COMPLETED event",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      same(
        (await ctx.stream(ctx.at(id, "/status/stream"))).events.map(({ status: word }) => word),
        ["COMPLETED"],
        "the events",
      );
    },
  },
  {
    number: 60,
    title: "the status stream through proxyUrl",
    run: async (ctx) =>
      same(
        ((await ctx.fal().subscribe(STUB, { input: { prompt: "x" }, mode: "streaming" })).data as Json).echo,
        "x",
        "the output",
      ),
  },
  {
    number: 61,
    title: "an unknown id: 404 JSON, no stream",
    async run(ctx) {
      const answer = status(
        await ctx.call(ctx.at("00000000-0000-4000-8000-000000000000", "/status/stream")),
        404,
        "the stream",
      );
      matches(answer.header("content-type"), /^application\/json/, "the content type");
      same(answer.json().status, "NOT_FOUND", "the body's status");
    },
  },
  {
    number: 62,
    title: "the result is the bare output, with the request's id",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ prompt: "bare", seed: 1 });
      await ctx.ended(id);
      const answer = status(await ctx.call(ctx.at(id)), 200, "the result");
      same(answer.json(), { echo: "bare", attempt: 1, seed: 1 }, "the body");
      same(answer.header("x-fal-request-id"), id, "x-fal-request-id");
    },
  },
  {
    number: 63,
    title: "/response gives the same bytes",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      same((await ctx.call(ctx.at(id, "/response"))).text, (await ctx.call(ctx.at(id))).text, "the bytes");
    },
  },
  {
    number: 64,
    title: "a result before completion: 400 Request is still in progress; JS does not loop",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 20_000 });
      same(
        detail(status(await ctx.call(ctx.at(id)), 400, "the result"), "400"),
        "Request is still in progress",
        "detail",
      );
      const { startForwarder } = await import("../forwarder.ts");
      const between = await startForwarder(ctx.url);
      try {
        const error = await fails(ctx.fal(between.url).queue.result(STUB, { requestId: id }), "the result");
        same([error.status, between.seen.length], [400, 1], "status and attempts");
      } finally {
        await between.close();
        await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" });
      }
    },
  },
  {
    number: 65,
    title: "a 422 of the app: same code and body; JS ValidationError, PY HTTP error",
    needs: ["tls"],
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ fail: "invalid" });
      await ctx.ended(id);
      const body = detail(status(await ctx.call(ctx.at(id)), 422, "the result"), "422");
      same(body[0].loc, ["body", "fail"], "loc");
      const error = await fails(ctx.fal().queue.result(STUB, { requestId: id }), "the result");
      check(error instanceof ValidationError, `JS threw ${error?.constructor?.name}`);
      same(error.fieldErrors, body, "fieldErrors");
      const said = await ctx.python("invalid");
      same([said.kind, said.status], ["FalClientHTTPError", 422], "what PY raised");
    },
  },
  {
    number: 66,
    title: "a platform failure: the request-error body and X-Fal-Error-Type",
    alone: true,
    async run(ctx) {
      const { request_id: id } = await ctx.submit(
        { fail: "crash", prompt: randomUUID() },
        { headers: { "x-fal-no-retry": "1" } },
      );
      await ctx.ended(id);
      const answer = status(await ctx.call(ctx.at(id)), 503, "the result");
      const { error_type } = answer.json();
      detail(answer, "the result");
      check(
        error_type === answer.header("x-fal-error-type") && error_type !== undefined,
        `error_type ${error_type}, header ${answer.header("x-fal-error-type")}`,
      );
    },
  },
  notApplicable(67, "app response headers", LATER),
  notApplicable(68, "app redirects", LATER),
  notApplicable(69, "an expired result", "results do not expire in this version; files do (case 128)"),
  notApplicable(
    70,
    "binary output of an app",
    "outputs are JSON by contract with the engines; bytes are files",
  ),
  {
    number: 71,
    title: "a result has x-fal-billable-units",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      matches((await ctx.call(ctx.at(id))).header("x-fal-billable-units"), /^\d/, "x-fal-billable-units");
    },
  },
  {
    number: 72,
    title: "cancel while queued: 202; it never starts",
    alone: true,
    async run(ctx) {
      await using _ = await ctx.fullQueue();
      const { request_id: id } = await ctx.submit();
      const answer = status(await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" }), 202, "cancel");
      same(answer.json().status, "CANCELLATION_REQUESTED", "status");
      const { events } = await ctx.stream(ctx.at(id, "/status/stream"));
      check(
        events.every(({ status: word }) => word !== "IN_PROGRESS"),
        "it started",
      );
    },
  },
  {
    number: 73,
    title: "cancel while running: 202, and the model stops at once",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 60_000, steps: 600 });
      await ctx.running(id);
      status(await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" }), 202, "cancel");
      same((await ctx.ended(id)).error_type, "client_cancelled", "error_type");
    },
  },
  {
    number: 74,
    title: "cancel of a finished request: 400 ALREADY_COMPLETED",
    async run(ctx) {
      const { request_id: id } = await ctx.submit();
      await ctx.ended(id);
      same(
        status(await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" }), 400, "cancel").json().status,
        "ALREADY_COMPLETED",
        "status",
      );
    },
  },
  {
    number: 75,
    title: "cancel of an unknown request: 404 NOT_FOUND",
    async run(ctx) {
      const answer = await ctx.call(ctx.at("00000000-0000-4000-8000-000000000000", "/cancel"), {
        method: "PUT",
      });
      same([answer.status, answer.json().status], [404, "NOT_FOUND"], "the answer");
    },
  },
  {
    number: 76,
    title: "a second cancel: 400 or 202, never 500",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 60_000 });
      for (let i = 0; i < 3; i++)
        status(
          await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" }),
          i === 0 ? 202 : [202, 400],
          `cancel ${i + 1}`,
        );
    },
  },
  {
    number: 77,
    title: "JS subscribe({timeout}) expiry cancels the request",
    async run(ctx) {
      let requestId = "";
      await fails(
        ctx.fal().subscribe(STUB, {
          input: { delay_ms: 60_000 },
          timeout: 1_000,
          pollInterval: 100,
          onEnqueue: (id) => {
            requestId = id;
          },
        }),
        "the subscription",
      );
      same((await ctx.ended(requestId)).error_type, "client_cancelled", "error_type");
    },
  },
  {
    number: 78,
    title: "PY subscribe(client_timeout) expiry cancels",
    needs: ["tls"],
    async run(ctx) {
      const said = await ctx.python("timeout");
      same(said.error.kind, "FalClientTimeoutError", "what PY raised");
      same((await ctx.ended(said.request_id)).error_type, "client_cancelled", "error_type");
    },
  },
  {
    number: 79,
    title: "a queue poller that disconnects cancels nothing",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 10_000, steps: 15 });
      const leaving = new AbortController();
      const poll = ctx.call(ctx.at(id, "/status/stream"), { signal: leaving.signal }).catch(() => {});
      await ctx.running(id);
      leaving.abort();
      await poll;
      await ctx.ended(id);
      status(await ctx.call(ctx.at(id)), 200, "the result");
    },
  },
  {
    number: 80,
    title: "a cancelled request ends COMPLETED, result 499",
    async run(ctx) {
      const { request_id: id } = await ctx.submit({ delay_ms: 60_000 });
      await ctx.call(ctx.at(id, "/cancel"), { method: "PUT" });
      same((await ctx.ended(id)).status, "COMPLETED", "status");
      status(await ctx.call(ctx.at(id)), 499, "the result");
    },
  },
];

/** Submits and waits for the end. Resolves to the body of the submit. */
async function ended(ctx: Parameters<Case["run"]>[0], headers: Record<string, string>): Promise<Json> {
  const body = await ctx.submit({}, { headers });
  await ctx.ended(body.request_id);
  return body;
}
