/** What two tenants came to: as a table for a person, and as one line of JSON for a program. */
import { Bytes } from "leasehold"
import type { Served, Tenant } from "./tenants.ts"

/** The report as JSON. */
export const json = ({ stats, tenants }: Served): string =>
  JSON.stringify({
    tenants: tenants.map(({ clients, medianMillis, name, refused, runs, stats: budget }) => ({
      name,
      clients,
      reservedBytes: budget.reservedBytes,
      maxBytes: budget.maxBytes,
      runs,
      refused,
      highWaterBytes: budget.highWaterBytes,
      medianMillis
    })),
    slots: stats.slots.count,
    overlap: stats.slots.overlap,
    budgetBytes: stats.temporaryBuffer.maxBytes,
    retainedBytes: stats.temporaryBuffer.retainedBytes,
    highWaterBytes: stats.temporaryBuffer.highWaterBytes,
    runs: stats.runs.ended,
    failed: stats.runs.failed,
    waited: stats.runs.waited,
    refused: stats.runs.refused,
    longestQueue: stats.runs.waitingHighWater,
    deviceMallocs: stats.device.mallocs
  })

const bytes = (byteCount: number): string => byteCount === 0 ? "-" : Bytes.format(byteCount)

/** The report as a table. */
export const table = ({ stats, tenants }: Served): string => {
  const row = (name: string, cell: (tenant: Tenant) => string, whole: string) => [name, ...tenants.map(cell), whole]
  const { highWaterBytes, maxBytes, reservedBytes } = stats.temporaryBuffer
  const rows = [
    row("", ({ name }) => `tenant ${name}`, "runner"),
    row("fibers", ({ clients }) => String(clients), ""),
    row("may have at most", (tenant) => bytes(tenant.stats.maxBytes), bytes(maxBytes)),
    row("reserved", (tenant) => bytes(tenant.stats.reservedBytes), bytes(reservedBytes)),
    row("runs", ({ runs }) => String(runs), String(stats.runs.ended)),
    row("waited for their turn", () => "", String(stats.runs.waited)),
    row("refused", ({ refused }) => String(refused), String(stats.runs.refused)),
    row("high water", (tenant) => bytes(tenant.stats.highWaterBytes), bytes(highWaterBytes)),
    row("waited at once, at most", () => "", String(stats.runs.waitingHighWater)),
    row("time of a run, median", ({ medianMillis }) => `${medianMillis} ms`, "")
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)))
  return rows
    .map((cells) =>
      cells.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join("  ")
        .trimEnd()
    )
    .join("\n")
}
