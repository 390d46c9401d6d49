/**
 * Qwen3 in float64, straight from the formulas of the model's README: the yardstick for the kernel. It takes one token
 * at a time, and shares neither code nor layout with the kernel: it reads Hugging Face's own names.
 */

/** The keys of a `config.json` that the formulas use. */
export interface HuggingFaceConfig {
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly num_key_value_heads: number
  readonly head_dim: number
  readonly intermediate_size: number
  readonly vocab_size: number
  readonly max_position_embeddings: number
  readonly rope_theta: number
  readonly rms_norm_eps: number
  readonly tie_word_embeddings: boolean
}

/** A model: its configuration, and every tensor by its name in the file. */
export interface ReferenceModel {
  readonly config: HuggingFaceConfig
  readonly weights: ReadonlyMap<string, Float64Array>
}

/** Reads one text, token by token. */
export class ReferenceDecoder {
  private readonly model: ReferenceModel
  /** Of each layer: the normalised and rotated keys of each position, one array for each head; and the values. */
  private readonly history: Array<Array<{ readonly keys: Array<Float64Array>; readonly values: Array<Float64Array> }>>
  private position = 0

  constructor(model: ReferenceModel) {
    this.model = model
    this.history = Array.from({ length: model.config.num_hidden_layers }, () => [])
  }

  /** The logits after `token`. */
  next(token: number): Float64Array {
    const { config, weights } = this.model
    const embeddings = this.weight("model.embed_tokens.weight")
    let x: Float64Array = embeddings.slice(token * config.hidden_size, (token + 1) * config.hidden_size)
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      x = plus(x, this.attention(layer, this.rms(x, `model.layers.${layer}.input_layernorm.weight`)))
      x = plus(x, this.feedForward(layer, this.rms(x, `model.layers.${layer}.post_attention_layernorm.weight`)))
    }
    this.position += 1
    const head = config.tie_word_embeddings ? embeddings : weights.get("lm_head.weight")!
    return times(head, this.rms(x, "model.norm.weight"))
  }

  private attention(layer: number, h: Float64Array): Float64Array {
    const { config } = this.model
    const prefix = `model.layers.${layer}.self_attn`
    const project = (name: string) => heads(times(this.weight(`${prefix}.${name}.weight`), h), config.head_dim)
    const turned = (name: string) => (head: Float64Array) => this.rope(this.rms(head, `${prefix}.${name}.weight`))
    const past = this.history[layer]!
    past.push({ keys: project("k_proj").map(turned("k_norm")), values: project("v_proj") })
    const groupSize = config.num_attention_heads / config.num_key_value_heads
    const outputs = new Float64Array(config.num_attention_heads * config.head_dim)
    project("q_proj").map(turned("q_norm")).forEach((query, a) => {
      const b = Math.floor(a / groupSize)
      const p = softmax(past.map(({ keys }) => inner(query, keys[b]!) / Math.sqrt(config.head_dim)))
      past.forEach(({ values }, u) => values[b]!.forEach((value, i) => outputs[a * query.length + i]! += p[u]! * value))
    })
    return times(this.weight(`${prefix}.o_proj.weight`), outputs)
  }

  private feedForward(layer: number, h: Float64Array): Float64Array {
    const weight = (name: string) => this.weight(`model.layers.${layer}.mlp.${name}_proj.weight`)
    const up = times(weight("up"), h)
    const gated = times(weight("gate"), h).map((z, i) => z / (1 + Math.exp(-z)) * up[i]!)
    return times(weight("down"), gated)
  }

  private rms(x: Float64Array, name: string): Float64Array {
    const g = this.weight(name)
    const root = Math.sqrt(inner(x, x) / x.length + this.model.config.rms_norm_eps)
    return x.map((value, i) => g[i]! * value / root)
  }

  private rope(y: Float64Array): Float64Array {
    const half = y.length / 2
    return y.map((value, i) => {
      const angle = this.position * this.model.config.rope_theta ** (-2 * (i % half) / y.length)
      const partner = i < half ? -y[i + half]! : y[i - half]!
      return value * Math.cos(angle) + partner * Math.sin(angle)
    })
  }

  private weight(name: string): Float64Array {
    const weight = this.model.weights.get(name)
    if (weight === undefined) {
      throw new Error(`the reference model has no tensor ${name}`)
    }
    return weight
  }
}

/** The index of the largest value, and how much larger it is than the second largest. */
export const largest = (values: ArrayLike<number>): { readonly index: number; readonly margin: number } => {
  let index = 0
  let second = -Infinity
  for (let i = 1; i < values.length; i++) {
    if (values[i]! > values[index]!) {
      second = values[index]!
      index = i
    } else if (values[i]! > second) {
      second = values[i]!
    }
  }
  return { index, margin: values[index]! - second }
}

/** The largest absolute difference of two vectors of one length; NaN where one of them has a NaN. */
export const largestDifference = (left: ArrayLike<number>, right: ArrayLike<number>): number => {
  if (left.length !== right.length) {
    return NaN
  }
  let difference = 0
  for (let i = 0; i < left.length; i++) {
    difference = Math.max(difference, Math.abs(left[i]! - right[i]!))
  }
  return difference
}

const times = (matrix: Float64Array, x: Float64Array): Float64Array => {
  const out = new Float64Array(matrix.length / x.length)
  for (let o = 0, at = 0; o < out.length; o++) {
    let sum = 0
    for (let i = 0; i < x.length; i++, at++) {
      sum += matrix[at]! * x[i]!
    }
    out[o] = sum
  }
  return out
}

const inner = (left: Float64Array, right: Float64Array): number => {
  let sum = 0
  for (let i = 0; i < left.length; i++) {
    sum += left[i]! * right[i]!
  }
  return sum
}

const plus = (left: Float64Array, right: Float64Array): Float64Array => left.map((value, i) => value + right[i]!)

const heads = (x: Float64Array, headDim: number): Array<Float64Array> =>
  Array.from({ length: x.length / headDim }, (_, head) => x.subarray(head * headDim, (head + 1) * headDim))

const softmax = (scores: ReadonlyArray<number>): ReadonlyArray<number> => {
  const most = scores.reduce((left, right) => Math.max(left, right))
  const exponentials = scores.map((score) => Math.exp(score - most))
  const total = exponentials.reduce((left, right) => left + right)
  return exponentials.map((value) => value / total)
}
