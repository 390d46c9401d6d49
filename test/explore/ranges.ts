/** Notes what each run hands to its kernels, from its first call to its last: what is active at once shares no byte. */
import type { HostApi } from "leasehold"
import { argumentCells } from "../../src/internal/core/argumentTable.ts"
import type { Defect } from "./program.ts"

export interface Range {
  readonly start: number
  readonly byteCount: number
}

interface Use {
  readonly ranges: Array<Range>
  first: number
  last: number
}

export class RangeNotes {
  readonly #uses = new Map<number, Use>()
  #moment = 0

  /** A host API that notes what goes through it. It takes no steps of its own. */
  decorate(api: HostApi.Service): HostApi.Service {
    const { immediate } = api
    return {
      ...api,
      submit: (lane, transfers, origin) => {
        this.#touch(origin.runId)
        return api.submit(lane, transfers, origin)
      },
      launch: (kernel, args, origin) => {
        this.#launch(args, origin)
        return api.launch(kernel, args, origin)
      },
      immediate: immediate && {
        ...immediate,
        submit: (lane, transfers, origin) => {
          this.#touch(origin.runId)
          return immediate.submit(lane, transfers, origin)
        },
        launch: (kernel, args, origin) => {
          this.#launch(args, origin)
          return immediate.launch(kernel, args, origin)
        }
      }
    }
  }

  /** Forgets all runs. */
  clear(): void {
    this.#uses.clear()
  }

  /** A run is active now, and holds these beside what it is known to hold. */
  hold(generation: number, ranges: ReadonlyArray<Range> = []): void {
    this.#touch(generation).ranges.push(...ranges)
  }

  #launch({ cells, count }: HostApi.Arguments, { runId }: HostApi.Origin): void {
    const { ranges } = this.#touch(runId)
    for (let from = 0; from < count * argumentCells; from += argumentCells) {
      ranges.push({ start: cells[from + 4]!, byteCount: cells[from + 2]! })
    }
  }

  #touch(generation: number): Use {
    this.#moment += 1
    const use = this.#uses.get(generation) ?? { ranges: [], first: this.#moment, last: this.#moment }
    use.last = this.#moment
    this.#uses.set(generation, use)
    return use
  }

  /** Runs that were active at once on the same bytes. */
  overlaps(): ReadonlyArray<Defect> {
    const uses = [...this.#uses]
    return uses.flatMap(([name, use], index) =>
      uses.slice(index + 1).flatMap(([other, { first, last, ranges }]): ReadonlyArray<Defect> =>
        first < use.last && use.first < last && ranges.some((left) => use.ranges.some((right) => meet(left, right)))
          ? [{ kind: "overlaps", detail: `runs ${name} and ${other} were active at once on the same bytes` }]
          : []
      )
    )
  }
}

const meet = (left: Range, right: Range): boolean =>
  left.start < right.start + right.byteCount && right.start < left.start + left.byteCount
