/** Where the package's own folder is: the benchmark runs from its sources, and compiled in a folder of its own. */
import { existsSync } from "node:fs"
import { dirname, join } from "node:path"

const rootAbove = (folder: string): string =>
  existsSync(join(folder, "package-lock.json")) ? folder : rootAbove(dirname(folder))

export const root = rootAbove(import.meta.dirname)
