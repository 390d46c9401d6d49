/** What a decode in two modes has shown: as a table for a person, and as one line of JSON for a program. */
import * as Either from "effect/Either"
import { Bytes, type RunnerStats } from "leasehold"
import { type Decoded, settlingRuns } from "./decode.ts"
import { ResultsDiffer } from "./errors.ts"
import { type Comparison, logitTolerance } from "./verify.ts"

export interface Report {
  readonly backend: string
  readonly budgetBytes: number
  readonly text: string
  /** Decoded from the retained buffer. */
  readonly budget: Decoded
  /** Decoded with a malloc and a free for each tensor. */
  readonly zero: Decoded
  readonly comparison: Comparison
}

/** What the steps cost that came after the first of their shape. */
interface Steady {
  readonly steps: number
  readonly deviceMallocs: number
  readonly deviceFrees: number
  readonly stageCalls: number
  readonly copyBackCalls: number
  readonly hostToDeviceBytes: number
  readonly deviceToHostBytes: number
  readonly medianNanos: number
}

const steady = ({ runNanos, settled, stats }: Decoded): Steady | undefined => {
  const steps = runNanos.length - settlingRuns
  if (settled === undefined || steps < 1) {
    return undefined
  }
  const counted = (counter: keyof RunnerStats.RunnerStats["device"]) => stats.device[counter] - settled.device[counter]
  return {
    steps,
    deviceMallocs: counted("mallocs"),
    deviceFrees: counted("frees"),
    stageCalls: counted("stageCalls"),
    copyBackCalls: counted("copyBackCalls"),
    hostToDeviceBytes: counted("hostToDeviceBytes"),
    deviceToHostBytes: counted("deviceToHostBytes"),
    medianNanos: median(runNanos.slice(settlingRuns))
  }
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** What the decode has shown, in sentences; or the failure that results differ. */
export const verdict = (report: Report): Either.Either<string, ResultsDiffer> => {
  const { differentChoices, maxAbsLogitError, matches } = report.comparison
  const distance = `at most ${maxAbsLogitError.toExponential(1)} from those of the float64 reference`
  if (!matches) {
    const detail = `The results are wrong: logits are ${distance}, where ${logitTolerance} is allowed, and ` +
      `${differentChoices} clear choices differ.`
    return Either.left(new ResultsDiffer({ reason: "Reference", detail }))
  }
  return sameTokens(report)
    ? Either.right(`Both modes chose the same tokens. All logits are ${distance}.${aboutTimes(report.backend)}`)
    : Either.left(
      new ResultsDiffer({ reason: "Modes", detail: "The results are wrong: the two modes chose different tokens." })
    )
}

const aboutTimes = (backend: string): string =>
  backend === "simulator"
    ? "\nThe simulator's mallocs are the host's and cost next to nothing; on a device each is a call to its driver."
    : ""

/** Whether both modes chose the same tokens. */
const sameTokens = ({ budget, zero }: Report): boolean =>
  budget.tokens.length === zero.tokens.length && budget.tokens.every((token, index) => token === zero.tokens[index])

/** The report as JSON. What was measured over no step at all is `null`. */
export const json = (report: Report): string => {
  const { budget, comparison, zero } = report
  const steadyState = steady(budget)
  const zeroBudget = steady(zero)
  const { highWaterBytes, paddingBytes, retainedBytes } = budget.stats.temporaryBuffer
  return JSON.stringify({
    backend: report.backend,
    tokens: budget.tokens,
    text: report.text,
    matchesReference: comparison.matches,
    maxAbsLogitError: comparison.maxAbsLogitError,
    budgetBytes: report.budgetBytes,
    retainedBytes,
    highWaterBytes,
    paddingBytes,
    steadyState: steadyState === undefined ? null : {
      steps: steadyState.steps,
      deviceMallocs: steadyState.deviceMallocs,
      deviceFrees: steadyState.deviceFrees,
      stageCallsPerStep: steadyState.stageCalls / steadyState.steps,
      copyBackCallsPerStep: steadyState.copyBackCalls / steadyState.steps,
      medianStepNanos: steadyState.medianNanos
    },
    zeroBudget: zeroBudget === undefined ? null : {
      steps: zeroBudget.steps,
      deviceMallocsPerStep: zeroBudget.deviceMallocs / zeroBudget.steps,
      deviceFreesPerStep: zeroBudget.deviceFrees / zeroBudget.steps,
      medianStepNanos: zeroBudget.medianNanos
    },
    sameTokensInBothModes: sameTokens(report)
  })
}

/** The report as a table. */
export const table = (report: Report): string => {
  const modes = [report.budget, report.zero]
  const perStep = (name: string, cell: (steady: Steady) => string) => [
    name,
    ...modes.map((mode) => {
      const figures = steady(mode)
      return figures === undefined ? "-" : cell(figures)
    })
  ]
  const buffer = (name: string, counter: "retainedBytes" | "highWaterBytes" | "paddingBytes") => [
    name,
    ...modes.map(({ stats }) => Bytes.format(stats.temporaryBuffer[counter]))
  ]
  return columns([
    ["", `budget ${Bytes.format(report.budgetBytes)}`, "zero budget"],
    perStep("device mallocs per step", ({ deviceMallocs, steps }) => mean(deviceMallocs, steps)),
    perStep("device frees per step", ({ deviceFrees, steps }) => mean(deviceFrees, steps)),
    perStep("calls to stage, per step", ({ stageCalls, steps }) => mean(stageCalls, steps)),
    perStep("calls to copy back, per step", ({ copyBackCalls, steps }) => mean(copyBackCalls, steps)),
    perStep("bytes to the device per step", ({ hostToDeviceBytes, steps }) => Bytes.format(hostToDeviceBytes / steps)),
    perStep("bytes to the host per step", ({ deviceToHostBytes, steps }) => Bytes.format(deviceToHostBytes / steps)),
    buffer("retained between runs", "retainedBytes"),
    buffer("high water of a run", "highWaterBytes"),
    buffer("padding in it", "paddingBytes"),
    ["weights and KV cache", ...modes.map(({ stats }) => Bytes.format(stats.residents.highWaterBytes))],
    perStep("time per step, median", ({ medianNanos }) => `${Math.round(medianNanos / 1000)} µs`)
  ])
}

/** A mean with at most two decimals. */
const mean = (total: number, count: number): string => String(Math.round(total / count * 100) / 100)

/** Lines of columns, the first flush left and the rest flush right. */
const columns = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) => row.map((cell, column) => pad(cell, widths[column]!, column)).join("  ").trimEnd())
    .join("\n")
}

const pad = (cell: string, width: number, column: number): string =>
  column === 0 ? cell.padEnd(width) : cell.padStart(width)
