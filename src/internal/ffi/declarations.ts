/**
 * The native ABI as koffi declares it, in the order of `leasehold_host_api.h`. A test compares the two.
 *
 * `lh_status_is_sticky` is an inline function of the header and has no symbol; `HostApi.isSticky` is its counterpart.
 */
import koffi from "koffi"

/** The version of the header that these declarations follow. */
export const abiVersion = 1

/** Declares the ABI's types, once in a process: koffi keeps names for ever. */
const declareTypes = (): void => {
  koffi.opaque("lh_context")
  koffi.alias("lh_status", "int32_t")
  koffi.alias("lh_address", "double")
  koffi.alias("lh_ticket", "double")
  koffi.alias("lh_module", "double")
  koffi.alias("lh_kernel", "double")
  koffi.struct("lh_open_options", {
    struct_bytes: "uint32_t",
    device_index: "uint32_t",
    flags: "uint32_t",
    reserved_0: "uint32_t",
    settings: "const char *",
    reserved: koffi.array("uint64_t", 4)
  })
  koffi.struct("lh_error", {
    struct_bytes: "uint32_t",
    status: "int32_t",
    device_code: "int64_t",
    entry_index: "uint32_t",
    reserved: "uint32_t",
    device_name: koffi.array("char", 64),
    detail: koffi.array("char", 168)
  })
  koffi.struct("lh_device_info", {
    struct_bytes: "uint32_t",
    features: "uint32_t",
    total_bytes: "uint64_t",
    name: koffi.array("char", 64),
    uuid: koffi.array("char", 40),
    driver: koffi.array("char", 64),
    reserved: koffi.array("uint64_t", 4)
  })
  koffi.struct("lh_traits", {
    struct_bytes: "uint32_t",
    flags: "uint32_t",
    alignment_bytes: "uint64_t",
    size_granularity_bytes: "uint64_t",
    tail_bytes: "uint64_t",
    coalesce_max_bytes: "uint64_t",
    argument_max_bytes: "uint64_t",
    reserved: koffi.array("uint64_t", 4)
  })
  koffi.struct("lh_memory_info", {
    struct_bytes: "uint32_t",
    reserved_0: "uint32_t",
    total_bytes: "uint64_t",
    free_bytes: "uint64_t",
    reserved: koffi.array("uint64_t", 2)
  })
  koffi.struct("lh_statistics", {
    struct_bytes: "uint32_t",
    in_flight_count: "uint32_t",
    live_bytes: "uint64_t",
    live_count: "uint64_t",
    host_live_bytes: "uint64_t",
    host_live_count: "uint64_t",
    malloc_count: "uint64_t",
    free_count: "uint64_t",
    copy_in_count: "uint64_t",
    copy_out_count: "uint64_t",
    fill_count: "uint64_t",
    launch_count: "uint64_t",
    copied_in_bytes: "uint64_t",
    copied_out_bytes: "uint64_t",
    clock_nanos: "uint64_t",
    reserved: koffi.array("uint64_t", 4)
  })
  koffi.struct("lh_transfer", {
    kind: "double",
    destination: "double",
    source: "double",
    byte_count: "double"
  })
  koffi.struct("lh_argument", {
    kind: "double",
    dtype: "double",
    byte_count: "double",
    alignment_bytes: "double",
    address: "double",
    scalar: koffi.array("uint8_t", 8),
    rank: "double",
    reserved: "double",
    dims: koffi.array("double", 8)
  })
  koffi.struct("lh_parameter", {
    argument: "double",
    byte_count: "double",
    constant: koffi.array("uint8_t", 8),
    offset_bytes: "double"
  })
  koffi.struct("lh_launch_step", {
    kernel: "double",
    grid: koffi.array("double", 3),
    block: koffi.array("double", 3),
    shared_bytes: "double",
    first_parameter: "double",
    parameter_count: "double",
    reserved: koffi.array("double", 6)
  })
  koffi.struct("lh_launch_plan", {
    struct_bytes: "uint32_t",
    step_count: "uint32_t",
    parameter_count: "uint32_t",
    reserved_0: "uint32_t",
    steps: "const lh_launch_step *",
    parameters: "const lh_parameter *",
    reserved: koffi.array("uint64_t", 2)
  })
  koffi.struct("lh_geometry", {
    struct_bytes: "uint32_t",
    grid: koffi.array("uint32_t", 3),
    block: koffi.array("uint32_t", 3),
    shared_bytes: "uint32_t",
    plan: "const lh_launch_plan *",
    reserved: koffi.array("uint64_t", 1)
  })
}

