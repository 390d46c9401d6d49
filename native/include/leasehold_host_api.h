/*
 * leasehold_host_api.h: the whole C ABI between Leasehold and a device.
 *
 * One shared library per backend exports exactly the functions below and nothing else. The header is frozen from
 * version 1 on: a later version only adds feature bits, flags and fields that take the place of reserved ones.
 *
 * General considerations
 *
 * - Every function returns an lh_status. Results go through trailing `*_out` parameters, written only on LH_OK, unless the
 *   comment says otherwise. `*_out` pointers may not be null.
 * - Any function may be called from any thread at any time. The library makes its own context current around each call.
 * - Nothing here calls back into the caller, prints, or keeps a pointer that the caller passed beyond the call, except
 *   where the comment says so.
 * - Addresses, tickets, modules and kernels are doubles that hold non-negative integers below 2^53, so that a host language
 *   without 64-bit integers passes them in flat tables. A device address at or above 2^53 is never handed out
 *   (LH_ADDRESS_TOO_LARGE), and a double that is not such an integer is refused (LH_INVALID_ARGUMENT). Zero is null.
 * - Every struct that grows starts with `struct_bytes`, set by the caller to the size it was compiled with; the library
 *   reads and writes no further than that. Reserved fields are zero.
 * - Durations are nanoseconds.
 * - A sticky status (lh_status_is_sticky) means that the device or its context is lost: every later call on that context
 *   answers the same status, and the only useful call is lh_context_abandon.
 */
#ifndef LEASEHOLD_HOST_API_H
#define LEASEHOLD_HOST_API_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define LH_EXPORT __declspec(dllexport)
#else
#define LH_EXPORT __attribute__((visibility("default")))
#endif

#define LH_ABI_VERSION 1u

/* Statuses ------------------------------------------------------------------------------------------------------- */

typedef int32_t lh_status;

enum {
  LH_OK = 0,
  LH_INVALID_ARGUMENT = 1,    /* a null pointer, a size or number out of range, an unknown setting */
  LH_OUT_OF_MEMORY = 2,       /* the device has no room in one piece; nothing changed */
  LH_HOST_OUT_OF_MEMORY = 3,  /* the host has no room; nothing changed */
  LH_OUT_OF_RANGE = 4,        /* a transfer or argument leaves the allocation it starts in */
  LH_USE_AFTER_FREE = 5,      /* an address inside an allocation that was freed */
  LH_DOUBLE_FREE = 6,         /* the base address of an allocation that was freed already */
  LH_FOREIGN_POINTER = 7,     /* an address that this context never handed out */
  LH_NOT_READY = 8,           /* poll: the work has not ended yet */
  LH_TIMEOUT = 9,             /* wait: the work has not ended within the time given */
  LH_UNKNOWN_HANDLE = 10,     /* a ticket, module or kernel that this context does not know */
  LH_LIBRARY_NOT_LOADED = 11, /* a module or kernel library could not be loaded */
  LH_SYMBOL_NOT_FOUND = 12,   /* the module has no such kernel */
  LH_LAUNCH_FAILED = 13,      /* the kernel reported a failure; lh_last_error has its own code */
  LH_BUSY = 14,               /* a bounded table is full: retry after some work has ended */
  LH_UNSUPPORTED = 15,        /* this backend does not offer the operation */
  LH_NO_DEVICE = 16,          /* there is no device of that index */
  LH_ADDRESS_TOO_LARGE = 17,  /* the device's address is at or above 2^53 */
  LH_TRANSFER_FAILED = 18,    /* the device reported a failed transfer that is not sticky */
  LH_MISALIGNED = 19,         /* an address is not aligned as the argument entry says */
  LH_DEVICE_LOST = 100        /* sticky: the context is lost */
};

/* Sticky are LH_DEVICE_LOST and every status that this header does not list: what is not known is not trusted. */
static inline int lh_status_is_sticky(lh_status status) { return status < LH_OK || status > LH_MISALIGNED; }

/* Handles and plain numbers --------------------------------------------------------------------------------------- */

