import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("./src", import.meta.url))

export default defineConfig({
  // Tests and examples import the package by its name, as a user does, and get the sources.
  resolve: {
    alias: [
      { find: /^leasehold$/, replacement: `${src}/index.ts` },
      { find: /^leasehold\/Simulator$/, replacement: `${src}/backends/Simulator.ts` },
      { find: /^leasehold\/testing$/, replacement: `${src}/testing/index.ts` },
      { find: /^leasehold\/(.+)$/, replacement: `${src}/$1.ts` }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/utils/buildNative.ts",
    // Native libraries are loaded by tests: a fault in one must end a process, not the whole run.
    pool: "forks",
    testTimeout: 30_000,
    hookTimeout: 30_000,
    coverage: { include: ["src/**"] }
  }
})
