/**
 * The explorer of schedules at work on our own gate, lanes and runners: every way in which two or three fibers can take turns,
 * with up to three preemptions, as far as it goes.
 *
 *     npm run explore                               a line for each program
 *     npm run explore -- --json                     the same, and one line of JSON at the end
 *     npm run explore -- --long                     thirty times as many schedules of the programs on runners
 *     npm run explore -- --program "gate: two"      the programs whose names hold these words
 *
 * Exits with 1 where anything was found.
 */
import { parseArgs } from "node:util"
import { isClean, programs, share, summarize, wholePreemptions } from "./campaign.ts"
import { modelCampaign } from "./model.ts"
import { defectKinds } from "./program.ts"
import type { Explored } from "./tree.ts"
import { exploreApart, serve } from "./workers.ts"

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    long: { type: "boolean", default: false },
    program: { type: "string", default: "" },
    worker: { type: "boolean", default: false }
  }
})

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

const tell = (report: Explored): void => {
  const { defects, found, program, schedules, seconds } = report
  const whole = wholePreemptions(report)
  const reach = report.levels.every(({ isWhole }) => isWhole)
    ? "all"
    : `all with ${whole} preemptions, ${(100 * share(report)).toPrecision(2)} % of all`
  const wrong = defectKinds.filter((kind) => defects[kind] > 0).map((kind) => `${kind} ${defects[kind]}`)
  say(
    `${program.padEnd(84)} ${String(schedules).padStart(8)}  ${reach.padEnd(44)} ${
      wrong.length === 0 ? "clean" : wrong.join(", ")
    }  ${seconds.toFixed(1)} s`
  )
  for (const { detail, kind, schedule } of found) {
    say(`  ${kind}: ${detail}; first in "${schedule}"`)
  }
}

const campaign = async (): Promise<number> => {
  const names = programs.map(({ name }) => name).filter((name) => name.includes(values.program))
  if (names.length === 0) {
    say(`no program has "${values.program}" in its name; there are:\n${programs.map(({ name }) => name).join("\n")}`)
    return 1
  }
  const reports = await exploreApart(names, values.long, tell)
  const { commands, differences } = modelCampaign()
  const summary = { ...summarize(reports), modelCommands: commands, modelDifferences: differences }
  const clean = isClean(summary)
  say(values.json ? JSON.stringify(summary) : `${summary.schedules} schedules: ${clean ? "clean" : "not clean"}`)
  return clean ? 0 : 1
}

if (values.worker) {
  serve()
} else {
  process.exitCode = await campaign()
}