typedef struct lh_context lh_context; /* opaque; owned by the caller until lh_context_close or lh_context_abandon */
typedef double lh_address;            /* a device or host address */
typedef double lh_ticket;             /* work in flight; 0 means that the work ended within the call */
typedef double lh_module;
typedef double lh_kernel;

/* Where a piece of work queues. Work on one lane happens in order; lanes overlap if the traits say so. */
enum { LH_LANE_IN = 0, LH_LANE_COMPUTE = 1, LH_LANE_OUT = 2, LH_LANE_COUNT = 3 };

/*
 * Beside the lane of a launch: the kernel runs on a thread of the backend, and the call hands out a ticket, even where the
 * backend answers at once. For backends with LH_FEATURE_DEFERRED_LAUNCH.
 */
#define LH_LANE_DEFERRED 0x80000000u

/* Structs -------------------------------------------------------------------------------------------------------- */

/* How to open a context. */
typedef struct lh_open_options {
  uint32_t struct_bytes;
  uint32_t device_index;
  uint32_t flags;       /* none yet */
  uint32_t reserved_0;
  const char *settings; /* `name=value` pairs parted by single spaces, in the backend's own words; may be null */
  uint64_t reserved[4];
} lh_open_options;

/* What is known about the last failure of a context. */
typedef struct lh_error {
  uint32_t struct_bytes;
  lh_status status;
  int64_t device_code;  /* the vendor's own code, or the kernel's return value; 0 where there is none */
  uint32_t entry_index; /* the table entry that failed; UINT32_MAX where no entry did */
  uint32_t reserved;
  char device_name[64]; /* the vendor's own name of the code; empty where there is none */
  char detail[168];     /* a sentence for a person, without addresses; may be empty */
} lh_error;

enum {
  LH_FEATURE_TICKETS = 1 << 0,               /* submit and launch may hand out tickets */
  LH_FEATURE_HOST_REGISTER = 1 << 1,         /* host memory of the caller can be registered */
  LH_FEATURE_COMPLETION_DESCRIPTOR = 1 << 2, /* there is a descriptor to watch */
  LH_FEATURE_VIRTUAL_CLOCK = 1 << 3,         /* clock_nanos is counted, not measured */
  LH_FEATURE_DEFERRED_LAUNCH = 1 << 4,       /* launches can be deferred */
  LH_FEATURE_LAUNCH_STEPS = 1 << 5           /* a launch may have several steps, and needs to say what they are */
};

typedef struct lh_device_info {
  uint32_t struct_bytes;
  uint32_t features;    /* LH_FEATURE_* */
  uint64_t total_bytes; /* device memory, as the device reports it */
  char name[64];
  char uuid[40];        /* empty where the device has none */
  char driver[64];
  uint64_t reserved[4];
} lh_device_info;

enum {
  LH_TRAIT_IMMEDIATE = 1 << 0,        /* submit and launch end within the call and hand out no tickets */
  LH_TRAIT_OVERLAPS_COPIES = 1 << 1,  /* the in and out lanes run beside the compute lane */
  LH_TRAIT_FREE_SYNCHRONIZES = 1 << 2, /* free waits for all work of the device */
  LH_TRAIT_ARGUMENT_TABLE = 1 << 3,   /* launches above argument_max_bytes need argument_table_address */
  LH_TRAIT_RECOVERY_NEW_PROCESS = 1 << 4 /* a sticky fault is recovered from by a new process, else by a new context */
};

typedef struct lh_traits {
  uint32_t struct_bytes;
  uint32_t flags;                  /* LH_TRAIT_* */
  uint64_t alignment_bytes;        /* least alignment of a slice; a power of two */
  uint64_t size_granularity_bytes; /* allocations are rounded up to a multiple of this */
  uint64_t tail_bytes;             /* bytes that the device may touch behind each slice */
  uint64_t coalesce_max_bytes;     /* copies up to this many bytes in one direction go through staging as one; 0: never */
  uint64_t argument_max_bytes;     /* largest argument block passed by value; 0: no limit */
  uint64_t reserved[4];
} lh_traits;

