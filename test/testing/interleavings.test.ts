/** The explorer of races finds what was planted, names it, replays it exactly, and finds nothing where there is nothing. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Schedule, Scope } from "effect"
import { Arg, Callable, DeviceRunner, Simulator } from "leasehold"
import { Interleavings } from "leasehold/testing"

const backend = Simulator.layer({ totalBytes: "4 MiB", longCalls: "inline" })

/** Programs that need no device. */
const bare = { backend, layer: Layer.empty, forms: ["effects"] } as const

const runnerLayer = DeviceRunner.layer({
  temporaryBuffer: { maxBytes: "4 KiB" },
  residentMaxBytes: "4 KiB"
})

/** Adds one in two steps, with nothing in between that would let others in. */
const increment = (counter: { count: number }): Effect.Effect<void> =>
  Effect.flatMap(
    Effect.sync(() => counter.count),
    (count) =>
      Effect.sync(() => {
        counter.count = count + 1
      })
  )

/** Two or more fibers add one each. Answers the sum. */
const counting = (names: ReadonlyArray<string>): Effect.Effect<number> =>
  Effect.suspend(() => {
    const counter = { count: 0 }
    const each = names.map((name): [string, Effect.Effect<void>] => [name, increment(counter)])
    return Effect.map(Interleavings.together(Object.fromEntries(each)), () => counter.count)
  })

const is = (value: number) => (exit: Exit.Exit<number, unknown>): boolean =>
  Exit.isSuccess(exit) && exit.value === value

interface Lock {
  readonly enter: Effect.Effect<void>
  readonly leave: Effect.Effect<void>
}

/** A gate in a few lines. Whoever finds it busy waits, and decides so in one step or in two. */
const makeLock = (looksAgain: boolean): Lock => {
  let busy = false
  const waiting: Array<() => void> = []
  return {
    enter: Effect.suspend(() => {
      if (!busy) {
        busy = true
        return Effect.void
      }
      return Effect.async<void>((resume) => {
        if (looksAgain && !busy) {
          busy = true
          resume(Effect.void)
        } else {
          waiting.push(() => resume(Effect.void))
        }
      })
    }),
    leave: Effect.sync(() => {
      const next = waiting.shift()
      if (next === undefined) {
        busy = false
      } else {
        next()
      }
    })
  }
}

/** Two fibers pass a lock. Answers the most that were inside at once. */
const passing = (looksAgain: boolean): Effect.Effect<number> =>
  Effect.suspend(() => {
    const lock = makeLock(looksAgain)
    const inside = { now: 0, most: 0 }
    const pass = Effect.zipRight(
      lock.enter,
      Effect.zipRight(
        Effect.sync(() => {
          inside.now += 1
          inside.most = Math.max(inside.most, inside.now)
        }),
        Effect.sync(() => {
          inside.now -= 1
        })
      )
    ).pipe(Effect.zipRight(lock.leave))
    return Effect.map(Interleavings.together({ left: pass, right: pass }), () => inside.most)
  })

const onlyFailure = (report: Interleavings.Report): Interleavings.Failure => {
  assert.strictEqual(report.failures.length, 1, Interleavings.render(report))
  return report.failures[0]!
}

/** Two fibers take two locks, in opposite orders or in the same. */
const locking = (orders: readonly [ReadonlyArray<0 | 1>, ReadonlyArray<0 | 1>]): Effect.Effect<void> =>
  Effect.suspend(() => {
    const locks = [makeLock(true), makeLock(true)] as const
    const take = (order: ReadonlyArray<0 | 1>): Effect.Effect<void> =>
      Effect.zipRight(
        Effect.forEach(order, (index) => locks[index].enter, { discard: true }),
        Effect.forEach(order, (index) => locks[index].leave, { discard: true })
      )
    return Effect.asVoid(Interleavings.together({ payer: take(orders[0]), payee: take(orders[1]) }))
  })

