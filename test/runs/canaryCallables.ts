/** What the runs with canaries call: kernels that copy, that fail, that leave outputs unwritten, and that show too much. */
import { Arg } from "leasehold"
import { native } from "../utils/kernels.ts"

export const bytes = "uint8" as const
const inline = { execution: "inline" } as const

const inAndOut = { x: Arg.input(bytes, ["n"]), y: Arg.output(bytes, ["n"]) }
export const copies = [native("test_copy", inAndOut, inline), native("test_copy", inAndOut)]
export const failing = [native("test_fail", inAndOut, inline), native("test_fail", inAndOut)]
export const reveal = native("test_reveal", { work: Arg.scratch(bytes, ["n"]), y: Arg.output(bytes, ["n"]) }, inline)
export const writeFirst = native(
  "test_write_first",
  { y: Arg.output(bytes, ["n"]), count: Arg.scalar("int32"), value: Arg.scalar("int32") },
  inline
)
export const nothing = native("test_nothing", {
  a: Arg.input(bytes, ["n"]),
  b: Arg.inout(bytes, ["n"]),
  work: Arg.scratch(bytes, ["n"]),
  c: Arg.output(bytes, ["n"])
}, inline)
export const revealAround = native(
  "test_reveal_around",
  {
    x: Arg.inout(bytes, ["n"]),
    before: Arg.scalar("int32"),
    after: Arg.scalar("int32"),
    y: Arg.output(bytes, ["m"]),
    // The kernel does not look at it. It lies before x, because inputs lie before inouts.
    first: Arg.input(bytes, [1])
  },
  inline
)
export const toResident = native(
  "test_copy",
  { x: Arg.input(bytes, ["n"]), kept: Arg.resident(bytes, { access: "readWrite", dims: ["n"] }) },
  inline
)
export const fromResident = native(
  "test_copy",
  { kept: Arg.resident(bytes, { dims: ["n"] }), y: Arg.output(bytes, ["n"]) },
  inline
)

/** The same around scratch, which is the last in its chunk: behind it comes padding that belongs to no other slice. */
export const revealBehind = native(
  "test_reveal_around",
  {
    x: Arg.scratch(bytes, ["n"]),
    before: Arg.scalar("int32"),
    after: Arg.scalar("int32"),
    y: Arg.output(bytes, ["after"])
  },
  inline
)
