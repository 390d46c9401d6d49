/** Mutants of admission, child budgets, growth and trimming. */
import type { Mutant } from "./mutant.ts"

export const admissionMutants: ReadonlyArray<Mutant> = [
  {
    name: "waiting run not woken",
    about: "Who gives a slot back does not look at who waits for it.",
    file: "internal/core/admission.ts",
    find: `    this.#gather()
    if (this.waitingCount > 0) {
      this.#pump()
    }
`,
    replace: `    this.#gather()
`,
    scenarios: ["two runs queued"]
  },
  {
    name: "slot kept by a run that no longer waits",
    about: "A run that is interrupted after it was admitted does not give its slot back.",
    file: "internal/core/admission.ts",
    find: `      ticket.state = "withdrawn"
      this.release(slot)
`,
    replace: `      ticket.state = "withdrawn"
`,
    scenarios: ["a resident closed under a run that waits"]
  },
  {
    name: "place kept by a run that no longer waits",
    about: "A run that is interrupted while it waits is admitted in its turn all the same, and nobody is there.",
    file: "internal/core/admission.ts",
    find: `      this.#leave(ticket, "withdrawn")
      this.#pump()
`,
    replace: "",
    scenarios: ["raced and lost in the queue"]
  },
  {
    name: "slot kept by a run that has ended",
    about: "A run ends without giving its slot back.",
    file: "internal/runner/beginRun.ts",
    find: `  state.admission.release(slot)
`,
    replace: "",
    scenarios: ["two runs queued"]
  },
  {
    name: "run not looked at again",
    about: "What a run waits with is not checked again when its turn has come.",
    file: "internal/runner/admit.ts",
    find: "const refusal = goneRefusal(state, request) ?? checkAgain(state, frame)",
    replace: "const refusal = goneRefusal(state, request)",
    scenarios: ["a resident closed under a run that waits"]
  },
  {
    name: "refused run not woken",
    about: "Those that wait when a runner closes lose their place, and nobody tells them.",
    file: "internal/core/admission.ts",
    find: `      this.#leave(ticket, "refused")
    }
    for (const ticket of refused) {
      ticket.wake()
    }
`,
    replace: `      this.#leave(ticket, "refused")
    }
`,
    scenarios: ["runner closed while queued"]
  },
  {
    name: "ranges cut from the start of their chunk",
    about: "Every run's range begins where its chunk does, whoever is there already.",
    file: "internal/core/rangeAllocator.ts",
    find: `    if (position === 0) {
      return`,
    replace: `    if (position >= 0) {
      return`,
    scenarios: ["two slots at once"]
  },
  {
    name: "bytes not given back to a child budget",
    about: "A child budget counts every run that it ever had.",
    file: "internal/core/account.ts",
    find: `    this.inUseBytes -= byteCount
`,
    replace: "",
    scenarios: ["two tenants"]
  },
  {
    name: "reservation not given back",
    about: "What a child budget has reserved is lost when it closes.",
    file: "internal/core/admission.ts",
    find: `      this.space.release(reservation.range)
      reservation.forget()
`,
    replace: `      reservation.forget()
`,
    scenarios: ["two tenants"]
  },
  {
    name: "old chunk forgotten after growth",
    about: "The chunk that a larger one took the place of is not freed.",
    file: "internal/runner/configure.ts",
    find: `    state.install(next, chunks)
    return freeChunks(state, old)
`,
    replace: `    state.install(next, chunks)
    return Effect.void
`,
    scenarios: ["growth past one chunk"]
  },
  {
    name: "growth fails and the run goes on",
    about: "A buffer that could not grow counts as one that has, so its run is asked to grow it for ever.",
    file: "internal/runner/admit.ts",
    find: "state.admission.endGrowth(ticket, Exit.isSuccess(exit))",
    replace: "state.admission.endGrowth(ticket, true)",
    scenarios: ["growth past one chunk"],
    only: "faults"
  },
  {
    name: "admission paused for ever",
    about: "After the chunks were exchanged nobody is admitted any more, unless the layout has changed.",
    file: "internal/runner/configure.ts",
    find: "  state.admission.resume({ measureAgain: state.epoch !== epoch })\n",
    replace: `  if (state.epoch !== epoch) {
    state.admission.resume({ measureAgain: true })
  }
`,
    scenarios: ["growth past one chunk"]
  },
  {
    name: "trim forgets the chunk",
    about: "What is trimmed is taken off the books and not freed.",
    file: "internal/runner/configure.ts",
    find: `    const old = state.chunks
    state.install(previous, [])
    return freeChunks(state, old).pipe(`,
    replace: `    state.install(previous, [])
    return Effect.void.pipe(`,
    scenarios: ["trimmed while another waits", "growth past one chunk"]
  }
]
