/**
 * A small serving app: it streams what a model writes to each client. Their runs wait for each other in the runner's queue.
 *
 *     npx tsx examples/serve.ts                        prints the address it listens on; PORT chooses another port
 *     curl -N "http://127.0.0.1:3000/?prompt=In+the"
 *
 * Clients take turns, a token each. Each has a KV cache on the device while its response lasts; when the budget for them
 * is spent (LEASEHOLD_RESIDENT_MAX_BYTES), a client is turned away with 503. It serves until Ctrl-C.
 */
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeContext, NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Option, Schema, Stream } from "effect"
import { DeviceRunner, RunnerOptions, Simulator } from "leasehold"
import { createServer } from "node:http"
import { fileURLToPath } from "node:url"
import * as ByteTokenizer from "./qwen3-decode/byteTokenizer.ts"
import * as Decoder from "./qwen3-decode/decoder.ts"
import * as Model from "./qwen3-decode/model.ts"
import * as Sampler from "./qwen3-decode/sampler.ts"

const folder = fileURLToPath(new URL("./qwen3-decode/model", import.meta.url))
const tokensPerResponse = 200
const Query = Schema.Struct({ prompt: Schema.String })

const app = Effect.gen(function*() {
  const model = yield* Model.open(folder)
  const tokenizer = yield* ByteTokenizer.make(model.config.vocab)
  // The event loop serves other clients while a token is computed, so no run is inline.
  const decoder = yield* Decoder.make(model, { config: model.config, stepExecution: "awaited" })
  const promptMaxBytes = model.config.maxPositions - tokensPerResponse

  const respond = Effect.gen(function*() {
    const prompt = tokenizer.encode((yield* HttpServerRequest.schemaSearchParams(Query)).prompt)
    if (prompt.length === 0 || prompt.length > promptMaxBytes) {
      return HttpServerResponse.text(`The prompt should have 1 to ${promptMaxBytes} bytes.\n`, { status: 400 })
    }
    // It is freed when the response has been sent, or the client has gone.
    const text = yield* decoder.begin
    const sampler = yield* Sampler.make({ temperature: 0, seed: 0 })
    const characters = tokenizer.decoder()
    const decoded = Stream.unfoldEffect(prompt, (tokens) =>
      text.next(tokens).pipe(
        Effect.flatMap(sampler.next),
        Effect.map((token) => Option.some([characters.push(token), Int32Array.of(token)] as const))
      ))
    return HttpServerResponse.stream(decoded.pipe(Stream.take(tokensPerResponse), Stream.encodeText), {
      contentType: "text/plain; charset=utf-8"
    })
  }).pipe(Effect.catchTags({
    ParseError: () => HttpServerResponse.text("Ask for /?prompt=some+text.\n", { status: 400 }),
    BudgetExhausted: ({ message }) => HttpServerResponse.text(`${message}\n`, { status: 503 })
  }))
  return HttpRouter.empty.pipe(HttpRouter.get("/", respond), HttpServer.serve(), HttpServer.withLogAddress)
})

const port = Config.integer("PORT").pipe(
  Config.validate({ message: "PORT should be from 0 to 65535", validation: (port) => port >= 0 && port <= 65_535 }),
  Config.withDefault(3000)
)

const ServerLive = NodeHttpServer.layerConfig(
  () => createServer(),
  Config.all({ port, host: Config.succeed("127.0.0.1") })
)

// A client's token waits for those of others, in order, and not for longer than anybody would wait for it.
const options = Config.map(RunnerOptions.environment, (environment): RunnerOptions.RunnerOptions => ({
  ...environment,
  admission: { wait: { maxQueueCount: 1000, deadline: "30 seconds" } }
}))
const RunnerLive = DeviceRunner.layerConfig(options).pipe(Layer.provide(Simulator.layer()))

Layer.launch(Layer.unwrapScoped(app)).pipe(
  Effect.provide([ServerLive, RunnerLive, NodeContext.layer]),
  Effect.catchAll((error) =>
    Effect.zipRight(
      Console.error(error._tag === "ServeError" ? String(error.cause) : error.message),
      Effect.sync(() => process.exitCode = 1)
    )
  ),
  NodeRuntime.runMain
)
