/** Processes that tests start, talk to and end: each by its own id, and none outlives its test. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"

/** How a process ended, and what it wrote. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Child {
  readonly pid: number
  /** Waits for a line of standard output that begins so, and answers it. Dies where the process ends without it. */
  readonly line: (start: string) => Effect.Effect<string>
  /** Writes a line to standard input. */
  readonly send: (line: string) => Effect.Effect<void>
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
  readonly isRunning: () => boolean
}

export interface Options {
  readonly nodeOptions?: ReadonlyArray<string>
  readonly args?: ReadonlyArray<string>
  readonly environment?: Readonly<Record<string, string>>
  readonly folder?: string
}

/** No process of a test takes longer, however busy the machine. */
const deadline = "60 seconds"

/** Starts Node on a program. It is killed where it still runs when the scope closes. */
export const start = (program: string, options: Options = {}): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => spawnNode(program, options)),
      (process) => Effect.sync(() => hasEnded(process) ? false : process.kill("SIGKILL"))
    ),
    describe
  )

const hasEnded = (process: ChildProcess): boolean => process.exitCode !== null || process.signalCode !== null

const spawnNode = (program: string, { args = [], environment = {}, folder, nodeOptions = [] }: Options) => {
  // A process that dies on purpose leaves no core behind. The shell becomes Node, so the id is Node's.
  const command = [process.execPath, ...nodeOptions, program, ...args]
  const child = spawn("/bin/sh", ["-c", `ulimit -c 0; exec "$@"`, "sh", ...command], {
    cwd: folder,
    env: { ...process.env, NODE_OPTIONS: "", ...environment },
    stdio: ["pipe", "pipe", "pipe"]
  })
  // A process that was killed reads no more.
  child.stdin.on("error", () => {})
  return child
}

const describe = (process: ReturnType<typeof spawnNode>): Child => {
  const written = { stdout: "", stderr: "" }
  for (const stream of ["stdout", "stderr"] as const) {
    process[stream].setEncoding("utf8").on("data", (text: string) => {
      written[stream] += text
    })
  }
  const closed = once(process, "close")
  const name = () => `process ${process.pid}`
  const bounded = <A>(waiting: Effect.Effect<A>, what: string): Effect.Effect<A> =>
    Effect.timeoutFail(waiting, {
      duration: deadline,
      onTimeout: () =>
        new Error(
          `${name()} (${
            process.spawnargs.slice(4).join(" ")
          }) did not ${what} in time: ${written.stdout}${written.stderr}`
        )
    }).pipe(Effect.orDie)
  const find = (start: string) => written.stdout.split("\n").slice(0, -1).find((line) => line.startsWith(start))
  return {
    pid: process.pid!,
    line: (start) =>
      bounded(
        Effect.async<string>((resume) => {
          const look = () => {
            const line = find(start)
            if (line !== undefined) {
              resume(Effect.succeed(line))
            }
          }
          const gone = () => {
            look()
            resume(Effect.die(new Error(`${name()} ended without "${start}": ${written.stdout}${written.stderr}`)))
          }
          process.stdout.on("data", look)
          process.once("close", gone)
          look()
          return Effect.sync(() => {
            process.stdout.off("data", look)
            process.off("close", gone)
          })
        }),
        `write "${start}"`
      ),
    send: (line) => Effect.sync(() => void process.stdin.write(`${line}\n`)),
    kill: (signal) => Effect.sync(() => void process.kill(signal)),
    ended: bounded(
      Effect.promise(async () => {
        const [code, signal] = await closed as [number | null, NodeJS.Signals | null]
        return { code, signal, ...written }
      }),
      "end"
    ),
    isRunning: () => !hasEnded(process)
  }
}
