/**
 * What can be wrong with a model's files, with what the user asks of a model, and with what comes of it. A file that lies
 * is refused with a sentence; nothing of it reaches the device.
 */
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/**
 * A file of a model folder cannot be used. Another file is the remedy, or an undamaged copy.
 *
 * - `Unreadable`: it is missing, no regular file, or reading it failed.
 * - `Truncated`, `Oversized`: it is shorter or longer than its own header says.
 * - `HeaderTooLong`, `HeaderInvalid`: the header exceeds the limit, or is not what the safetensors format asks for.
 * - `DtypeUnknown`: a tensor has an element type that the format does not know.
 * - `TensorSizeInvalid`: a tensor's shape, element type and bytes do not agree.
 * - `LayoutInvalid`: tensors overlap or leave a gap.
 * - `TensorMissing`, `TensorMismatch`: a tensor that the model needs is missing, or has another shape or element type.
 * - `OutOfRange`: more was asked of a tensor than it has.
 * - `ConfigInvalid`, `ConfigUnsupported`: the configuration is broken, or asks for what the kernel does not compute.
 */
export class ModelFileInvalid
  extends Schema.TaggedError<ModelFileInvalid>("leasehold/examples/qwen3-decode/ModelFileInvalid")("ModelFileInvalid", {
    /** The file's name without its folder. */
    file: Schema.String,
    reason: Schema.Literal(
      "Unreadable",
      "Truncated",
      "Oversized",
      "HeaderTooLong",
      "HeaderInvalid",
      "DtypeUnknown",
      "TensorSizeInvalid",
      "LayoutInvalid",
      "TensorMissing",
      "TensorMismatch",
      "OutOfRange",
      "ConfigInvalid",
      "ConfigUnsupported"
    ),
    /** What is wrong, with its figures; it goes on where the file's name ends. */
    detail: Schema.String
  })
{
  override get message(): string {
    return `${this.file} ${this.detail}`
  }
}

/**
 * What was asked for does not suit the model. Other options are the remedy.
 *
 * - `ContextInvalid`: the context is not between 1 and the model's positions.
 * - `PromptInvalid`: the prompt is empty, or does not fit into the context.
 * - `TextUnsupported`: the model has no byte vocabulary, so that text cannot be told from tokens.
 * - `SamplingInvalid`: the temperature or the seed is out of range.
 * - `LogitsInvalid`: the model's output is not a number, so no token can be chosen.
 */
export class DecodeRequestInvalid
  extends Schema.TaggedError<DecodeRequestInvalid>("leasehold/examples/qwen3-decode/DecodeRequestInvalid")(
    "DecodeRequestInvalid",
    {
      reason: Schema.Literal("ContextInvalid", "PromptInvalid", "TextUnsupported", "SamplingInvalid", "LogitsInvalid"),
      detail: Schema.String
    }
  )
{
  override get message(): string {
    return this.detail
  }
}

/**
 * The decode came to an end, but what it computed is wrong: a bug of the kernel, the backend or the framework.
 *
 * - `Reference`: logits or choices are not those of the float64 reference.
 * - `Modes`: the two modes chose different tokens.
 */
export class ResultsDiffer
  extends Schema.TaggedError<ResultsDiffer>("leasehold/examples/qwen3-decode/ResultsDiffer")("ResultsDiffer", {
    reason: Schema.Literal("Reference", "Modes"),
    detail: Schema.String
  })
{
  override get message(): string {
    return this.detail
  }
}

/** The longest piece of foreign text that an error quotes, in characters. */
const quotedMaxLength = 120

/** What stands in a file as an error may show it: as JSON, hence without control characters, and not long. */
export const quoted = (value: unknown): string => {
  const text = JSON.stringify(value)
  return text.length > quotedMaxLength ? `${text.slice(0, quotedMaxLength)}...` : text
}

/** The first issue of a failed decoding, as a clause. */
export const firstIssue = (error: ParseResult.ParseError): string => {
  const issue = ParseResult.ArrayFormatter.formatErrorSync(error)[0]
  if (issue === undefined) {
    return "is not valid"
  }
  const clause = issue.message.slice(0, quotedMaxLength)
  return issue.path.length === 0 ? clause : `${issue.path.map(String).join(".")}: ${clause}`
}
