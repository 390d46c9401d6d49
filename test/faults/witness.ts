/** Programs that have an eye of their own: what they see that must not be breaks the invariant of their scenario. */
import { Context, Data, Effect, Layer } from "effect"
import { DeviceRunner, type Errors, type HostApi, type RunnerOptions } from "leasehold"
import { type Description, type Scenario, scenarioWith } from "./scenario.ts"

/** What a program has seen that must not be. */
export class Complaints extends Context.Tag("test/faults/Complaints")<Complaints, Array<string>>() {}

class Complaint extends Data.TaggedError("Complaint")<{ readonly message: string }> {}

export const expect = (condition: boolean, complaint: string): Effect.Effect<void, never, Complaints> =>
  Effect.map(Complaints, (complaints) => {
    if (!condition) {
      complaints.push(complaint)
    }
  })

/** A run that is not admitted for this reason lets the program go on; every other failure is the program's own. */
export const expectRefused = <E extends { readonly _tag: string }>(
  run: Effect.Effect<void, E>,
  reason: Errors.AdmissionRefused["reason"]
): Effect.Effect<void, E, Complaints> =>
  Effect.matchEffect(run, {
    onFailure: (error) =>
      error._tag === "AdmissionRefused" && "reason" in error && error.reason === reason
        ? Effect.void
        : Effect.fail(error),
    onSuccess: () => expect(false, `a run was admitted that should have been refused with ${reason}`)
  })

const nobodyComplains = Effect.flatMap(
  Complaints,
  ([first]) => first === undefined ? Effect.void : Effect.fail(new Complaint({ message: first }))
)

/** A scenario whose program may complain. */
export const witnessed = (
  description: Omit<Description<DeviceRunner.DeviceRunner | Complaints>, "invariant">,
  runner: (
    options: RunnerOptions.RunnerOptions
  ) => Layer.Layer<DeviceRunner.DeviceRunner, unknown, HostApi.HostApi | Complaints> = DeviceRunner.layer
): Scenario =>
  scenarioWith<DeviceRunner.DeviceRunner | Complaints, unknown>(
    { ...description, invariant: nobodyComplains },
    (options) => runner(options).pipe(Layer.provideMerge(Layer.sync(Complaints, () => [])))
  )