typedef struct lh_memory_info {
  uint32_t struct_bytes;
  uint32_t reserved_0;
  uint64_t total_bytes;
  uint64_t free_bytes; /* the sum of what is free, not the largest piece */
  uint64_t reserved[2];
} lh_memory_info;

/* What the context has done since it was opened, and what it holds. Counts succeed-only operations. */
typedef struct lh_statistics {
  uint32_t struct_bytes;
  uint32_t in_flight_count; /* tickets whose work has not ended */
  uint64_t live_bytes;
  uint64_t live_count;
  uint64_t host_live_bytes;
  uint64_t host_live_count;
  uint64_t malloc_count;
  uint64_t free_count;
  uint64_t copy_in_count;
  uint64_t copy_out_count;
  uint64_t fill_count;
  uint64_t launch_count;
  uint64_t copied_in_bytes;
  uint64_t copied_out_bytes;
  uint64_t clock_nanos;  /* time the device has spent; virtual or real as the backend was opened */
  uint64_t reserved[4];
} lh_statistics;

/* One entry of a transfer table. */
enum {
  LH_TRANSFER_COPY_IN = 1,   /* host source to device destination */
  LH_TRANSFER_COPY_OUT = 2,  /* device source to host destination */
  LH_TRANSFER_FILL = 3,      /* device destination filled with the byte value in source */
  LH_TRANSFER_HOST_COPY = 4, /* host source to host destination, within the call (submit: before, collect: after the device's work) */
  LH_TRANSFER_HOST_FILL = 5  /* host destination filled with the byte value in source, within the call */
};

typedef struct lh_transfer {
  double kind;        /* LH_TRANSFER_* */
  double destination; /* an address */
  double source;      /* an address, or a byte value from 0 to 255 */
  double byte_count;  /* at least 1 */
} lh_transfer;

/* One entry of an argument table. */
enum {
  LH_ARGUMENT_INPUT = 1,
  LH_ARGUMENT_OUTPUT = 2,
  LH_ARGUMENT_INOUT = 3,
  LH_ARGUMENT_RESIDENT = 4,
  LH_ARGUMENT_SCRATCH = 5,
  LH_ARGUMENT_SCALAR = 6
};

enum {
  LH_DTYPE_FLOAT16 = 1,
  LH_DTYPE_BFLOAT16 = 2,
  LH_DTYPE_FLOAT32 = 3,
  LH_DTYPE_FLOAT64 = 4,
  LH_DTYPE_INT8 = 5,
  LH_DTYPE_INT16 = 6,
  LH_DTYPE_INT32 = 7,
  LH_DTYPE_INT64 = 8,
  LH_DTYPE_UINT8 = 9,
  LH_DTYPE_UINT16 = 10,
  LH_DTYPE_UINT32 = 11,
  LH_DTYPE_UINT64 = 12
};

#define LH_ARGUMENT_MAX_RANK 8
#define LH_ARGUMENT_MAX_COUNT 65536u

typedef struct lh_argument {
  double kind;            /* LH_ARGUMENT_* */
  double dtype;           /* LH_DTYPE_* */
  double byte_count;      /* logical bytes; 0 for an empty tensor, whose address is null */
  double alignment_bytes; /* what the address is aligned to; 0 where nothing is promised */
  double address;         /* device address; 0 for a scalar and for an empty tensor */
  uint8_t scalar[8];      /* the value in its own type, in the host's byte order, from the first byte on */
  double rank;            /* 0 to LH_ARGUMENT_MAX_RANK */
  double reserved;
  double dims[LH_ARGUMENT_MAX_RANK]; /* element counts, outermost first */
} lh_argument;

/*
 * One parameter of a step: an argument of the launch, or a constant. A tensor is passed as its device address in eight bytes, plus
 * an offset that lies within it or right behind it; a scalar in as many bytes as its type has.
 */
typedef struct lh_parameter {
  double argument;      /* an index into the argument table, or -1 for a constant */
  double byte_count;    /* of a constant: 1 to 8; otherwise 0 */
  uint8_t constant[8];  /* in the host's byte order, from the first byte on */
  double offset_bytes;  /* into a tensor; otherwise 0 */
} lh_parameter;

