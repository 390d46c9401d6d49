/** How the kernels of a backend are loaded, and what its launches take beside the argument table. */
import type * as Effect from "effect/Effect"
import type { Arguments, HostApiError, Kernel, KernelHandle, Origin } from "../../HostApi.ts"

export interface Launches {
  readonly load: (kernel: Kernel) => Effect.Effect<KernelHandle, HostApiError>
  /**
   * The `lh_geometry` of a launch, as bytes; made once for each argument table. `undefined` where a launch takes none. Its
   * failure is that of the launch.
   */
  readonly prepare: ((kernel: KernelHandle, args: Arguments, origin: Origin) => Uint8Array | HostApiError) | undefined
}
