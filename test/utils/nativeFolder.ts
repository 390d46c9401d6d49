import { fileURLToPath } from "node:url"

/** Where the native libraries are. A process in which a sanitizer watches is told where the sanitized ones are. */
export const nativeFolder = process.env["LEASEHOLD_TEST_NATIVE_FOLDER"] ??
  fileURLToPath(new URL("../../native/build", import.meta.url))
