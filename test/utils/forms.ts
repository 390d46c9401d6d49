/**
 * The forms of the seam on which every promise is tested: both forms of a backend that answers at once, one that answers
 * late, and one that coalesces.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Bytes, DeviceRunner, type Errors, HostApi, type RunnerOptions, Simulator } from "leasehold"
import * as CudaDevice from "./cudaDevice.ts"
import * as Loopback from "./loopback.ts"
import * as Probe from "./probe.ts"

export interface Form {
  readonly name: string
  /** Whether whole runs of inline callables are one synchronous stretch. */
  readonly immediate: boolean
  /** Whether copies outlast a call, so that views go through staging. */
  readonly late: boolean
  /** Whether the device can be given other traits than its own. */
  readonly hasOwnTraits?: boolean
  /** How it is recovered from after it was lost. Defaults to `"rebuildRunner"`. */
  readonly recovery?: HostApi.Traits["recovery"]
  /** The most arguments of a launch. Defaults to 4096. */
  readonly mostArguments?: number
  /** Whether kernels can fail by themselves, and a device can be lost without its process. Defaults to true. */
  readonly canFail?: boolean
  readonly layer: (options?: Simulator.Options) => Layer.Layer<
    HostApi.HostApi | Simulator.Simulator,
    Errors.BackendUnavailable | Errors.InvalidConfiguration
  >
}

/** Takes the plain functions away, so that everything goes through Effects. */
const withoutImmediate = Layer.effect(
  HostApi.HostApi,
  Effect.map(HostApi.HostApi, (hostApi) => ({ ...hostApi, immediate: undefined }))
)

export const forms: ReadonlyArray<Form> = [
  {
    name: "immediate",
    immediate: true,
    late: false,
    layer: (options) => Simulator.layer({ totalBytes: "64 MiB", ...options })
  },
  {
    name: "effects",
    immediate: false,
    late: false,
    layer: (options) => withoutImmediate.pipe(Layer.provideMerge(Simulator.layer({ totalBytes: "64 MiB", ...options })))
  },
  {
    name: "late",
    immediate: false,
    late: true,
    layer: (options) => Simulator.layer({ totalBytes: "64 MiB", completion: "late", ...options })
  },
  {
    name: "coalescing",
    immediate: true,
    late: false,
    layer: (options) => Simulator.layer({ totalBytes: "64 MiB", coalesceMaxBytes: "256 KiB", ...options })
  }
]

/** The CUDA backend, over the loopback driver or on a GPU. Its alignment and its granularity are a GPU's, whatever a test asks for. */
export const cuda: Form = {
  name: "cuda",
  immediate: false,
  late: true,
  hasOwnTraits: true,
  recovery: "newProcess",
  mostArguments: CudaDevice.mostArguments,
  canFail: CudaDevice.canFail,
  layer: ({ lanes, longCalls, totalBytes } = {}) =>
    Layer.unwrapEffect(
      Effect.sync(() => CudaDevice.layer({ lanes, longCalls, totalBytes: Bytes.parse(totalBytes ?? "64 MiB")! }))
    )
}

/** Runs a suite once for every form, and on the CUDA backend; where that is to be tested on a GPU, there alone. */
export const onEveryDevice = (name: string, suite: (form: Form) => void): void => {
  if (CudaDevice.mode === "loopback") {
    onEveryForm(name, suite)
  }
  describe(`${name} [${cuda.name}]`, () => {
    suite(cuda)

    it.runIf(CudaDevice.isLoopback)("has not misused the driver", () => {
      assert.strictEqual(Loopback.violations(), "")
      assert.strictEqual(Loopback.callsAfterLoss(), 0)
      assert.isAbove(Loopback.calls(""), 0)
    })
  })
}

/** Runs a suite once for every form. */
export const onEveryForm = (name: string, suite: (form: Form) => void): void => {
  for (const form of forms) {
    describe(`${name} [${form.name}]`, () => suite(form))
  }
}

/** A probed backend of a form. */
export const deviceOf = (form: Form, options?: Simulator.Options) =>
  Probe.layer.pipe(Layer.provideMerge(form.layer(options)))

/** A runner on a probed backend of a form. Small by default, so that tests see its limits. */
export const runnerOf = (
  form: Form,
  options: RunnerOptions.RunnerOptions = {},
  simulator?: Simulator.Options
) =>
  DeviceRunner.layer({
    temporaryBuffer: { maxBytes: "64 KiB", alignmentBytes: 256 },
    residentMaxBytes: "1 MiB",
    stagingMaxBytes: "1 MiB",
    maxInlineCopyBytes: "256 KiB",
    ...options
  }).pipe(Layer.provideMerge(deviceOf(form, simulator)))
