/** Checks of what a backend's layer is given. */
import * as Effect from "effect/Effect"
import * as Bytes from "../../Bytes.ts"
import { InvalidConfiguration } from "../../Errors.ts"

/** The checks of one backend, whose name its errors carry before that of the option. */
export const optionsOf = (backend: string) => {
  const invalid = (
    reason: InvalidConfiguration["reason"],
    option: string,
    detail: string
  ): Effect.Effect<never, InvalidConfiguration> =>
    Effect.fail(new InvalidConfiguration({ reason, option: `${backend}.${option}`, detail }))

  const bytes = (option: string, input: Bytes.Input, least: number): Effect.Effect<number, InvalidConfiguration> => {
    const parsed = Bytes.parse(input)
    return parsed === undefined || parsed < least
      ? invalid("Size", option, `it should be a size of at least ${least} B`)
      : Effect.succeed(parsed)
  }

  const choice = <A extends string>(
    option: string,
    input: A,
    choices: ReadonlyArray<A>
  ): Effect.Effect<A, InvalidConfiguration> =>
    choices.includes(input)
      ? Effect.succeed(input)
      : invalid("Choice", option, `it should be one of ${choices.map((name) => `"${name}"`).join(", ")}`)

  const wholeNumber = (option: string, input: number, most: number): Effect.Effect<number, InvalidConfiguration> =>
    Number.isInteger(input) && input >= 0 && input <= most
      ? Effect.succeed(input)
      : invalid("Size", option, `it should be a whole number from 0 to ${most}`)

  return { invalid, bytes, choice, wholeNumber }
}

/** Settings as the native library reads them. */
export const settingsText = (settings: Readonly<Record<string, string | number>>): string =>
  Object.entries(settings).map(([name, value]) => `${name}=${value}`).join(" ")
