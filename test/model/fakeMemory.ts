/**
 * Memory at made-up addresses, which carries out tables of transfers byte by byte, and knows who wrote each byte.
 *
 * An address that nobody owns, or a range that leaves what it started in, ends the test.
 */
import { transferCells, TransferKind } from "../../src/internal/core/transferTable.ts"

export interface Region {
  readonly name: string
  readonly base: number
  readonly bytes: Uint8Array
  /** How often each byte was written by a transfer. */
  readonly writes: Uint8Array
}

export class FakeMemory {
  readonly #regions: Array<Region> = []

  add(name: string, base: number, bytes: Uint8Array): Region {
    const region = { name, base, bytes, writes: new Uint8Array(bytes.byteLength) }
    this.#regions.push(region)
    return region
  }

  /** The region that a range lies in as a whole. */
  find(address: number, byteCount: number): Region {
    const region = this.#regions.find(({ base, bytes }) =>
      address >= base && address + byteCount <= base + bytes.byteLength
    )
    if (region === undefined) {
      throw new Error(`nobody owns ${byteCount} B at ${address}`)
    }
    return region
  }

  read(address: number, byteCount: number): Uint8Array {
    const { base, bytes } = this.find(address, byteCount)
    return bytes.subarray(address - base, address - base + byteCount)
  }

  write(address: number, source: Uint8Array): void {
    const { base, bytes, writes } = this.find(address, source.byteLength)
    bytes.set(source, address - base)
    for (let index = 0; index < source.byteLength; index++) {
      writes[address - base + index]! += 1
    }
  }

  /** Does what a backend does with the cells of a table, in their order. */
  carryOut(table: { readonly cells: Float64Array; readonly count: number }): void {
    for (let entry = 0; entry < table.count; entry++) {
      const [kind, destination, source, byteCount] = table.cells.subarray(entry * transferCells)
      if (kind === TransferKind.fill || kind === TransferKind.hostFill) {
        this.write(destination!, new Uint8Array(byteCount!).fill(source!))
      } else {
        this.write(destination!, this.read(source!, byteCount!).slice())
      }
    }
  }
}