/* One kernel of a launch on a device that has a geometry. */
typedef struct lh_launch_step {
  double kernel;
  double grid[3];
  double block[3];
  double shared_bytes;     /* dynamic shared memory */
  double first_parameter;  /* an index into the parameters of the plan */
  double parameter_count;
  double reserved[6];
} lh_launch_step;

/* All that a launch executes, in order, for backends with LH_FEATURE_LAUNCH_STEPS. The next step sees what the last one wrote. */
typedef struct lh_launch_plan {
  uint32_t struct_bytes;
  uint32_t step_count; /* at least 1 */
  uint32_t parameter_count;
  uint32_t reserved_0;
  const lh_launch_step *steps;
  const lh_parameter *parameters;
  uint64_t reserved[2];
} lh_launch_plan;

/* The geometry of a launch, for devices that have one. */
typedef struct lh_geometry {
  uint32_t struct_bytes;
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes;
  const lh_launch_plan *plan; /* with one, the fields above and the launch's own kernel are not looked at; may be null */
  uint64_t reserved[1];
} lh_geometry;

/* C++ has the same assertion under another name. */
#ifdef __cplusplus
#define LH_STATIC_ASSERT static_assert
#else
#define LH_STATIC_ASSERT _Static_assert
#endif

LH_STATIC_ASSERT(sizeof(double) == 8, "doubles carry addresses");
LH_STATIC_ASSERT(sizeof(lh_open_options) == 56, "lh_open_options crosses");
LH_STATIC_ASSERT(sizeof(lh_error) == 256, "lh_error crosses");
LH_STATIC_ASSERT(sizeof(lh_device_info) == 216, "lh_device_info crosses");
LH_STATIC_ASSERT(sizeof(lh_traits) == 80, "lh_traits crosses");
LH_STATIC_ASSERT(sizeof(lh_memory_info) == 40, "lh_memory_info crosses");
LH_STATIC_ASSERT(sizeof(lh_statistics) == 144, "lh_statistics crosses");
LH_STATIC_ASSERT(sizeof(lh_transfer) == 32, "lh_transfer crosses in flat tables");
LH_STATIC_ASSERT(sizeof(lh_argument) == 128, "lh_argument crosses in flat tables");
LH_STATIC_ASSERT(sizeof(lh_parameter) == 32, "lh_parameter crosses in flat tables");
LH_STATIC_ASSERT(sizeof(lh_launch_step) == 128, "lh_launch_step crosses in flat tables");
LH_STATIC_ASSERT(sizeof(lh_launch_plan) == 48, "lh_launch_plan crosses");
LH_STATIC_ASSERT(sizeof(lh_geometry) == 48, "lh_geometry crosses");

/* Versions ------------------------------------------------------------------------------------------------------- */

/* The version of this header that the library was built with. The only function that cannot fail. */
LH_EXPORT uint32_t lh_abi_version(void);

/* Context -------------------------------------------------------------------------------------------------------- */

/* Opens a context. On failure, `error` (may be null) says why. The caller owns the context. */
LH_EXPORT lh_status lh_context_open(const lh_open_options *options, lh_error *error, lh_context **context_out);

/* Waits for all work, frees every allocation, and ends the context. The handle is dead afterwards, whatever is returned. */
LH_EXPORT lh_status lh_context_close(lh_context *context);

/* Ends the handle without touching the device: device memory and work in flight are forgotten, not freed. */
LH_EXPORT lh_status lh_context_abandon(lh_context *context);

LH_EXPORT lh_status lh_device_info_get(lh_context *context, lh_device_info *info_out);
LH_EXPORT lh_status lh_traits_get(lh_context *context, lh_traits *traits_out);
LH_EXPORT lh_status lh_memory_info_get(lh_context *context, lh_memory_info *info_out);
LH_EXPORT lh_status lh_statistics_get(lh_context *context, lh_statistics *statistics_out);

/* The last failure of any call on this context. With several threads, the failure may be another thread's. */
LH_EXPORT lh_status lh_last_error(lh_context *context, lh_error *error_out);

