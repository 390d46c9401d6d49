/**
 * What a run costs, side by side with what people do without Leasehold.
 *
 *     npm run bench                          a table for each size, then the targets
 *     npm run bench -- --json                the same, and one line of JSON at the end
 *     npm run bench -- --only "20 x 4096 B"  one size
 *     npm run bench -- --quick               whether the benchmark works
 *
 * Everything is measured in one process and turn by turn; read the ratios, not the times. A target that is missed is
 * reported, and is no failure.
 */
import * as Effect from "effect/Effect"
import { bench } from "./bench.ts"
import { allSizes, nameOf } from "./cases.ts"
import { parse, usage } from "./options.ts"
import { sizeTable, summary } from "./table.ts"

const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

const progress = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

const options = parse(process.argv.slice(2), allSizes.map(nameOf))
if (typeof options === "string") {
  process.stderr.write(`${options}\n\n${usage}\n`)
  process.exitCode = 2
} else {
  const report = await Effect.runPromise(bench(options, { progress, measured: (cases) => print(sizeTable(cases)) }))
  print(summary(report))
  if (options.json) {
    print(JSON.stringify(report))
  }
}
