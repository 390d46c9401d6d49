import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { createServer } from "node:net"
import { ended, failure, run, type Running, start } from "./child.ts"
import { cases } from "./qwen3/golden.ts"

/** Starts the server on a free port, waits until it listens, and stops it when the scope closes. */
const serve = (environment: Readonly<Record<string, string>> = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => start("serve.ts", [], { PORT: "0", ...environment })),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  ).pipe(Effect.bindTo("server"), Effect.bind("address", ({ server }) => listening(server)))

const listening = (server: Running): Effect.Effect<string> =>
  Effect.async((resume) => {
    const look = () => {
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(server.output().stdout)?.[0]
      if (address !== undefined) {
        resume(Effect.succeed(address))
      } else if (server.child.exitCode !== null) {
        resume(Effect.die(new Error(`the server ended: ${server.output().stderr}`)))
      }
    }
    server.child.stdout!.on("data", look)
    server.child.once("close", look)
  })

const ask = (address: string, query: string) =>
  Effect.promise(async (signal) => {
    const response = await fetch(`${address}/${query}`, { signal })
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() }
  })

const { greedy_text, prompt } = cases[3]!
const query = `?prompt=${encodeURIComponent(prompt)}`

describe("the serving app", () => {
  it.scopedLive("streams the model's text to several clients at once, and stops when it is told to", () =>
    Effect.gen(function*() {
      const { address, server } = yield* serve()
      const alone = yield* ask(address, query)
      assert.strictEqual(alone.status, 200)
      assert.strictEqual(alone.type, "text/plain; charset=utf-8")
      assert.strictEqual(alone.text.length, 200)
      assert.isTrue(alone.text.startsWith(greedy_text))

      const together = yield* Effect.all(Array.from({ length: 5 }, () => ask(address, query)), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(together.map(({ text }) => text), Array.from({ length: 5 }, () => alone.text))

      server.child.kill("SIGTERM")
      const { code, stderr } = yield* ended(server)
      assert.strictEqual(code, 0)
      assert.strictEqual(stderr, "")
    }))

  it.scopedLive("sends a response in pieces, and frees what a client held that has gone", () =>
    Effect.gen(function*() {
      // Room for the weights and the KV cache of one client.
      const { address } = yield* serve({ LEASEHOLD_RESIDENT_MAX_BYTES: "3 MiB" })
      const firstPiece = Effect.promise(async () => {
        const response = await fetch(`${address}/${query}`)
        const reader = response.body!.getReader()
        const { value } = await reader.read()
        await reader.cancel()
        // While another client is turned away there is a sentence instead.
        return response.status === 200 ? value!.byteLength : Infinity
      })
      // On a loaded machine all of it may have been written before anybody read, so one in pieces among many is enough.
      let first = Infinity
      for (let attempt = 0; attempt < 200 && first >= 200; attempt++) {
        first = yield* Effect.delay(firstPiece, "20 millis")
      }
      assert.isBelow(first, 200)
      // The server learns in its own time that the client has gone.
      yield* ask(address, query).pipe(
        Effect.filterOrFail(({ status }) => status === 200),
        Effect.retry({ times: 250, schedule: Schedule.spaced("40 millis") })
      )
    }))

  it.scopedLive("turns a client away with a sentence: no budget, no prompt, or one that is too long", () =>
    Effect.gen(function*() {
      const { address } = yield* serve({ LEASEHOLD_RESIDENT_MAX_BYTES: "2 MiB" })
      const noBudget = yield* ask(address, query)
      assert.strictEqual(noBudget.status, 503)
      assert.match(noBudget.text, /the resident budget/)
      for (const bad of ["", "?prompt=", `?prompt=${"x".repeat(313)}`]) {
        assert.strictEqual((yield* ask(address, bad)).status, 400, bad)
      }
      assert.strictEqual((yield* ask(address, "elsewhere")).status, 404)
    }))

  it.scopedLive("ends with a sentence where it cannot listen", () =>
    Effect.gen(function*() {
      const other = createServer()
      yield* Effect.addFinalizer(() => Effect.sync(() => other.close()))
      const port = yield* Effect.async<number>((resume) => {
        other.listen(0, "127.0.0.1", () => {
          const address = other.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      })
      const [taken, invalid] = yield* Effect.all(
        [run("serve.ts", [], { PORT: `${port}` }), run("serve.ts", [], { PORT: "70000" })],
        { concurrency: 2 }
      )
      assert.match(failure(taken), /address already in use/)
      assert.match(failure(invalid), /PORT should be from 0 to 65535/)
    }))
})
