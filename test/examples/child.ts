/** Runs an example the way a user does: as a process of its own, from the root of the repository. */
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

/** How a process ended, and what it wrote. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A process, and what it has written so far. */
export interface Running {
  readonly child: ChildProcess
  readonly output: () => { readonly stdout: string; readonly stderr: string }
}

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Starts `examples/<name>`. */
export const start = (
  name: string,
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>> = {}
): Running => {
  const child = spawn(process.execPath, ["--import", "tsx", `examples/${name}`, ...args], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"]
  })
  const written = { stdout: "", stderr: "" }
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (text: string) => {
      written[stream] += text
    })
  }
  return { child, output: () => written }
}

/** Waits until a process has ended. */
export const ended = ({ child, output }: Running): Effect.Effect<Ended> =>
  Effect.async<Ended>((resume) => {
    const answer = (code: number | null) => resume(Effect.sync(() => ({ code, ...output() })))
    child.once("close", answer)
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** Processes at a time: each keeps a core busy while it starts. */
const turn = Effect.unsafeMakeSemaphore(2)

/** Runs `examples/<name>` to its end. */
export const run = (
  name: string,
  args: ReadonlyArray<string> = [],
  environment: Readonly<Record<string, string>> = {}
): Effect.Effect<Ended> => turn.withPermits(1)(Effect.suspend(() => ended(start(name, args, environment))))

/** Checks that a process failed as it should: a non-zero code, sentences on standard error, no trace of its stack. */
export const failure = ({ code, stderr }: Ended): string => {
  if (code === 0 || code === null) {
    throw new Error(`it should have failed, but its code is ${code}`)
  }
  if (/^\s+at /m.test(stderr)) {
    throw new Error(`it shows its stack: ${stderr}`)
  }
  return stderr.trim()
}
