/** Whatever can be seen of an admission against the reference model, and the promises that need no model to be told. */
import type { Account } from "../../src/internal/core/account.ts"
import type { Admission } from "../../src/internal/core/admission.ts"
import { noChunk } from "../../src/internal/core/rangeAllocator.ts"
import type { Slot } from "../../src/internal/core/slot.ts"
import type { AdmissionModel, ModelAccount, ModelRun } from "./admissionModel.ts"
import { alike, holds } from "./alike.ts"
import { gaps, sum } from "./pieces.ts"

export interface OpenAccount {
  readonly real: Account
  readonly model: ModelAccount
}

export interface Running {
  readonly slot: Slot
  readonly model: ModelRun
}

/** Compares all that can be seen of an admission with its model. */
export const compareAdmission = (
  real: Admission,
  model: AdmissionModel,
  accounts: ReadonlyArray<OpenAccount>,
  running: ReadonlyArray<Running>
): void => {
  real.checkInvariants()
  alike(real.activeCount, model.runs.length, "how many are active")
  alike(running.length, model.runs.length, "whoever is active is known")
  alike(real.waitingCount, model.waiting.length, "how many wait")
  alike(real.waitingBytes, model.waitingBytes, "how many bytes they wait for")
  const taken = model.taken()
  const free = gaps(model.space, taken)
  alike(real.space.inUseBytes, sum(taken.map(({ byteCount }) => byteCount)), "what is taken of the chunks")
  alike(real.space.freeBytes(), sum(free), "what is free")
  alike(real.space.largestFreeBytes(), Math.max(0, ...free), "the largest free range")
  compareRuns(model, running)
  compareAccounts(real, model, accounts)
}

const compareRuns = (all: AdmissionModel, running: ReadonlyArray<Running>): void => {
  const extents: Array<{ readonly start: number; readonly end: number }> = []
  for (const { model, slot } of running) {
    alike(slot.index, model.slot, "the slot of a run")
    alike(slot.byteCount, model.totalBytes, "the bytes of a run")
    alike(slot.holder, model.holder, "the holder of a run")
    for (const [index, range] of slot.ranges.entries()) {
      const piece = model.pieces[index]
      alike(range.chunkIndex, piece === undefined ? noChunk : piece.chunk, "the chunk of a range")
      if (piece !== undefined) {
        alike(range.startBytes, piece.start, "where a range starts")
        alike(range.byteCount, piece.byteCount, "how long a range is")
        const start = slot.space!.address(range)
        alike(start % all.space.alignment, 0, "ranges are aligned in absolute address")
        extents.push({ start, end: start + range.byteCount })
      }
    }
  }
  extents.sort((left, right) => left.start - right.start)
  for (let index = 1; index < extents.length; index++) {
    holds(extents[index - 1]!.end <= extents[index]!.start, "ranges of active runs lie apart")
  }
}

const compareAccounts = (admission: Admission, all: AdmissionModel, accounts: ReadonlyArray<OpenAccount>): void => {
  alike(admission.accounts.size, accounts.length, "how many accounts are open")
  for (const { model, real } of accounts) {
    const inUse = all.inUse(model)
    alike(real.inUseBytes, inUse, "the bytes of an account")
    holds(inUse <= model.maxBytes, "a quota is never exceeded")
    alike(real.highWaterBytes, model.highWaterBytes, "the high water of an account")
    alike(
      real.activeCount,
      all.runs.filter(({ account }) => account === model).length,
      "the runs of an account"
    )
    alike(
      real.reservation?.range.chunkIndex ?? noChunk,
      model.reserved?.chunk ?? noChunk,
      "where its reservation lies"
    )
    if (model.reserved !== undefined) {
      alike(real.reservation!.range.startBytes, model.reserved.start, "where its reservation starts")
      const own = sum(all.takenOfOwn(model).map(({ byteCount }) => byteCount))
      alike(real.reservation!.space.inUseBytes, own, "what is taken of its reservation")
    }
  }
}