describe("drawn schedules", () => {
  it.effect("come to one in which an update is lost, although nobody yields", () =>
    Effect.gen(function*() {
      const cases = [["random", ["a", "b"]], ["random", ["a", "b", "c"]], ["pct", ["a", "b"]], ["pct", [
        "a",
        "b",
        "c"
      ]]] as const
      for (const [strategy, names] of cases) {
        const report = yield* Interleavings.run(counting(names), {
          ...bare,
          strategies: [strategy],
          scheduleCount: 200,
          accepts: is(names.length)
        })
        const failure = onlyFailure(report)
        assert.strictEqual(failure.verdict, "UnexpectedExit")
        assert.strictEqual(report.fiberCount, names.length)
        assert.match(
          failure.foundBy,
          strategy === "random" ? /^effects random=1,\d+,0.05$/ : /^effects pct=1,\d+,3,\d+$/
        )
        // Of all the choices that were drawn a few are left.
        assert.match(failure.schedule, /^effects( (step|task)=\d+,\d+){1,3}$/)
        console.log(`a lost update of ${names.length} fibers: ${failure.foundBy}, ${failure.schedule}`)
      }
    }))

  it.effect("do not come to it where nobody is preempted, and stay clean", () =>
    Effect.gen(function*() {
      const options = { ...bare, accepts: is(2), scheduleCount: 100 }
      const drawn = yield* Interleavings.assertClean(counting(["a", "b"]), {
        ...options,
        strategies: ["random"],
        yieldProbability: 0
      })
      assert.strictEqual(
        Interleavings.summary(drawn),
        "100 schedules of 2 fibers (random 100): clean"
      )
      assert.deepStrictEqual(drawn.endings, { succeeded: 100 })
      assert.isAtLeast(drawn.distinctCount, 2, "who comes first is drawn all the same")
      // Priorities that never change preempt nobody in the middle.
      yield* Interleavings.assertClean(counting(["a", "b"]), { ...options, strategies: ["pct"], depth: 1 })
    }))

  it.effect("find a lost update with every seed, within the schedules that are drawn by default", () =>
    Effect.gen(function*() {
      const indices: Array<number> = []
      for (let seed = 1; seed <= 10; seed++) {
        const report = yield* Interleavings.run(counting(["a", "b"]), { ...bare, seed, accepts: is(2) })
        assert.strictEqual(onlyFailure(report).verdict, "UnexpectedExit")
        indices.push(report.scheduleCount)
      }
      console.log(`a lost update of 2 fibers, by 10 seeds: found by schedule ${indices.join(", ")}`)
    }))
})

describe("all schedules", () => {
  it.effect("have one in which a wake-up is lost between two steps, and it takes two preemptions", () =>
    Effect.gen(function*() {
      const options = { ...bare, strategies: ["exhaustive"], accepts: is(1), patience: "20 millis" } as const
      const one = yield* Interleavings.assertClean(passing(false), { ...options, preemptions: 1 })
      assert.isTrue(one.isExhausted)
      const two = yield* Interleavings.run(passing(false), { ...options, preemptions: 2 })
      const failure = onlyFailure(two)
      assert.strictEqual(failure.verdict, "Stuck")
      assert.match(failure.detail, /^nothing is left to do, and these wait for ever: "program", "(left|right)"$/)
      assert.match(failure.schedule, /^effects step=\d+,0 step=\d+,0$/)
      console.log(
        `a lost wake-up: none in ${Interleavings.summary(one)}; then ${two.scheduleCount}: ${failure.schedule}`
      )
    }))

  it.effect("of a gate that looks again lose none", () =>
    Effect.gen(function*() {
      const report = yield* Interleavings.assertClean(passing(true), {
        ...bare,
        strategies: ["exhaustive"],
        accepts: is(1)
      })
      assert.isTrue(report.isExhausted)
      assert.strictEqual(report.scheduleCount, report.knownCount)
      assert.match(
        Interleavings.summary(report),
        /^([\d,]+) schedules of 2 fibers \(all \1 with at most 2 preemptions\): clean$/
      )
      console.log(`a gate that looks again: ${Interleavings.summary(report)}, ${report.distinctCount} distinct`)
    }))

  it.effect("are as many as can be counted by hand", () =>
    Effect.gen(function*() {
      // Each fiber is one step. What is left to choose is who of them goes first.
      const order: Array<string> = []
      const say = (name: string) => Effect.sync(() => void order.push(name))
      const program = Effect.zipRight(
        Effect.sync(() => void order.splice(0)),
        Effect.map(Interleavings.together({ a: say("a"), b: say("b"), c: say("c") }), () => order.join(""))
      )
      const seen = new Set<string>()
      yield* Interleavings.assertClean(program, {
        ...bare,
        strategies: ["exhaustive"],
        preemptions: 0,
        accepts: (exit) => {
          assert.isTrue(Exit.isSuccess(exit))
          seen.add(Exit.isSuccess(exit) ? exit.value : "")
          return true
        }
      })
      assert.deepStrictEqual([...seen].toSorted(), ["abc", "acb", "bac", "bca", "cab", "cba"])
    }))

  it.effect("say so when they are not all", () =>
    Effect.gen(function*() {
      const report = yield* Interleavings.assertClean(passing(true), {
        ...bare,
        strategies: ["exhaustive"],
        accepts: is(1),
        maxScheduleCount: 100
      })
      assert.isFalse(report.isExhausted)
      assert.strictEqual(report.exhaustiveCount, 100)
      assert.isAbove(report.knownCount, 100)
      assert.include(
        Interleavings.summary(report),
        `100 of at least ${report.knownCount.toLocaleString("en-US")} with at most 2 preemptions`
      )
    }))
})

