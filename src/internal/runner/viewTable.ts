/**
 * A transfer table whose host addresses come from the run's views, and whose device addresses come from its leases.
 */
import type { Transfers } from "../../HostApi.ts"
import { TransferKind, TransferTable } from "../core/transferTable.ts"
import type { Bindings } from "./bindings.ts"

/** Which side of an entry a tensor's address goes to. */
type Side = "source" | "destination"

interface Link {
  readonly entry: number
  readonly tensor: number
  readonly side: Side
}

export class ViewTable implements Transfers {
  readonly table: TransferTable
  /** For each entry the tensor's name, for origins and errors. */
  readonly names: Array<string> = []
  readonly offThread: boolean
  /** Copies between host and device; fills and copies within the host are not counted. */
  transferCount = 0
  hostToDeviceBytes = 0
  deviceToHostBytes = 0
  clearedBytes = 0
  readonly #bindings: Bindings
  readonly #views: Array<Link> = []
  readonly #leases: Array<Link & { readonly offsetBytes: number }> = []

  constructor(options: {
    readonly capacity: number
    readonly offThread: boolean
    readonly bindings: Bindings
  }) {
    this.table = new TransferTable(options.capacity)
    this.offThread = options.offThread
    this.#bindings = options.bindings
  }

  get cells(): Float64Array {
    return this.table.cells
  }

  get count(): number {
    return this.table.count
  }

  /** Whether an entry reads or writes a view of the host. */
  get touchesViews(): boolean {
    return this.#views.length > 0
  }

  /**
   * Appends an entry. `view` and `lease` name the tensors whose host and device addresses take the place of the entry's
   * own: `lease` moves with the run's leases, by an offset inside the slice.
   */
  push(options: {
    readonly name: string
    readonly kind: TransferKind
    readonly destination: number
    readonly source: number
    readonly byteCount: number
    readonly view?: { readonly tensor: number; readonly side: Side } | undefined
    readonly lease?: { readonly tensor: number; readonly side: Side; readonly offsetBytes: number } | undefined
  }): void {
    const entry = this.table.push(options.kind, options.destination, options.source, options.byteCount)
    this.names.push(options.name)
    if (options.view !== undefined) {
      this.#views.push({ entry, ...options.view })
    }
    if (options.lease !== undefined) {
      this.#leases.push({ entry, ...options.lease })
    }
    this.#count(options.kind, options.byteCount)
  }

  /** Checks every view once more; one that is intact is where it was. -1, or the entry whose view is gone. */
  readonly refresh = (): number => {
    for (const link of this.#views) {
      if (!this.#bindings.isViewIntact(link.tensor)) {
        return link.entry
      }
    }
    return -1
  }

  /** Writes the host addresses of the run's views. */
  setViewAddresses(addresses: Float64Array): void {
    for (const link of this.#views) {
      this.#write(link, addresses[link.tensor]!)
    }
  }

  /** Writes the addresses of leases that were made for this run. */
  setLeaseAddresses(addresses: Float64Array): void {
    for (const link of this.#leases) {
      this.#write(link, addresses[link.tensor]! + link.offsetBytes)
    }
  }

  #write(link: Link, address: number): void {
    if (link.side === "source") {
      this.table.setSource(link.entry, address)
    } else {
      this.table.setDestination(link.entry, address)
    }
  }

  #count(kind: TransferKind, byteCount: number): void {
    switch (kind) {
      case TransferKind.copyIn:
        this.transferCount += 1
        this.hostToDeviceBytes += byteCount
        break
      case TransferKind.copyOut:
        this.transferCount += 1
        this.deviceToHostBytes += byteCount
        break
      case TransferKind.fill:
        this.clearedBytes += byteCount
        break
      case TransferKind.hostCopy:
      case TransferKind.hostFill:
        break
    }
  }
}