/** The functions, one prototype a line, in the header's order. */
export const prototypes = {
  lh_abi_version: "uint32_t lh_abi_version(void)",
  lh_context_open:
    "lh_status lh_context_open(const lh_open_options *options, _Inout_ lh_error *error, _Out_ lh_context **context_out)",
  lh_context_close: "lh_status lh_context_close(lh_context *context)",
  lh_context_abandon: "lh_status lh_context_abandon(lh_context *context)",
  lh_device_info_get: "lh_status lh_device_info_get(lh_context *context, _Inout_ lh_device_info *info_out)",
  lh_traits_get: "lh_status lh_traits_get(lh_context *context, _Inout_ lh_traits *traits_out)",
  lh_memory_info_get: "lh_status lh_memory_info_get(lh_context *context, _Inout_ lh_memory_info *info_out)",
  lh_statistics_get: "lh_status lh_statistics_get(lh_context *context, _Inout_ lh_statistics *statistics_out)",
  lh_last_error: "lh_status lh_last_error(lh_context *context, _Inout_ lh_error *error_out)",
  lh_malloc:
    "lh_status lh_malloc(lh_context *context, uint64_t byte_count, uint64_t alignment_bytes, lh_address *address_out)",
  lh_free: "lh_status lh_free(lh_context *context, lh_address address)",
  lh_host_malloc: "lh_status lh_host_malloc(lh_context *context, uint64_t byte_count, lh_address *address_out)",
  lh_host_free: "lh_status lh_host_free(lh_context *context, lh_address address)",
  lh_host_register: "lh_status lh_host_register(lh_context *context, lh_address address, uint64_t byte_count)",
  lh_host_unregister: "lh_status lh_host_unregister(lh_context *context, lh_address address)",
  lh_submit:
    "lh_status lh_submit(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count, lh_ticket *ticket_out, uint32_t *failed_index_out)",
  lh_collect:
    "lh_status lh_collect(lh_context *context, const lh_transfer *transfers, uint32_t count, uint32_t *failed_index_out)",
  lh_poll: "lh_status lh_poll(lh_context *context, lh_ticket ticket, uint32_t *failed_index_out)",
  lh_wait:
    "lh_status lh_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos, uint32_t *failed_index_out)",
  lh_completion_descriptor: "lh_status lh_completion_descriptor(lh_context *context, int32_t *descriptor_out)",
  lh_module_load: "lh_status lh_module_load(lh_context *context, const char *path, lh_module *module_out)",
  lh_kernel_find:
    "lh_status lh_kernel_find(lh_context *context, lh_module module, const char *symbol, lh_kernel *kernel_out)",
  lh_launch:
    "lh_status lh_launch(lh_context *context, uint32_t lane, lh_kernel kernel, const lh_geometry *geometry, const lh_argument *arguments, uint32_t count, lh_address argument_table_address, lh_ticket *ticket_out, uint32_t *failed_index_out)"
} as const

export type FunctionName = keyof typeof prototypes

/** A native function: called at once, or on a worker thread through `async`, which ends in a callback. */
export interface NativeFunction {
  (...args: ReadonlyArray<unknown>): unknown
  readonly async: (...args: ReadonlyArray<unknown>) => void
}

export type Functions = { readonly [K in FunctionName]: NativeFunction }

let typesDeclared = false

/** A library's functions. They are declared once for a path and never unloaded. */
const declared = new Map<string, Functions>()

/** Loads a library and finds every function of the ABI. Throws koffi's error where one is missing. */
export const declareLibrary = (path: string): Functions => {
  const known = declared.get(path)
  if (known !== undefined) {
    return known
  }
  if (!typesDeclared) {
    declareTypes()
    typesDeclared = true
  }
  const library = koffi.load(path)
  const functions = {} as Record<FunctionName, NativeFunction>
  for (const name of Object.keys(prototypes) as Array<FunctionName>) {
    functions[name] = library.func(prototypes[name])
  }
  declared.set(path, functions)
  return functions
}