describe("a schedule that fails", () => {
  it.effect("is replayed exactly, by the name of what found it and by its shortest", () =>
    Effect.gen(function*() {
      const options = { ...bare, accepts: is(3) }
      const program = counting(["a", "b", "c"])
      const found = onlyFailure(yield* Interleavings.run(program, options))
      for (const only of [found.foundBy, found.schedule]) {
        const reports = yield* Effect.replicateEffect(Interleavings.run(program, { ...options, only }), 3)
        for (const report of reports) {
          assert.strictEqual(report.scheduleCount, 1)
          assert.strictEqual(onlyFailure(report).verdict, found.verdict)
          assert.strictEqual(onlyFailure(report).detail, found.detail)
          assert.strictEqual(report.traceHash, reports[0]!.traceHash)
        }
      }
    }))

  it.effect("fails the assertion with a page that tells who did what, and how to see it again", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Interleavings.assertClean(counting(["reader", "writer"]), {
        ...bare,
        name: "counting",
        accepts: is(2)
      }))
      if (error._tag !== "InterleavingsFailed") {
        throw error
      }
      assert.deepStrictEqual(error.verdicts, ["UnexpectedExit"])
      for (
        const line of [
          /^counting: \d+ schedules? of 2 fibers \(.+\): UnexpectedExit once$/m,
          /^UnexpectedExit: it succeeded, which is not how it may end$/m,
          /^ {2}program: {2}counting, seed 1, \d+ schedules? tried$/m,
          /^ {2}account: {2}0 B of device memory and 0 B of host memory are held$/m,
          /^ {4}"(reader|writer)" takes \d+ steps? and is preempted$/m,
          /^ {4}"(reader|writer)" takes \d+ steps? and ends$/m,
          /^ {2}replay: {3}Interleavings.assertClean\(program, \{ ...options, only: "effects step=.+" \}\)$/m
        ]
      ) {
        assert.match(error.message, line)
      }
    }))

  it.effect("names those who wait for each other", () =>
    Effect.gen(function*() {
      const options = { ...bare, patience: "20 millis" } as const
      const report = yield* Interleavings.run(locking([[0, 1], [1, 0]]), options)
      const failure = onlyFailure(report)
      assert.strictEqual(failure.verdict, "Stuck")
      assert.include(failure.detail, `wait for ever: "program", "payer", "payee"`)
      yield* Interleavings.assertClean(locking([[0, 1], [0, 1]]), options)
    }))

  it.effect("is one that does not end because it is always at work", () =>
    Effect.gen(function*() {
      const spin = (flag: { isUp: boolean }): Effect.Effect<void> =>
        Effect.suspend(() => flag.isUp ? Effect.void : Effect.zipRight(Effect.yieldNow(), spin(flag)))
      const program = (isRaised: boolean) =>
        Effect.suspend(() => {
          const flag = { isUp: false }
          return Interleavings.together({
            spinner: spin(flag),
            raiser: isRaised
              ? Effect.sync(() => void (flag.isUp = true))
              : Effect.void
          })
        })
      const endless = onlyFailure(yield* Interleavings.run(program(false), bare))
      assert.strictEqual(endless.verdict, "Stuck")
      assert.match(endless.detail, /^the program was given up after \d+ steps; still at work: "program", "spinner"$/)
      // Whoever yields lets others go on, whatever the priorities are.
      yield* Interleavings.assertClean(program(true), { ...bare, scheduleCount: 100 })
    }))

  it.effect("is one that ends in a failure, unless that is said to be right", () =>
    Effect.gen(function*() {
      // The second to come is refused.
      const program = Effect.suspend(() => {
        let taken = false
        const take = Effect.suspend(() => {
          const wasTaken = taken
          taken = true
          return wasTaken ? Effect.fail("refused") : Effect.void
        })
        return Interleavings.together({ a: take, b: take })
      })
      const failure = onlyFailure(yield* Interleavings.run(program, bare))
      assert.strictEqual(failure.detail, "it failed: Error: refused, which is not how it may end")
      assert.strictEqual(failure.foundBy, "effects undisturbed")
      const report = yield* Interleavings.assertClean(program, { ...bare, accepts: Exit.isFailure })
      assert.deepStrictEqual(report.endings, { "failed with an error": 400 })
    }))

  it.effect("is nondeterministic where it is not the schedule that decides", () =>
    Effect.gen(function*() {
      let count = 0
      const drifting = Effect.suspend(() => Effect.repeatN(Effect.void, count++))
      assert.strictEqual(onlyFailure(yield* Interleavings.run(drifting, bare)).verdict, "Nondeterministic")
      // It settles, and goes wrong once, whatever the schedule.
      let trials = 0
      const moody = Effect.zipRight(
        Interleavings.together({ a: Effect.void, b: Effect.void }),
        Effect.suspend(() => trials++ === 30 ? Effect.fail("moody") : Effect.void)
      )
      const failure = onlyFailure(yield* Interleavings.run(moody, bare))
      assert.strictEqual(failure.verdict, "Nondeterministic")
      assert.match(failure.detail, /^"effects random=1,\d+,0.05" gave UnexpectedExit at first, and nothing when/)
    }))

  it.effect("is refused by name where it is none", () =>
    Effect.gen(function*() {
      for (
        const only of [
          "",
          "effects",
          "sometimes undisturbed",
          "effects step=1",
          "effects random=1,2",
          "effects pct=1,,3,4"
        ]
      ) {
        const exit = yield* Effect.exit(Interleavings.run(Effect.void, { ...bare, only }))
        assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die", only)
      }
      const gone = onlyFailure(
        yield* Interleavings.run(counting(["a", "b"]), { ...bare, accepts: is(2), only: "effects step=100000,0" })
      )
      assert.strictEqual(gone.verdict, "Nondeterministic")
    }))
})

