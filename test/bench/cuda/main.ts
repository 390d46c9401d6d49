/**
 * What a step costs on a GPU, side by side with what people do without Leasehold.
 *
 *     npm run bench:cuda                         on the first GPU
 *     npm run bench:cuda -- --json               the same, and one line of JSON at the end
 *     npm run bench:cuda -- --loopback --json    without one: how often each calls the driver in a step
 *
 * Everything is measured in one process and turn by turn; read the ratios, not the times. Over the loopback driver nothing is
 * timed, because its times are nobody's.
 */
import koffi from "koffi"
import { Cuda } from "leasehold"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { interleave, median, ratio, timingOf } from "../measure.ts"
import { root } from "../root.ts"
import { type Contender, contendersOf, type Device, out } from "./contenders.ts"
import { type Driver, loadDriver } from "./driver.ts"

const counts = [20, 64]
const sizes = [64, 4096, 65_536, 1_048_576]

const effort = {
  batchNanos: 20_000_000,
  warmUpNanos: 200_000_000,
  totalNanos: 4_000_000_000,
  minRounds: 11,
  maxRounds: 101
}

const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

/** The empty kernel on a GPU. */
const emptyModule = join(root, "test/bench/cuda/empty.ptx")

const build = join(root, "native/build")
const loopbackPath = join(build, "libleasehold_test_cuda_driver.so")
const loopbackModule = join(build, "test_kernels.loopback")

/** Opens the device for the contenders that call the driver themselves. */
const openDevice = (driver: Driver, isLoopback: boolean): Device => {
  driver.cuInit(0)
  const ordinal = out((place) => driver.cuDeviceGet(place, 0))
  const context = out((place) => driver.cuDevicePrimaryCtxRetain(place, ordinal))
  driver.cuCtxPushCurrent(context)
  const path = isLoopback ? loopbackModule : emptyModule
  const symbol = isLoopback ? "test_nothing" : "empty"
  const image = Buffer.concat([readFileSync(path), Buffer.of(0)])
  const module = out((place) => driver.cuModuleLoadData(place, image))
  const kernel = out((place) => driver.cuModuleGetFunction(place, module, symbol))
  // A kernel of the loopback driver is told how many arguments it has; one of a GPU has none.
  const none = koffi.as([koffi.as(Uint32Array.of(0), "void *")], "void **")
  const own = out((place) => driver.cuStreamCreate(place, 1))
  return {
    driver,
    context,
    function: kernel,
    parameters: isLoopback ? none : null,
    stream: own,
    launch: (stream) => {
      driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, stream ?? own, isLoopback ? none : null, null)
    },
    cuda: isLoopback ? { driverPath: loopbackPath } : {},
    kernel: Cuda.kernels({
      module: path,
      launches: () => [{
        symbol,
        grid: 1,
        block: 1,
        parameters: isLoopback ? [Cuda.constant("uint32", 0)] : []
      }]
    })
  }
}

/** The entry points that a contender called in one step, and how often. */
const callsOfStep = async (contender: Contender, names: ReadonlyArray<string>, callsOf: (name: string) => number) => {
  // The first steps load and plan.
  await contender.step()
  await contender.step()
  const before = names.map(callsOf)
  await contender.step()
  const calls = names
    .map((name, index): [string, number] => [name.replace(/_v2$/, ""), callsOf(name) - before[index]!])
    .filter(([name, count]) => count > 0 && !isQuery.test(name))
  return { total: calls.reduce((sum, [, count]) => sum + count, 0), calls: Object.fromEntries(calls) }
}

/** How often somebody asks whether work has ended depends on how long it takes. */
const isQuery = /Query$|^cuCtx(Push|Pop)Current$/

