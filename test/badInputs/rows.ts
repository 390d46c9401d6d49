/**
 * The table of bad inputs: 68 kinds, what each gives through every way in which it reaches a runner, and why some do not
 * apply. It is executed in rows.test.ts; `docs/reference/errors.md` says the same in words, and a test compares the two.
 */
import type { Row } from "./row.ts"
import { rowsOfDevices } from "./rowsOfDevices.ts"
import { rowsOfHandles } from "./rowsOfHandles.ts"
import { rowsOfPrograms } from "./rowsOfPrograms.ts"
import { rowsOfSizes } from "./rowsOfSizes.ts"
import { rowsOfTensors } from "./rowsOfTensors.ts"

export const rows: ReadonlyArray<Row> = [
  ...rowsOfSizes,
  ...rowsOfTensors,
  ...rowsOfHandles,
  ...rowsOfDevices,
  ...rowsOfPrograms
].toSorted((left, right) => left.number - right.number)
