/**
 * The death of a process, in every way and in every phase of its work: asked to end, it gives everything back; killed, it
 * leaves nothing behind, and the next process works.
 *
 * Twice each, five times with LEASEHOLD_LONG=1, in turns on a device that answers at once and on one that works late; and some
 * of them on the CUDA backend. On a GPU it is all of them, there alone, and the driver has as much memory afterwards as before.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readdirSync, readFileSync, readlinkSync } from "node:fs"

import { bundle } from "../utils/bundle.ts"
import * as CudaDevice from "../utils/cudaDevice.ts"
import * as Gpu from "../utils/gpu.ts"
import { compile, temporaryFolder } from "../utils/libraries.ts"
import { type Child, type Ended, start } from "./children.ts"
import { type Device, type Phase, phases, phasesWithCall, type Way, ways } from "./deaths.ts"

const repeatCount = process.env["LEASEHOLD_LONG"] === "1" ? 5 : 2

const source = readFileSync(new URL("victim.c", import.meta.url), "utf8")

interface Case {
  readonly way: Way
  readonly phase: Phase
  readonly device: Device
}

const everyCase = (devices: ReadonlyArray<Device>): ReadonlyArray<Case> =>
  ways.flatMap((way) => phases.flatMap((phase) => devices.map((device) => ({ way, phase, device }))))

const isOnGpu = CudaDevice.mode !== "loopback"

const simulators = Array.from({ length: repeatCount }, (_, index) => index % 2 === 0 ? "immediate" : "late")

const cases = isOnGpu
  ? everyCase(["cuda"])
  : [
    ...everyCase(simulators),
    ...everyCase(["cuda"]).filter(({ phase, way }) =>
      phasesWithCall.includes(phase) && ["SIGTERM", "SIGKILL", "process.exit"].includes(way.name)
    )
  ]

/** Files that outlive a process: what it has open for writing, and shared memory. Pipes and the like do not. */
const lastingFiles = (pid: number): ReadonlyArray<string> => {
  const opened = readdirSync(`/proc/${pid}/fd`).flatMap((descriptor) => {
    const path = readlinkSync(`/proc/${pid}/fd/${descriptor}`)
    const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, "utf8"))![1]!
    const isWritten = Number.parseInt(flags, 8) % 4 !== 0
    return isWritten && path.startsWith("/") && !/^\/dev\/(?!shm)/.test(path) ? [path] : []
  })
  const mapped = readFileSync(`/proc/${pid}/maps`, "utf8").split("\n").flatMap((line) => {
    const [, permissions = "", , , , path = ""] = line.split(/\s+/)
    return permissions.endsWith("s") && permissions.includes("w") && path.startsWith("/") ? [path] : []
  })
  return [...opened, ...mapped]
}

/** Whatever a process leaves would lie here: it is the working folder and that for temporary files. */
const inFolder = <A>(use: (folder: string) => Effect.Effect<A>) =>
  Effect.scoped(
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const result = yield* use(folder)
      assert.isEmpty(readdirSync(folder), "files were left behind")
      return result
    })
  )

const run = (
  program: string,
  args: ReadonlyArray<string>,
  use: (child: Child) => Effect.Effect<void>
): Effect.Effect<Ended> =>
  inFolder((folder) =>
    Effect.scoped(
      Effect.gen(function*() {
        const child = yield* start(program, {
          args,
          folder,
          environment: { TMPDIR: folder, HOME: folder, CUDA_CACHE_DISABLE: "1" }
        })
        yield* use(child)
        return yield* child.ended
      })
    )
  )

const emptyLedger = "ledger 0 0 0 0"

const lines = ({ stdout }: Ended): ReadonlyArray<string> => stdout.split("\n").slice(0, -1)

/** Runs a program, after which the driver of a GPU has as much memory as before. It takes a moment to take back what a process had. */
const keepingDeviceMemory = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  CudaDevice.isLoopback ? effect : Effect.gen(function*() {
    const held = Gpu.holdContext()
    const before = held.freeBytes()
    const result = yield* effect
    const freeBytes = yield* Effect.repeat(Effect.delay(Effect.sync(() => held.freeBytes()), "100 millis"), {
      until: (now) => now === before,
      times: 100
    })
    assert.strictEqual(freeBytes, before, "bytes that the driver has free")
    held.release()
    return result
  })

/** Ends a process in one way and one phase, and answers how it ended, in words. */
const die = (program: string, library: string, { device, phase, way }: Case): Effect.Effect<string> =>
  Effect.gen(function*() {
    const ended = yield* run(program, [phase, device, library], (child) =>
      Effect.gen(function*() {
        yield* child.line(`at ${phase}`)
        assert.deepStrictEqual(lastingFiles(child.pid), [])
        yield* way.signal === undefined ? child.send(way.order!) : child.kill(way.signal)
      }))
    const what = `${way.name} ${phase}, ${device}: ${ended.stdout}${ended.stderr}`
    assert.deepStrictEqual([ended.code, ended.signal], [way.code, way.endSignal], what)
    if (way.isGraceful) {
      const waited = phasesWithCall.includes(phase) ? ["waited true"] : []
      assert.deepStrictEqual(lines(ended), [`at ${phase}`, ...waited, emptyLedger], what)
    } else {
      assert.deepStrictEqual(lines(ended), [`at ${phase}`], what)
    }
    const end = ended.signal ?? `code ${ended.code}`
    return way.isGraceful ? `${end}, ledger empty` : end
  })

/** The next process: it runs to its end, with the right results, as if nobody had been there before it. */
const follow = (program: string, library: string, { device }: Case): Effect.Effect<void> =>
  Effect.map(run(program, ["none", device, library], () => Effect.void), (ended) => {
    assert.deepStrictEqual(
      { code: ended.code, signal: ended.signal, stdout: ended.stdout, stderr: ended.stderr },
      { code: 0, signal: null, stdout: `${emptyLedger}\n`, stderr: "" }
    )
  })

const table = (outcomes: ReadonlyArray<readonly [Case, string]>): string => {
  const cell = (way: Way, phase: Phase): string => {
    const ends = outcomes.flatMap(([one, end]) => one.way === way && one.phase === phase ? [end] : [])
    const [first] = ends
    return `${ends.filter((end) => end === first).length}/${ends.length} ${first}`
  }
  const rowOf = (way: Way): ReadonlyArray<string> => [way.name, ...phases.map((phase) => cell(way, phase))]
  const rows = [["", ...phases], ...ways.map(rowOf)]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => row.map((text, column) => text.padEnd(widths[column]!)).join("  ").trimEnd()).join("\n")
}

describe("the death of a process", () => {
  it.scopedLive(
    "gives everything back where it is asked for, and leaves the next process nothing to stumble over",
    () =>
      Effect.gen(function*() {
        const program = yield* bundle({ entry: "process/victim.ts" })
        const library = compile(yield* temporaryFolder, "victim", source)
        // Two at a time: each keeps a core busy while it starts.
        const outcomes = yield* Effect.forEach(cases, (one) =>
          Effect.zipLeft(
            Effect.map(die(program, library, one), (end): readonly [Case, string] => [one, end]),
            follow(program, library, one)
          ), { concurrency: 2 }).pipe(keepingDeviceMemory)
        assert.strictEqual(outcomes.length, cases.length)
        console.log(`${outcomes.length} deaths, the next process clean after each:\n${table(outcomes)}`)
      }),
    600_000
  )
})
