/** The benchmark's command line. */
import { parseArgs } from "node:util"

export interface Options {
  /** End with one line of JSON. */
  readonly json: boolean
  /** One small workload and few rounds: whether the benchmark itself works. */
  readonly quick: boolean
  /** Only the sizes whose name holds this text; the other measurements are left out then. */
  readonly only: string | undefined
}

export const usage = `npm run bench [-- --json] [-- --quick] [-- --only TEXT]

  --json       end with one line of JSON
  --quick      one small workload and few rounds, to see whether the benchmark works; its times mean nothing
  --only TEXT  only the sizes whose name holds TEXT, such as "20 x 4096" or "64 x 64 B"`

/** The options, or what is wrong with them. `sizes` are the names that `--only` can choose from. */
export const parse = (args: ReadonlyArray<string>, sizes: ReadonlyArray<string>): Options | string => {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        json: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        only: { type: "string" }
      }
    })
    const { json, only, quick } = values
    return only === undefined || sizes.some((name) => name.includes(only))
      ? { json, quick, only }
      : `no size is named "${only}"; there are ${sizes.join(", ")}`
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
