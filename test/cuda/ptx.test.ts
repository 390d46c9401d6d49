/** PTX that is kept in the repository: it was built from the source beside it, for GPUs and drivers as old as can be. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const folders = ["../../native/test/gpu", "../../examples/cuda-add"].map((path) =>
  fileURLToPath(new URL(path, import.meta.url))
)

describe("the PTX", () => {
  for (const folder of folders) {
    const names = readdirSync(folder).filter((name) => name.endsWith(".ptx"))

    it(`of ${names.join(" and ")} is what its source gives`, () => {
      execFileSync("make", ["-s", "check-ptx"], { cwd: folder, stdio: "pipe" })
    })

    it(`of ${names.join(" and ")} needs no newer driver than compute capability 7.5 does`, () => {
      assert.isNotEmpty(names)
      for (const name of names) {
        const ptx = readFileSync(join(folder, name), "utf8")
        assert.match(ptx, /^\.version 6\.3$/m)
        assert.match(ptx, /^\.target sm_75$/m)
      }
    })
  }
})
