/**
 * A transfer table whose addresses are those of the run that is bound: of its host views, its ranges, its leases, and its
 * slot's staging area.
 */
import type { Transfers } from "../../HostApi.ts"
import { TransferKind, TransferTable } from "../core/transferTable.ts"
import type { Bindings } from "./bindings.ts"

/** Where one side of an entry lies. */
export type Place =
  | { readonly of: "view"; readonly tensor: number }
  | { readonly of: "range"; readonly range: number; readonly offsetBytes: number }
  | { readonly of: "lease"; readonly tensor: number; readonly offsetBytes: number }
  | { readonly of: "staging"; readonly offsetBytes: number }

export interface Entry {
  readonly name: string
  readonly kind: TransferKind
  readonly destination: Place
  /** A fill has none. */
  readonly source: Place | undefined
  readonly byteCount: number
}

/** A table before it knows its addresses; the same for every run of a shape. */
export interface TableLayout {
  readonly entries: ReadonlyArray<Entry>
  readonly offThread: boolean
}

/** An address that an entry waits for: that of a tensor or a base, and how far behind it the entry lies. */
interface Link {
  readonly entry: number
  readonly side: "source" | "destination"
  readonly index: number
  readonly offsetBytes: number
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
  readonly #leases: Array<Link> = []
  readonly #bases: Array<Link> = []

  /** `stagingBase` is the index of the staging area's address among the bases; the ranges stand before it. */
  constructor(layout: TableLayout, bindings: Bindings, stagingBase: number) {
    this.table = new TransferTable(layout.entries.length)
    this.offThread = layout.offThread
    this.#bindings = bindings
    for (const { byteCount, destination, kind, name, source } of layout.entries) {
      const entry = this.table.push(kind, 0, 0, byteCount)
      this.names.push(name)
      this.#link(entry, "destination", destination, stagingBase)
      if (source !== undefined) {
        this.#link(entry, "source", source, stagingBase)
      }
      this.#count(kind, byteCount)
    }
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

  /** Checks every view once more; one that is intact is where it was. -1, or the entry whose view is gone. */
  readonly refresh = (): number => {
    for (const link of this.#views) {
      if (!this.#bindings.isViewIntact(link.index)) {
        return link.entry
      }
    }
    return -1
  }

  /** Writes the host addresses of the run's views. */
  setViewAddresses(addresses: Float64Array): void {
    this.#write(this.#views, addresses)
  }

  /** Writes the addresses of leases that were made for this run. */
  setLeaseAddresses(addresses: Float64Array): void {
    this.#write(this.#leases, addresses)
  }

  /** Writes where the run's ranges and its slot's staging area begin. */
  setBases(addresses: Float64Array): void {
    this.#write(this.#bases, addresses)
  }

  #link(entry: number, side: Link["side"], place: Place, stagingBase: number): void {
    switch (place.of) {
      case "view":
        this.#views.push({ entry, side, index: place.tensor, offsetBytes: 0 })
        break
      case "lease":
        this.#leases.push({ entry, side, index: place.tensor, offsetBytes: place.offsetBytes })
        break
      case "range":
        this.#bases.push({ entry, side, index: place.range, offsetBytes: place.offsetBytes })
        break
      case "staging":
        this.#bases.push({ entry, side, index: stagingBase, offsetBytes: place.offsetBytes })
        break
    }
  }

  #write(links: ReadonlyArray<Link>, addresses: Float64Array): void {
    for (const { entry, index, offsetBytes, side } of links) {
      const address = addresses[index]! + offsetBytes
      if (side === "source") {
        this.table.setSource(entry, address)
      } else {
        this.table.setDestination(entry, address)
      }
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