const exportedNames = (): ReadonlyArray<string> =>
  [
    readFileSync(join(root, "native/cuda/driver.h"), "utf8"),
    readFileSync(join(root, "native/test/loopback/loopback.h"), "utf8")
  ].flatMap((header) => [...header.matchAll(/CALL\(\w+, (cu\w+),/g)].map((match) => match[1]!))

const benchLoopback = async (isJson: boolean): Promise<void> => {
  const library = koffi.load(loopbackPath)
  const loopbackCalls = library.func("uint64_t loopback_calls(const char *name)")
  const loopbackMemory = library.func("void loopback_set_memory(uint64_t byte_count)")
  loopbackMemory(2 ** 30)
  const callsOf = (name: string): number => Number(loopbackCalls(name))
  const device = openDevice(loadDriver([loopbackPath]), true)
  const names = exportedNames()
  const steps = []
  for (const count of counts) {
    for (const byteCount of [4096, 1_048_576]) {
      print(`\n${count} x ${byteCount} B: driver calls of a step, without asking whether work has ended`)
      for (const contender of await contendersOf(device, count, byteCount)) {
        const { calls, total } = await callsOfStep(contender, names, callsOf)
        const detail = Object.entries(calls).map(([name, often]) => `${often} ${name}`).join(", ")
        print(`  ${contender.name.padEnd(34)}${String(total).padStart(5)}   ${detail}`)
        steps.push({ contender: contender.name, count, byteCount, calls: total, byName: calls })
        await contender.close()
      }
    }
  }
  if (isJson) {
    print(JSON.stringify({ loopback: true, steps }))
  }
}

interface Case extends ReturnType<typeof timingOf> {
  readonly contender: string
  readonly count: number
  readonly byteCount: number
  readonly timesLeasehold: number
}

const benchDevice = async (isJson: boolean): Promise<void> => {
  const driver = loadDriver(Cuda.driverNames)
  const device = openDevice(driver, false)
  const cases: Array<Case> = []
  for (const count of counts) {
    for (const byteCount of sizes) {
      const contenders = await contendersOf(device, count, byteCount)
      const times = await interleave(
        contenders.map(({ step }) => async (runs) => {
          for (let run = 0; run < runs; run++) {
            await step()
          }
        }),
        effort
      )
      const own = times[contenders.findIndex(({ name }) => name === "leasehold, clear none")]!
      print(`\n${count} x ${byteCount} B: us a step, and how many times as long as Leasehold`)
      for (const [index, { name }] of contenders.entries()) {
        const micros = median(times[index]!.nanosPerRun) / 1000
        print(
          `  ${name.padEnd(34)}${micros.toFixed(1).padStart(10)}${ratio(times[index]!, own).toFixed(2).padStart(8)}`
        )
        cases.push({
          contender: name,
          count,
          byteCount,
          ...timingOf(times[index]!),
          timesLeasehold: ratio(times[index]!, own)
        })
      }
      for (const contender of contenders) {
        await contender.close()
      }
    }
  }
  const timesOf = (contender: string, byteCount: number): number =>
    cases.find((one) => one.contender === contender && one.count === 20 && one.byteCount === byteCount)!.timesLeasehold
  const targets = [
    { name: "retained, a copy per tensor, 20 x 4096 B", value: timesOf("retained, a copy per tensor", 4096), least: 5 },
    { name: "malloc per tensor, 20 x 4096 B", value: timesOf("malloc per tensor", 4096), least: 10 },
    {
      name: "retained, a copy per tensor, 20 x 1 MiB",
      value: timesOf("retained, a copy per tensor", 1_048_576),
      least: 1
    }
  ]
  print("\ntargets, in times as long as Leasehold:")
  for (const { least, name, value } of targets) {
    print(`  ${value >= least ? "holds " : "misses"} ${name}: ${value.toFixed(2)} (at least ${least})`)
  }
  if (isJson) {
    print(JSON.stringify({ loopback: false, cases, targets }))
  }
}

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false }, loopback: { type: "boolean", default: false } }
})
try {
  await (values.loopback ? benchLoopback(values.json) : benchDevice(values.json))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
