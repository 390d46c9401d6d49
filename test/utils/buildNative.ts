/** Builds the native libraries once, before any test runs: two builds at a time would write the same files. */
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

export const setup = (): void => {
  const folder = fileURLToPath(new URL("../../native", import.meta.url))
  execFileSync("make", ["-s", "-j2", "-C", folder, "all", "bench", "sanitize", "on-host"], { stdio: "inherit" })
}