/* Memory --------------------------------------------------------------------------------------------------------- */

/* Allocates byte_count (at least 1) device bytes at a multiple of alignment_bytes (a power of two). Contents are undefined. */
LH_EXPORT lh_status lh_malloc(lh_context *context, uint64_t byte_count, uint64_t alignment_bytes, lh_address *address_out);

/* Frees what lh_malloc returned. */
LH_EXPORT lh_status lh_free(lh_context *context, lh_address address);

/* Allocates host memory, pinned where the device has that, zeroed, aligned to 64 bytes. Owned by the caller. */
LH_EXPORT lh_status lh_host_malloc(lh_context *context, uint64_t byte_count, lh_address *address_out);
LH_EXPORT lh_status lh_host_free(lh_context *context, lh_address address);

/* Pins host memory of the caller, which must stay where it is until it is unregistered or the context ends. */
LH_EXPORT lh_status lh_host_register(lh_context *context, lh_address address, uint64_t byte_count);
LH_EXPORT lh_status lh_host_unregister(lh_context *context, lh_address address);

/* Work ----------------------------------------------------------------------------------------------------------- */

/*
 * Submits a table of transfers on a lane. The whole table is checked before a byte moves; a refused table moves nothing.
 * Entries happen in order. HOST_COPY and HOST_FILL entries must come before all others, unless the backend is immediate.
 * Host addresses in COPY_IN and COPY_OUT must stay valid until the ticket ends; when the ticket is 0, until the call ends.
 * Where a device refuses an entry when others are under way already, the call succeeds and the ticket ends with the failure.
 * On failure failed_index_out holds the entry that failed, or UINT32_MAX where no entry did; written on failure only.
 */
LH_EXPORT lh_status lh_submit(lh_context *context, uint32_t lane, const lh_transfer *transfers, uint32_t count,
                              lh_ticket *ticket_out, uint32_t *failed_index_out);

/* Moves staged bytes to where they belong: HOST_COPY and HOST_FILL entries only, checked as a whole, within the call. */
LH_EXPORT lh_status lh_collect(lh_context *context, const lh_transfer *transfers, uint32_t count,
                               uint32_t *failed_index_out);

/* LH_NOT_READY while the work goes on; otherwise how it ended, once: then the ticket is unknown. */
LH_EXPORT lh_status lh_poll(lh_context *context, lh_ticket ticket, uint32_t *failed_index_out);

/* Like lh_poll, but waits: briefly spinning, then sleeping, for at most timeout_nanos and at most 100 ms a call. */
LH_EXPORT lh_status lh_wait(lh_context *context, lh_ticket ticket, uint64_t timeout_nanos, uint32_t *failed_index_out);

/* A file descriptor that becomes readable when a ticket ends, or LH_UNSUPPORTED. */
LH_EXPORT lh_status lh_completion_descriptor(lh_context *context, int32_t *descriptor_out);

/* Kernels -------------------------------------------------------------------------------------------------------- */

/* Loads a module or library of kernels. `path` is absolute. Modules live as long as the context. */
LH_EXPORT lh_status lh_module_load(lh_context *context, const char *path, lh_module *module_out);

/* Finds a kernel by its name. Kernels live as long as the context. */
LH_EXPORT lh_status lh_kernel_find(lh_context *context, lh_module module, const char *symbol, lh_kernel *kernel_out);

/*
 * Launches a kernel on a lane, deferred where LH_LANE_DEFERRED is added to it. Every argument address is checked against the live allocations before the launch.
 * `geometry` may be null. `argument_table_address` is 0 (arguments by value) or the device address of a table that holds
 * them. The arguments are read within the call. On failure failed_index_out holds the argument, as for lh_submit.
 */
LH_EXPORT lh_status lh_launch(lh_context *context, uint32_t lane, lh_kernel kernel, const lh_geometry *geometry,
                              const lh_argument *arguments, uint32_t count, lh_address argument_table_address,
                              lh_ticket *ticket_out, uint32_t *failed_index_out);

#ifdef __cplusplus
}
#endif

#endif
