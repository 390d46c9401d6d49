/** A runner whose methods note the line that calls them. */
import * as Effect from "effect/Effect"
import type { Runs, Service } from "../../DeviceRunner.ts"
import { withCallSite } from "./callSite.ts"

type Place = () => string | undefined

const withRunSites = (runs: Runs, place: Place): Runs => ({
  run: (callable, args, options) => withCallSite(runs.run(callable, args, options), place()),
  bind: (callable, args, options) => withCallSite(runs.bind(callable, args, options), place())
})

export const withCallSites = (runner: Service, place: Place): Service => ({
  ...runner,
  ...withRunSites(runner, place),
  load: (callable) => withCallSite(runner.load(callable), place()),
  allocate: (dtype, shape) => withCallSite(runner.allocate(dtype, shape), place()),
  allocateHost: (dtype, shape) => withCallSite(runner.allocateHost(dtype, shape), place()),
  configure: (options) => withCallSite(runner.configure(options), place()),
  budget: (name, options) =>
    Effect.map(withCallSite(runner.budget(name, options), place()), (budget) => ({
      ...budget,
      ...withRunSites(budget, place),
      close: withCallSite(budget.close, place())
    })),
  trim: (keepBytes) => withCallSite(runner.trim(keepBytes), place())
})
