/** What a person sees while a decode is under way: the text as it comes, and a progress bar under it. */
import * as Effect from "effect/Effect"

export interface Screen {
  /** Shows text where the last one ended. Control characters other than line breaks and tabs are shown as U+FFFD. */
  readonly text: (text: string) => Effect.Effect<void>
  /** A progress bar for `total` steps. */
  readonly bar: (label: string, total: number) => Bar
}

export interface Bar {
  /** One step more. On a terminal the bar moves; elsewhere nothing is shown until the end. */
  readonly advance: Effect.Effect<void>
  /** Shows the bar as it is now, on a line of its own that stays. */
  readonly end: Effect.Effect<void>
  /** Takes the bar away. */
  readonly remove: Effect.Effect<void>
}

/** Where a screen writes; one of the process's standard streams. */
export type Output = Pick<NodeJS.WriteStream, "write" | "isTTY" | "columns">

/** A screen whose text and bars go to these streams, which may be one terminal. */
export const make = (outputs: { readonly text: Output; readonly bars: Output }): Screen => ({
  text: (text) => Effect.sync(() => outputs.text.write(visible(text))),
  bar: (label, total) => makeBar(outputs.bars, label, total)
})

const makeBar = (terminal: Output, label: string, total: number): Bar => {
  let done = 0
  return {
    advance: Effect.sync(() => {
      done += 1
      if (terminal.isTTY) {
        // A line that wraps would take more room than was made for it.
        terminal.write(beneath(barText(label, done, total).slice(0, terminal.columns - 1)))
      }
    }),
    end: Effect.sync(() => terminal.write(`${terminal.isTTY ? clearBelow : ""}${barText(label, done, total)}\n`)),
    remove: Effect.sync(() => terminal.isTTY && terminal.write(clearBelow))
  }
}

const barWidth = 24

const barText = (label: string, done: number, total: number): string => {
  const filled = Math.floor(done / total * barWidth)
  return `[${"#".repeat(filled)}${"-".repeat(barWidth - filled)}] ${done}/${total} ${label}`
}

/** Erases from the cursor to the end of the screen. */
const clearBelow = "\u001B[J"

/** Shows a line under the cursor's and leaves the cursor where it is, also on the last line of a terminal. */
const beneath = (line: string): string => {
  const makeRoom = "\u001BD\u001B[A"
  return `${clearBelow}${makeRoom}\u001B7\r\n${line}\u001B8`
}

/** A model may write anything, and a terminal would obey it. */
const visible = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]/gu, "\uFFFD")
