/**
 * The forms of the seam on which every promise is tested: both forms of a backend that answers at once, one that answers
 * late, and one that coalesces.
 */
import { describe } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { DeviceRunner, type Errors, HostApi, type RunnerOptions, Simulator } from "leasehold"
import * as Probe from "./probe.ts"

export interface Form {
  readonly name: string
  /** Whether whole runs of inline callables are one synchronous stretch. */
  readonly immediate: boolean
  /** Whether copies outlast a call, so that views go through staging. */
  readonly late: boolean
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
