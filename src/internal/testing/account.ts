/** Accounts in words. */
import type { Allocation, Snapshot } from "../../testing/Ledger.ts"

/** One allocation: how much, whose, and from where. */
export const describeAllocation = (allocation: Allocation): string => {
  const { byteCount, memory, name, place, purpose, runId, state } = allocation
  const owner = purpose === "tensor"
    ? `tensor "${name}" of run ${runId}`
    : `${purpose}${name === "" ? "" : ` "${name}"`}`
  const quarantined = state === "quarantined" ? ", quarantined" : ""
  return `${byteCount} B of ${memory} memory for ${owner}${quarantined}${place === undefined ? "" : `, from ${place}`}`
}

/** A snapshot, one line an allocation. */
export const renderSnapshot = (snapshot: Snapshot): string =>
  [
    `${snapshot.deviceBytes} B of device memory and ${snapshot.hostBytes} B of host memory are held`,
    ...snapshot.allocations.map((allocation) => `  ${describeAllocation(allocation)}`),
    ...snapshot.inFlight.map(({ names, operation, purpose }) =>
      `  in flight: ${operation} for ${purpose} (${names.join(", ")})`
    ),
    ...snapshot.breaches.map(({ detail, verdict }) => `  ${verdict}: ${detail}`)
  ].join("\n")
