/** The benchmark's command line. */

export interface Options {
  /** End with one line of JSON. */
  readonly json: boolean
  /** One small workload and few rounds: whether the benchmark itself works. */
  readonly quick: boolean
}

export const usage = `npm run bench [-- --json] [-- --quick]

  --json   end with one line of JSON
  --quick  one small workload and few rounds, to see whether the benchmark works; its times mean nothing`

/** The options, or what is wrong with them. */
export const parse = (args: ReadonlyArray<string>): Options | string => {
  const unknown = args.find((arg) => arg !== "--json" && arg !== "--quick")
  return unknown === undefined
    ? { json: args.includes("--json"), quick: args.includes("--quick") }
    : `"${unknown}" is no option of the benchmark`
}
