/** The ways in which a process dies, the phases in which it does, and how it should look from outside. */

/** Where in its work a process is. */
export const phases = ["before configure", "bound", "in a launch", "in copy back", "between runs", "closing"] as const
export type Phase = (typeof phases)[number]

/** What it works on: the simulator, which answers at once or late, or the CUDA backend. */
export const devices = ["immediate", "late", "cuda"] as const
export type Device = (typeof devices)[number]

/** In these phases a native call is in flight. */
export const phasesWithCall: ReadonlyArray<Phase> = ["in a launch", "in copy back", "closing"]

export interface Way {
  readonly name: string
  /** The signal that is sent, or the line that is written to its standard input. */
  readonly signal?: NodeJS.Signals
  readonly order?: string
  /** How its parent sees it end. */
  readonly code: number | null
  readonly endSignal: NodeJS.Signals | null
  /** Whether it closes everything first. */
  readonly isGraceful: boolean
}

const killed = (signal: NodeJS.Signals): Way => ({
  name: signal,
  signal,
  code: null,
  endSignal: signal,
  isGraceful: false
})

/** `NodeRuntime.runMain` ends with 0 when it was asked to end and did. */
const asked = (signal: NodeJS.Signals): Way => ({ name: signal, signal, code: 0, endSignal: null, isGraceful: true })

export const ways: ReadonlyArray<Way> = [
  asked("SIGTERM"),
  asked("SIGINT"),
  killed("SIGHUP"),
  killed("SIGKILL"),
  { name: "process.exit", order: "exit", code: 23, endSignal: null, isGraceful: false },
  { name: "uncaught exception", order: "throw", code: 1, endSignal: null, isGraceful: false },
  { name: "native crash", order: "crash", code: null, endSignal: "SIGSEGV", isGraceful: false }
]
