/** Mutants of what runs share: slots, the queue, child budgets, and a buffer that grows. */
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
    scenarios: ["gone while it waited"]
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
    scenarios: ["gone while it waited"]
  },
  {
    name: "run waits for itself",
    about: "A fiber may wait for the slot that it holds.",
    file: "internal/runner/admit.ts",
    find: "if (admission.waitsForItself(ticket)) {",
    replace: "if (account.isClosed && admission.waitsForItself(ticket)) {",
    scenarios: ["a run that would wait for itself"]
  },
  {
    name: "latest head first",
    about: "Of those that wait in one queue the one that came last is admitted first.",
    file: "internal/core/admission.ts",
    find: "    ticket.account.queue.push(ticket)\n",
    replace: "    ticket.account.queue.unshift(ticket)\n",
    scenarios: ["two runs queued"]
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
    name: "staging shared by all slots",
    about: "Every run stages in the first slot's memory, whoever has staged there already.",
    file: "internal/runner/state.ts",
    find: "return this.stagings[slot.index] ?? noStaging",
    replace: "return slot.index < this.stagings.length ? this.stagings[0] ?? noStaging : noStaging",
    scenarios: ["staged beside each other, and one fails"]
  },
  {
    name: "quota not looked at",
    about: "A run takes memory on behalf of a child budget however much that has already.",
    file: "internal/core/account.ts",
    find: "return this.inUseBytes + byteCount <= this.maxBytes",
    replace: "return byteCount <= this.maxBytes",
    scenarios: ["quota refused"]
  },
  {
    name: "bytes not given back to a child budget",
    about: "A child budget counts every run that it ever had.",
    file: "internal/core/account.ts",
    find: `    this.inUseBytes -= byteCount
`,
    replace: "",
    scenarios: ["quota refused"]
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
    scenarios: ["child budget closed under a run"]
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
    find: `  state.admission.resume({ measureAgain: state.epoch !== epoch || state.lifecycle._tag === "Unconfigured" })
`,
    replace: `  if (state.epoch !== epoch) {
    state.admission.resume({ measureAgain: true })
  }
`,
    scenarios: ["growth past one chunk"]
  },
  {
    name: "chunk forgotten that goes first",
    about: "The chunk that goes before the new one is made is taken off the books and not freed.",
    file: "internal/runner/configure.ts",
    find: `    const old = state.chunks
    state.install(previous, [])
    return freeChunks(state, old).pipe(`,
    replace: `    state.install(previous, [])
    return Effect.void.pipe(`,
    scenarios: ["growth past one chunk"]
  },
  {
    name: "admission paused for ever after a failure",
    about: "After chunks could not be exchanged nobody is admitted any more.",
    file: "internal/runner/configure.ts",
    find: `    settle(state, { isConfigured: Exit.isSuccess(exit) || wasReady, epoch })
`,
    replace: `    settle(state, { isConfigured: Exit.isSuccess(exit) || wasReady, epoch })
    if (Exit.isFailure(exit)) {
      state.admission.pause()
    }
`,
    scenarios: ["growth fails, and the run with it"]
  },
  {
    name: "old chunk forgotten after a failed growth",
    about: "When the larger chunk cannot be had, the one that there was is neither kept nor freed.",
    file: "internal/runner/growth.ts",
    find: "return Effect.flatMap(exchange(state, withChunk(state, wholeBytes)), () => {",
    replace: `const forget = Effect.sync(() => {
      state.counters.retainedBytes = 0
      state.install(withChunk(state, 0), [])
    })
    return Effect.flatMap(Effect.tapError(exchange(state, withChunk(state, wholeBytes)), () => forget), () => {`,
    scenarios: ["growth fails, and the run with it"]
  },
  {
    name: "new chunk forgotten when it cannot be cleared",
    about: "A chunk is counted once it is cleared, so that one that cannot be is forgotten.",
    file: "internal/runner/configure.ts",
    find: `        chunks.push({ address, byteCount })
        state.counters.retainedBytes += byteCount
        state.counters.mallocs += 1
        return clearMemory(state, address, byteCount, origin("clear"))
`,
    replace: `        return Effect.map(clearMemory(state, address, byteCount, origin("clear")), () => {
          chunks.push({ address, byteCount })
          state.counters.retainedBytes += byteCount
          state.counters.mallocs += 1
        })
`,
    scenarios: ["growth past one chunk"],
    only: "faults"
  },
  {
    name: "growth above the budget",
    about: "Old and new chunks are held at once although the budget has no room for both.",
    file: "internal/runner/configure.ts",
    find: "const bothFit = held + totalBytes(next) <= Math.max(previous.maxBytes, next.maxBytes)",
    replace: "const bothFit = totalBytes(next) <= Math.max(previous.maxBytes, next.maxBytes)",
    scenarios: ["growth past one chunk"]
  },
  {
    name: "trimmed chunk not freed",
    about: "The chunk that is trimmed is forgotten.",
    file: "internal/runner/growth.ts",
    find: "return Effect.flatMap(exchange(state, withChunk(state, kept)), () => {",
    replace: `const forget = Effect.sync(() => {
      state.counters.retainedBytes = 0
      state.install(withChunk(state, 0), [])
    })
    return Effect.flatMap(forget, () => {`,
    scenarios: ["trimmed while another waits"]
  }
]
