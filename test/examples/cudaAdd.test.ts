/** The smallest program on a GPU: it adds where there is one, and says what is missing where there is none. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

describe("the example of a GPU", () => {
  it("adds, or says what was tried and what to do", () => {
    const { status, stderr, stdout } = spawnSync("npx", ["tsx", "examples/cuda-add/main.ts"], {
      cwd: root,
      encoding: "utf8"
    })
    if (status === 0) {
      assert.include(stdout, "999 + 1998 = 2997")
    } else {
      assert.match(
        stderr,
        /the cuda backend is not available: .* \(tried libcuda\.so\.1, .*\); install NVIDIA's driver/
      )
    }
  })
})
