/** The mutants that the programme of tests asks for, by the names that it gives them. */
import type { Mutant } from "./mutant.ts"

/** The names that the programme asks for. */
export const askedFor = [
  "alloc then addFinalizer",
  "begin outside bracket",
  "end twice",
  "release error escapes",
  "first release failure stops the rest",
  "release in wrong order",
  "retained chunk forgotten after failed grow",
  "budget not given back on failed alloc",
  "generation not bumped",
  "interruptible native call",
  "missing in-flight wait",
  "32-bit alignment",
  "D2H of aligned instead of logical size",
  "poison not set on fatal code",
  "waiter not woken when an awakened waiter is interrupted"
] as const

/** What the programme asks for and today's runner has no place for, each with the reason. */
export const missingMutants: ReadonlyArray<{ readonly name: (typeof askedFor)[number]; readonly reason: string }> = []

export const askedForMutants: ReadonlyArray<Mutant> = [
  {
    name: "alloc then addFinalizer",
    about: "A resident is allocated first and its release is registered in a step of its own.",
    file: "internal/runner/residents.ts",
    find: "Effect.acquireRelease(acquire(state, dtype, shape), (record) => releaseResident(state, record))",
    replace:
      "Effect.tap(acquire(state, dtype, shape), (record) => Effect.addFinalizer(() => releaseResident(state, record)))",
    scenarios: ["resident upload and download"]
  },
  {
    name: "begin outside bracket",
    about: "A run begins before the bracket that ends it.",
    file: "internal/runner/run.ts",
    find: "Effect.flatMap(acquire({ restore, isInterruptible }), (active) =>",
    replace: "Effect.flatMap(restore(acquire({ restore, isInterruptible })), (active) =>",
    scenarios: ["buffer no-op leases, awaited"]
  },
  {
    name: "end twice",
    about: "The end of a run is not idempotent: validate ends it, and its bracket ends it again.",
    file: "internal/runner/beginRun.ts",
    find: `  if (run.phase === "Ended") {
    return
  }
  const { frame, slot, tables } = run
  assert(state.runs[slot.index] === run, "the run that ends is the one that holds its slot")
  assert(tables.leases.heldFreeCount === 0, "what was malloc'd for a run is settled before it ends")
  run.phase = "Ended"
`,
    replace: `  const { frame, slot, tables } = run
`,
    scenarios: ["buffer no-op leases, awaited"]
  },
  {
    name: "release error escapes",
    about: "A release that fails fails whoever releases.",
    file: "internal/runner/calls.ts",
    find: "const ended = Effect.map(Effect.exit(call(state, effect)), statusOf)",
    replace: "const ended = Effect.as(Effect.orDie(call(state, effect)), Status.Ok)",
    scenarios: ["free leases"],
    only: "faults"
  },
  {
    name: "first release failure stops the rest",
    about: "Chunks are given back until the device refuses one.",
    file: "internal/runner/configure.ts",
    find:
      "Effect.forEach(chunks.toReversed(), (chunk) => state.lanes.exclusively(freeChunk(state, chunk)), { discard: true })",
    replace: `Effect.asVoid(Effect.every(chunks.toReversed(), (chunk) => {
    const failures = state.counters.releaseFailures
    return Effect.map(state.lanes.exclusively(freeChunk(state, chunk)), () => state.counters.releaseFailures === failures)
  }))`,
    scenarios: ["two chunks instead of one"],
    only: "faults"
  },
  {
    name: "release in wrong order",
    about: "What was malloc'd for a run is freed from the oldest to the newest.",
    file: "internal/core/leaseTable.ts",
    find: "for (let index = this.#searchFrom; index >= 0; index--) {",
    replace: "for (let index = 0; index < this.count; index++) {",
    scenarios: ["leases freed newest first"]
  },
  {
    name: "retained chunk forgotten after failed grow",
    about:
      "The old chunks are let go before the new ones are there, and nobody takes them back when those cannot be had.",
    file: "internal/runner/configure.ts",
    find: `  Effect.flatMap(makeChunks(state, next), (chunks) => {
    const old = state.chunks
    state.install(next, chunks)
    return freeChunks(state, old)
  })`,
    replace: `  Effect.suspend(() => {
    const old = state.chunks
    state.install(state.configuration, [])
    return Effect.flatMap(makeChunks(state, next), (chunks) => {
      state.install(next, chunks)
      return freeChunks(state, old)
    })
  })`,
    scenarios: ["two chunks instead of one"],
    only: "faults"
  },
  {
    name: "budget not given back on failed alloc",
    about: "A resident that the device refuses keeps its share of the budget.",
    file: "internal/runner/residents.ts",
    find:
      `          Effect.onError(mallocCleared(state, allocatedBytes, describeTensor({ dtype, shape })), () => giveBack),
          record`,
    replace: `          mallocCleared(state, allocatedBytes, describeTensor({ dtype, shape })),
          record`,
    scenarios: ["resident upload and download"],
    only: "faults"
  },
  {
    name: "generation not bumped",
    about: "Every run has the generation of the one before.",
    file: "internal/runner/beginRun.ts",
    find: "  state.generation += 1\n",
    replace: "",
    scenarios: ["an old handle"]
  },
  {
    name: "interruptible native call",
    about: "Whoever is interrupted leaves a call in flight behind and goes on to release what it uses.",
    file: "internal/runner/calls.ts",
    find: "    return observed(state, work(), options.explain)\n",
    replace: "    return Effect.interruptible(Effect.disconnect(observed(state, work(), options.explain)))\n",
    scenarios: ["free leases"],
    forms: ["delayed"]
  },
  {
    name: "missing in-flight wait",
    about: "A resident is freed without waiting for the runs that use it.",
    file: "internal/runner/residents.ts",
    find: "return state.until(() => !state.isInUse(record)).pipe(",
    replace: "return Effect.void.pipe(",
    scenarios: ["resident closed while a run uses it"]
  },
  {
    name: "32-bit alignment",
    about: "Sizes and addresses are rounded up with bit operators.",
    file: "internal/core/sizes.ts",
    find: `  const remainder = value % alignment
  return remainder === 0 ? value : add(value, alignment - remainder)`,
    replace: "  return (value + alignment - 1) & ~(alignment - 1)",
    scenarios: ["sizes beyond 32 bits"]
  },
  {
    name: "D2H of aligned instead of logical size",
    about: "An output is copied back with the padding of its slice.",
    file: "internal/runner/moves.ts",
    find: "const entry = { name, kind: TransferKind.copyOut, source: onDevice(layout, tensor), byteCount }",
    replace: `const padded = alignUp(byteCount, layout.rules.alignmentBytes)
    const entry = { name, kind: TransferKind.copyOut, source: onDevice(layout, tensor), byteCount: padded }`,
    scenarios: ["output inside a larger buffer"]
  },
  {
    name: "poison not set on fatal code",
    about: "Only negative codes are taken for fatal, so a runner goes on with a device that is lost.",
    file: "internal/runner/state.ts",
    find: "if (isSticky(error.status)) {",
    replace: "if (isSticky(error.status) && error.status < 0) {",
    scenarios: ["buffer no-op leases, inline"],
    only: "faults"
  },
  {
    name: "waiter not woken when an awakened waiter is interrupted",
    about: "Whoever waits at the gate may be interrupted, and then keeps the gate that it was handed.",
    file: "internal/runner/gate.ts",
    find: "Effect.zipRight(this.#wait, inside)",
    replace: "Effect.zipRight(Effect.interruptible(this.#wait), inside)",
    scenarios: ["waiting for each other"],
    forms: ["delayed"]
  }
]