/**
 * Two fibers share one tensor. Who looks before the other has allocated allocates a second one, which is forgotten, unless
 * it looks again.
 */
const sharing = (isGuarded: boolean) =>
  Effect.gen(function*() {
    const runner = yield* DeviceRunner.DeviceRunner
    const cache: { scope?: Scope.CloseableScope } = {}
    const fill = Effect.gen(function*() {
      if (cache.scope === undefined) {
        const scope = yield* Scope.make()
        if (isGuarded && cache.scope !== undefined) {
          return
        }
        cache.scope = scope
        yield* Scope.extend(runner.allocate("float32", [16]), scope)
      }
    })
    yield* Interleavings.together({ first: fill, second: fill })
    yield* Scope.close(cache.scope!, Exit.void)
  })

describe("a runner under the explorer", () => {
  const square = Callable.make({
    signature: { x: Arg.input("float32", [4]), y: Arg.output("float32", [4]) },
    launch: (context) => Effect.flatMap(context.read("x"), (x) => context.write("y", x.map((value) => value * value)))
  })

  const tenant = (value: number) =>
    Effect.gen(function*() {
      const runner = yield* DeviceRunner.DeviceRunner
      const y = new Float32Array(4)
      yield* Effect.retry(runner.run(square, { x: new Float32Array(4).fill(value), y }), {
        while: (error) => error._tag === "RunAlreadyActive",
        schedule: Schedule.spaced("1 millis")
      })
      return y[3]
    })

  it.effect("is judged by its account: what is held when the program has ended is a leak", () =>
    Effect.gen(function*() {
      const options = { backend, layer: runnerLayer, name: "cache" }
      const failure = onlyFailure(yield* Interleavings.run(sharing(false), options))
      assert.strictEqual(failure.verdict, "Leaked")
      assert.include(failure.detail, "64 B of device memory for resident")
      assert.include(failure.page, "left open: ")
      assert.match(
        failure.page,
        /"(first|second)" takes \d+ steps and .+: malloc for resident \(float32 \[16\]\); submit/
      )
      yield* Interleavings.assertClean(sharing(true), options)
    }))

  it.effect("is clean in both forms, and gives each run its own bytes", () =>
    Effect.gen(function*() {
      const report = yield* Interleavings.assertClean(
        Interleavings.together({ a: tenant(1), b: tenant(2), c: tenant(3) }),
        {
          backend,
          layer: runnerLayer,
          scheduleCount: 100,
          comparesOutputs: true,
          accepts: (exit) => Exit.isSuccess(exit) && exit.value.a === 1 && exit.value.b === 4 && exit.value.c === 9
        }
      )
      assert.strictEqual(Interleavings.summary(report), "200 schedules of 3 fibers (random 150, PCT 50): clean")
      assert.isAtLeast(report.distinctCount, 95, "nearly every schedule of a form is another one")
    }))

  it.effect("has an invariant of the user's, which is looked at under every schedule", () =>
    Effect.gen(function*() {
      let lookedCount = 0
      const invariant = Effect.gen(function*() {
        const runner = yield* DeviceRunner.DeviceRunner
        lookedCount += 1
        const { runs } = yield* runner.stats
        return yield* runs.refused === 0 ? Effect.void : Effect.fail(`${runs.refused} runs were refused`)
      })
      const failure = onlyFailure(
        yield* Interleavings.run(Interleavings.together({ a: tenant(1), b: tenant(2) }), {
          backend,
          layer: runnerLayer,
          forms: ["effects"],
          invariant
        })
      )
      assert.strictEqual(failure.verdict, "InvariantBroken")
      assert.match(failure.detail, /1 runs were refused/)
      assert.isAbove(lookedCount, 2)
    }))
})

describe("fibers together", () => {
  it.effect("answer by name, fail when one fails after all have ended, and are interrupted with who waits", () =>
    Effect.gen(function*() {
      const none: Record<string, Effect.Effect<void>> = {}
      assert.deepStrictEqual(yield* Interleavings.together(none), {})
      const answers = yield* Interleavings.together({ one: Effect.succeed(1), two: Effect.succeed("2") })
      assert.deepStrictEqual(answers, { one: 1, two: "2" })
      let ended = false
      const slow = Effect.zipRight(Effect.yieldNow(), Effect.sync(() => void (ended = true)))
      assert.strictEqual(yield* Effect.flip(Interleavings.together({ a: Effect.fail("no"), slow })), "no")
      assert.isTrue(ended)
      let wasInterrupted = false
      const begun = yield* Deferred.make<void>()
      const waiting = Effect.onInterrupt(
        Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
        () => Effect.sync(() => void (wasInterrupted = true))
      )
      const fiber = yield* Effect.fork(Interleavings.together({ waiting }))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(wasInterrupted)
    }))
})
