/** A runner whose methods note the line that calls them. */
import type { Service } from "../../DeviceRunner.ts"
import { withCallSite } from "./callSite.ts"

export const withCallSites = (runner: Service, place: () => string | undefined): Service => ({
  ...runner,
  run: (callable, args, options) => withCallSite(runner.run(callable, args, options), place()),
  bind: (callable, args, options) => withCallSite(runner.bind(callable, args, options), place()),
  load: (callable) => withCallSite(runner.load(callable), place()),
  allocate: (dtype, shape) => withCallSite(runner.allocate(dtype, shape), place()),
  allocateHost: (dtype, shape) => withCallSite(runner.allocateHost(dtype, shape), place()),
  configure: (options) => withCallSite(runner.configure(options), place())
})
