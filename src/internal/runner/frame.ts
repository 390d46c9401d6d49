/**
 * What one run at a time of a callable uses: its arguments, and the tables for their shape. A run takes the frame that was
 * given back last, so that what it remembers is what comes again.
 */
import { Bindings } from "./bindings.ts"
import type { GivenDims } from "./dimensions.ts"
import type { PreparedCallable } from "./preparedCallable.ts"
import { RecentlyUsed } from "./recentlyUsed.ts"
import { maxLayoutCount, type RunLayout } from "./runLayout.ts"
import { RunTables } from "./runTables.ts"

export class Frame {
  readonly prepared: PreparedCallable
  readonly bindings: Bindings
  /** The dimensions that were given beside the arguments. */
  given: GivenDims | undefined
  readonly #known = new RecentlyUsed<RunTables>(maxLayoutCount)
  #tables: RunTables | undefined
  #epoch = -1
  /** The version of the bindings' shapes that the last tables were made for. */
  #shapeVersion = -1

  constructor(prepared: PreparedCallable) {
    this.prepared = prepared
    this.bindings = new Bindings(prepared.parameters)
  }

  /** The tables of the run at hand. */
  get tables(): RunTables {
    return this.#tables!
  }

  /**
   * Finds the tables for what is bound, in the configuration of now. The ones used last are found at once. False where
   * nobody has laid out a run of this shape yet.
   */
  findTables(epoch: number): boolean {
    const { bindings, given, prepared } = this
    if (epoch !== this.#epoch) {
      this.#known.clear()
      this.#epoch = epoch
    }
    const { last } = this.#known
    if (last !== undefined && this.#shapeVersion === bindings.shapeVersion && last.layout.isFor(given)) {
      this.#tables = last
      return true
    }
    const found = this.#known.find(({ layout }) => layout.matches(bindings, given))
    if (found !== undefined) {
      this.#use(found)
      return true
    }
    const layout = prepared.findLayout(bindings, given, epoch)
    if (layout !== undefined) {
      this.#make(layout)
    }
    return layout !== undefined
  }

  /** Takes in the layout that was made for what is bound. */
  adopt(layout: RunLayout): void {
    this.prepared.keepLayout(layout)
    this.#make(layout)
  }

  #make(layout: RunLayout): void {
    const tables = new RunTables(layout, this.bindings)
    this.#known.add(tables)
    this.#use(tables)
  }

  #use(tables: RunTables): void {
    this.#tables = tables
    this.#shapeVersion = this.bindings.shapeVersion
  }
}
