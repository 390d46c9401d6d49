/** What is compared on a GPU: everybody moves the same views, launches an empty kernel, and waits for the device. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { Arg, Callable, Cuda, DeviceRunner } from "leasehold"
import { addressOf, cudaRetained, openCuda } from "../native.ts"
import { makeWorkload, sliceBytes, type Workload } from "../workload.ts"
import type { Driver } from "./driver.ts"

export interface Contender {
  readonly name: string
  readonly step: () => void | Promise<void>
  readonly close: () => void | Promise<void>
}

export interface Device {
  readonly driver: Driver
  readonly context: unknown
  /** The empty kernel: its function, what it is launched with, and a stream for it. */
  readonly function: unknown
  readonly parameters: unknown
  readonly stream: unknown
  /** Launches it, on that stream or another. */
  readonly launch: (stream: unknown) => void
  readonly cuda: Cuda.Options
  readonly kernel: Cuda.Kernel
}

/** Source: `CU_STREAM_NON_BLOCKING` and `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`. */
const nonBlocking = 1
const releaseThreshold = 4

/** What a call of the driver writes into the place it is given. */
export const out = <A>(call: (place: Array<A | null>) => number): A => {
  const place: Array<A | null> = [null]
  call(place)
  return place[0]!
}

export const contendersOf = async (
  device: Device,
  count: number,
  byteCount: number
): Promise<ReadonlyArray<Contender>> => {
  const work = makeWorkload(count, byteCount)
  const nothing = { close: () => {} }
  return [
    { name: "malloc per tensor", step: () => perTensor(device, work), ...nothing },
    besideAnother(device, work),
    pooled(device, work, "default"),
    pooled(device, work, "maximum"),
    retained(device, work),
    retainedInC(device, work),
    await leasehold(device, work, "none"),
    await leasehold(device, work, "all")
  ]
}

/** (a) An allocation and a copy for each tensor. */
const perTensor = ({ driver, launch }: Device, { inputs, outputs }: Workload): void => {
  const allocated = (view: Uint8Array): bigint | number => out((place) => driver.cuMemAlloc(place, view.byteLength))
  const ins = inputs.map((view) => {
    const address = allocated(view)
    driver.cuMemcpyHtoD(address, view, view.byteLength)
    return address
  })
  const outs = outputs.map(allocated)
  launch(null)
  driver.cuCtxSynchronize()
  outs.forEach((address, index) => driver.cuMemcpyDtoH(outputs[index], address, outputs[index]!.byteLength))
  for (const address of [...outs.toReversed(), ...ins.toReversed()]) {
    driver.cuMemFree(address)
  }
}

/** The same beside another allocation that lives on: the driver keeps some memory then. */
const besideAnother = (device: Device, work: Workload): Contender => {
  const { driver } = device
  const other = out<number>((place) => driver.cuMemAlloc(place, 2 ** 20))
  return {
    name: "malloc per tensor, another alive",
    step: () => perTensor(device, work),
    close: () => {
      driver.cuMemFree(other)
    }
  }
}

/** (b) The driver's stream-ordered pool, with its release threshold as it is or as high as it goes. */
const pooled = (
  { driver, launch }: Device,
  { inputs, outputs }: Workload,
  threshold: "default" | "maximum"
): Contender => {
  const stream = out((place) => driver.cuStreamCreate(place, nonBlocking))
  const pool = out((place) => driver.cuDeviceGetDefaultMemPool(place, 0))
  const keep = threshold === "maximum" ? 2n ** 64n - 1n : 0n
  return {
    name: `pool, ${threshold} threshold`,
    step: () => {
      driver.cuMemPoolSetAttribute(pool, releaseThreshold, BigUint64Array.of(keep))
      const allocated = (view: Uint8Array): bigint | number =>
        out((place) => driver.cuMemAllocAsync(place, view.byteLength, stream))
      const ins = inputs.map(allocated)
      const outs = outputs.map(allocated)
      driver.cuStreamSynchronize(stream)
      ins.forEach((address, index) => driver.cuMemcpyHtoD(address, inputs[index], inputs[index]!.byteLength))
      launch(stream)
      driver.cuStreamSynchronize(stream)
      outs.forEach((address, index) => driver.cuMemcpyDtoH(outputs[index], address, outputs[index]!.byteLength))
      for (const address of [...outs.toReversed(), ...ins.toReversed()]) {
        driver.cuMemFreeAsync(address, stream)
      }
      driver.cuStreamSynchronize(stream)
    },
    close: () => {
      driver.cuStreamDestroy(stream)
    }
  }
}

/** (c) A retained buffer, and a synchronous copy for each tensor: what the runtime does that the design descends from. */
const retained = ({ driver, launch }: Device, { byteCount, count, inputs, outputs }: Workload): Contender => {
  const slice = sliceBytes(byteCount)
  const buffer = BigInt(out<number | bigint>((place) => driver.cuMemAlloc(place, count * slice)))
  const at = (index: number): bigint => buffer + BigInt(index * slice)
  return {
    name: "retained, a copy per tensor",
    step: () => {
      inputs.forEach((view, index) => driver.cuMemcpyHtoD(at(index), view, view.byteLength))
      launch(null)
      driver.cuCtxSynchronize()
      outputs.forEach((view, index) => driver.cuMemcpyDtoH(view, at(inputs.length + index), view.byteLength))
    },
    close: () => {
      driver.cuMemFree(buffer)
    }
  }
}

/** (c) in C. */
const retainedInC = (
  { driver, function: kernel, parameters, stream }: Device,
  { byteCount, count, inputs, outputs }: Workload
): Contender => {
  if (openCuda(driver.path) !== 0) {
    throw new Error(`${driver.path} lacks what the step in C calls`)
  }
  const slice = sliceBytes(byteCount)
  const buffer = out<number | bigint>((place) => driver.cuMemAlloc(place, count * slice))
  const addresses = Float64Array.from([...inputs, ...outputs], addressOf)
  return {
    name: "retained, a copy per tensor, in C",
    step: () => {
      const code = cudaRetained(addresses, inputs.length, count, byteCount, buffer, slice, kernel, stream, parameters)
      if (code !== 0) {
        throw new Error(`the step in C ended with ${code}`)
      }
    },
    close: () => {
      driver.cuMemFree(buffer)
    }
  }
}

/** (d) A run. */
const leasehold = async (
  { cuda, kernel }: Device,
  work: Workload,
  clear: Callable.Clear
): Promise<Contender> => {
  const bytes = work.count * sliceBytes(work.byteCount)
  const signature = Object.fromEntries([
    ...work.inputs.map((view, index): [string, Arg.Arg] => [`tensor${index}`, Arg.input("uint8", [view.length])]),
    ...work.outputs.map((view, index): [string, Arg.Arg] => [
      `tensor${work.inputs.length + index}`,
      Arg.output("uint8", [view.length])
    ])
  ])
  const callable = Callable.native({ signature, kernels: [kernel], clear })
  const layer = DeviceRunner.layer({
    temporaryBuffer: { maxBytes: bytes },
    stagingMaxBytes: Math.max(bytes, 4096),
    maxInlineCopyBytes: Math.max(bytes, 4096)
  }).pipe(Layer.provide(Cuda.layer(cuda)))
  const runtime = ManagedRuntime.make(layer)
  const runner = await runtime.runPromise(DeviceRunner.DeviceRunner)
  return {
    name: `leasehold, clear ${clear}`,
    step: () => Effect.runPromise(runner.run(callable, work.args)),
    close: () => runtime.dispose()
  }
}
