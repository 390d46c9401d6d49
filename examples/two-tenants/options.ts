/** The command line of this example. */
import type * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Effect from "effect/Effect"
import { Bytes } from "leasehold"

/** An option whose value is refused with a sentence unless `accept` answers something. */
const refined = <A>(
  name: string,
  about: { readonly description: string; readonly pseudoName: string; readonly default: string },
  accept: (value: string) => A | undefined,
  asked: string
): Options.Options<A> =>
  Options.text(name).pipe(
    Options.withPseudoName(about.pseudoName),
    Options.withDescription(about.description),
    Options.withDefault(about.default),
    Options.mapEffect((value) => {
      const accepted = accept(value)
      return accepted === undefined
        ? Effect.fail(
          ValidationError.invalidValue(HelpDoc.p(`The value "${value}" of --${name} is not possible: ${asked}.`))
        )
        : Effect.succeed(accepted)
    })
  )

const count = (
  name: string,
  most: number,
  about: { readonly description: string; readonly default: string }
): Options.Options<number> =>
  refined(
    name,
    { ...about, pseudoName: "count" },
    (value) => {
      const number = /^\d+$/.test(value) ? Number(value) : 0
      return number >= 1 && number <= most ? number : undefined
    },
    `it is a whole number from 1 to ${most}`
  )

export const options = {
  clients: count("clients", 256, {
    description: "How many fibers tenant a has; b has four times as many.",
    default: "8"
  }),
  requests: count("requests", 1000, { description: "How many requests each fiber makes.", default: "25" }),
  slots: count("slots", 64, { description: "How many runs may be bound at once.", default: "16" }),
  budgetBytes: refined(
    "budget",
    {
      description: "The device memory of both tenants. A quarter is reserved for a; b may have half.",
      pseudoName: "size",
      default: "256 KiB"
    },
    (size) => Bytes.parse(size) || undefined,
    "it is a size above zero, such as \"256 KiB\""
  ),
  json: Options.boolean("json").pipe(
    Options.withDescription("Ends with one line of JSON on standard output; the table goes to standard error.")
  )
}

/** What the command line asks for. */
export type Request = Command.Command.ParseConfig<typeof options>
