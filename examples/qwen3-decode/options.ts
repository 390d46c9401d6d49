/** The command line of this example. */
import type * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Bytes } from "leasehold"
import { fileURLToPath } from "node:url"
import * as Sampler from "./sampler.ts"

/** An option whose value is refused with a sentence unless `accept` answers something. */
const refined = <A>(
  option: Options.Options<string>,
  accept: (value: string) => A | undefined,
  asked: string
): Options.Options<A> =>
  Options.mapEffect(option, (value) => {
    const accepted = accept(value)
    const name = Option.getOrElse(Options.getIdentifier(option), () => "")
    return accepted === undefined
      ? Effect.fail(
        ValidationError.invalidValue(HelpDoc.p(`The value "${value}" of ${name} is not possible: ${asked}.`))
      )
      : Effect.succeed(accepted)
  })

/** A number as people write it, within these bounds. */
const between = (least: number, most: number) => (value: string): number | undefined => {
  const number = /^-?\d+(\.\d+)?(e-?\d+)?$/i.test(value) ? Number(value) : NaN
  return number >= least && number <= most ? number : undefined
}

const wholeBetween = (least: number, most: number) => (value: string): number | undefined => {
  const number = between(least, most)(value)
  return Number.isInteger(number) ? number : undefined
}

const seedMax = 2 ** 32 - 1

export const options = {
  model: Options.text("model").pipe(
    Options.withPseudoName("folder"),
    Options.withDescription("A folder with config.json and model.safetensors of a byte-level Qwen3 model."),
    Options.withDefault(fileURLToPath(new URL("./model", import.meta.url)))
  ),
  backend: Options.choice("backend", ["simulator", "cuda"]).pipe(
    Options.withDescription("The device: the simulator, or the first GPU of NVIDIA's."),
    Options.withDefault("simulator" as const)
  ),
  prompt: Options.text("prompt").pipe(
    Options.withDescription("The text to go on from. Each of its UTF-8 bytes is a token."),
    Options.withDefault("And it came to pass")
  ),
  steps: refined(
    Options.text("steps").pipe(
      Options.withPseudoName("count"),
      Options.withDescription("How many tokens to decode."),
      Options.withDefault("64")
    ),
    wholeBetween(1, Number.MAX_SAFE_INTEGER),
    "it is a whole number of at least 1"
  ),
  budgetBytes: refined(
    Options.text("budget").pipe(
      Options.withPseudoName("size"),
      Options.withDescription("The device memory that is kept across runs, such as \"4 MiB\"."),
      Options.withDefault("4 MiB")
    ),
    (size) => Bytes.parse(size) || undefined,
    "it is a size above zero, such as \"4 MiB\"; the text is decoded with a zero budget in any case"
  ),
  temperature: refined(
    Options.text("temperature").pipe(
      Options.withPseudoName("number"),
      Options.withDescription("0 takes the likeliest token; 1 draws from the model's own distribution."),
      Options.withDefault("0")
    ),
    between(0, Sampler.temperatureMax),
    `it is a number from 0 to ${Sampler.temperatureMax}`
  ),
  seed: refined(
    Options.text("seed").pipe(
      Options.withPseudoName("number"),
      Options.withDescription("Where the temperature is above 0, the same seed gives the same text."),
      Options.withDefault("0")
    ),
    wholeBetween(0, seedMax),
    `it is a whole number from 0 to ${seedMax}`
  ),
  json: Options.boolean("json").pipe(
    Options.withDescription("Ends with one line of JSON on standard output; all else goes to standard error.")
  )
}

/** What the command line asks for. */
export type Request = Command.Command.ParseConfig<typeof options>
