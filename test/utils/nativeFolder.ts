import { fileURLToPath } from "node:url"

/** Where the native libraries are: for a program that was bundled, those that it was bundled with. */
export const nativeFolder = fileURLToPath(new URL("../../native/build", import.meta.url))
