/** The ways in which a CUDA device is lost, and what the program that loses it tells its parent. */
import { Schema } from "effect"

/** A kernel that ends its context by itself, and one that writes where nobody may. */
export const ways = ["trap", "illegal address"] as const
export type Way = (typeof ways)[number]

export const Report = Schema.parseJson(Schema.Struct({
  /** How the run that lost the device failed. */
  reason: Schema.String,
  sticky: Schema.Boolean,
  deviceCode: Schema.Number,
  attribution: Schema.String,
  /** The state of its runner, and of another one on the same device, once each has been asked for something. */
  states: Schema.Array(Schema.String),
  /** What the other runner's next run failed with. */
  otherTag: Schema.String,
  /** What everything failed with that was asked of both after that, and what their errors say about recovery. */
  laterTags: Schema.Array(Schema.String),
  recoveries: Schema.Array(Schema.String),
  /** What a new runner on the device fails with. */
  rebuilt: Schema.String,
  /** Of the loopback driver: calls after it had told of the loss, and what was wrong with calls. */
  callsAfterLoss: Schema.Number,
  violations: Schema.String
}))
