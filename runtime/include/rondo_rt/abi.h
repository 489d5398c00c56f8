/*===- abi.h - what compiled code and the runtime tell each other ---*- C -*-===*\
|* Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.           *|
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception                      *|
\*===----------------------------------------------------------------------===*/
/* The compiler includes this very file: field offsets in generated code are
   offsetof() of these structs. A change bumps RONDO_RT_ABI_VERSION, docs/ABI.md
   and CHANGELOG.md together. All memory belongs to the runtime; compiled code
   keeps nothing between two calls. Little-endian, 64-bit pointers. */
#ifndef RONDO_RT_ABI_H
#define RONDO_RT_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define RONDO_RT_STATIC_ASSERT(cond, text) static_assert(cond, text)
extern "C" {
#else
#define RONDO_RT_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

#define RONDO_RT_ABI_VERSION 2u
/* "RNDO" read as a little-endian word; first word of every code image. */
#define RONDO_RT_CODE_MAGIC 0x4f444e52u
/* Alignment of the arena, of thread scratch, of weights and of KV pages, bytes. */
#define RONDO_RT_ALIGNMENT 64u
/* Positions of one KV page; also the chunk in which attention reduces. */
#define RONDO_RT_PAGE_POSITIONS 128u
/* Marks "no such index" in 32-bit fields. */
#define RONDO_RT_NONE 0xffffffffu

/* What becomes of a row (design: "row"). */
typedef enum rondo_rt_row_kind {
  RONDO_RT_ROW_FULL = 0,    /* computed and read out */
  RONDO_RT_ROW_KV_ONLY = 1, /* exited; writes the K/V deeper readers need */
  RONDO_RT_ROW_GHOST = 2,   /* exited; runs on for others to see */
} rondo_rt_row_kind;

/* The row is a guess that a later step may take back. */
#define RONDO_RT_ROW_SPECULATIVE 1u

/* One token being computed at one depth. 32 bytes. Since version 1; `place`
   since version 2. */
typedef struct rondo_rt_row {
  uint32_t token;     /* token id, below the vocabulary's size */
  uint32_t position;  /* position in its sequence, from 0 */
  uint32_t sequence;  /* sequence index, below `sequences` of the manifest */
  uint32_t visible;   /* KV length it may see: positions [0, visible) */
  uint16_t visit;     /* visit whose KV slots and side parameters it uses in `depth_step`; else 0 */
  uint8_t kind;       /* rondo_rt_row_kind */
  uint8_t flags;      /* RONDO_RT_ROW_SPECULATIVE */
  uint32_t token_type; /* below `token_types` of the manifest; 0 where there are none */
  uint32_t place;      /* of selected rows, by compiled code: where it stands in its KV slots; else 0 */
  uint32_t reserved;   /* 0 */
} rondo_rt_row;
RONDO_RT_STATIC_ASSERT(sizeof(rondo_rt_row) == 32, "row descriptor is 32 bytes");
RONDO_RT_STATIC_ASSERT(offsetof(rondo_rt_row, visit) == 16, "row layout");
RONDO_RT_STATIC_ASSERT(offsetof(rondo_rt_row, token_type) == 20, "row layout");

/* One entry of the schedule: which body runs with which weights. 16 bytes.
   The table is data of the bundle, never code, so that code does not grow with
   the number of visits. */
typedef struct rondo_rt_execution {
  uint16_t body;  /* index of the compiled body */
  uint16_t layer; /* index into parameters stacked by layer */
  uint16_t side;  /* index into parameters stacked by depth */
  uint16_t slot;  /* first KV slot of the execution */
  uint32_t trace; /* first trace point of the execution, or RONDO_RT_NONE */
  uint32_t reserved; /* 0 */
} rondo_rt_execution;
RONDO_RT_STATIC_ASSERT(sizeof(rondo_rt_execution) == 16, "execution is 16 bytes");

struct rondo_rt_context;

/* Waits until all threads of the team are here. Called by compiled code between
   two stages; `thread` in [0, thread_count). */
typedef void (*rondo_rt_barrier_fn)(struct rondo_rt_context *context, uint32_t thread);

/* Everything compiled code may touch during one step. 192 bytes. Since version 1;
   `computed` since version 2. */
typedef struct rondo_rt_context {
  uint32_t abi_version;  /* RONDO_RT_ABI_VERSION */
  uint32_t struct_size;  /* sizeof(rondo_rt_context) */
  uint32_t thread_count; /* threads in the team, at least 1 */
  uint32_t row_count;    /* rows of this step, 1 .. `rows` of the manifest */
  const rondo_rt_row *rows;      /* [row_count] */
  const uint32_t *output_rows;   /* [output_count] rows whose logits are wanted, ascending */
  uint32_t output_count;         /* 0 .. row_count */
  uint32_t visit_first;          /* `depth_step`: visit whose bodies and layers run; else 0 */
  const rondo_rt_execution *executions; /* the schedule, all visits in order */
  const uint32_t *visit_begin;   /* [visit_count + 1] first execution of a visit */
  uint32_t visit_count;          /* visits that `full` runs */
  uint32_t page_table_stride;    /* entries of `page_table` per sequence */
  const char *weights;           /* base of the weight region of the mapped bundle */
  char *arena;                   /* `arena_bytes` of the manifest, shared by the team */
  char *scratch;                 /* [thread_count] x scratch_stride bytes */
  uint64_t scratch_stride;       /* at least `scratch_bytes` of the manifest */
  char *kv;                      /* base of the KV pool */
  const uint32_t *page_table;    /* [sequences][page_table_stride] page index in the pool */
  float *logits;                 /* [output_count][logits_stride of the manifest], all outputs of a row */
  float *trace;                  /* [trace points][row_count][widest point], or null */
  uint64_t trace_stride;         /* floats from one trace point to the next */
  rondo_rt_barrier_fn barrier;
  void *runtime;                 /* the runtime's own; compiled code passes it on untouched */
  const uint32_t *computed;      /* [sequences][computed_stride] positions that each visit has computed; routed models */
  uint64_t computed_stride;      /* entries of `computed` per sequence */
  uint64_t reserved[3];          /* 0 */
} rondo_rt_context;
RONDO_RT_STATIC_ASSERT(sizeof(rondo_rt_context) == 192, "context is 192 bytes");

/* An entry point: every thread of the team calls it once per step. */
typedef void (*rondo_rt_entry_fn)(rondo_rt_context *context, uint32_t thread);

/* Entry points of a code image, in the order of the header's table. */
typedef enum rondo_rt_entry {
  RONDO_RT_ENTRY_FULL = 0,       /* prelude, every visit, coda */
  RONDO_RT_ENTRY_PRELUDE = 1,    /* tokens to state */
  RONDO_RT_ENTRY_DEPTH_STEP = 2, /* one visit of a block, rows at their own visits */
  RONDO_RT_ENTRY_CODA = 3,       /* state to logits of the output rows */
  RONDO_RT_ENTRY_COUNT = 4,
} rondo_rt_entry;

/* Instruction sets a code image needs; bits of `features`. */
#define RONDO_RT_CPU_X86_64_V3 (1ull << 0)   /* AVX2, FMA, F16C, BMI2 ... */
#define RONDO_RT_CPU_AVX512 (1ull << 1)      /* x86-64-v4: F, BW, CD, DQ, VL */
#define RONDO_RT_CPU_AVX512_VNNI (1ull << 2)
#define RONDO_RT_CPU_AVX512_BF16 (1ull << 3)

/* Head of a code image: a flat position-independent blob at a page boundary of
   the bundle, mapped read+execute as it is. 64 bytes. */
typedef struct rondo_rt_code_header {
  uint32_t magic;        /* RONDO_RT_CODE_MAGIC */
  uint32_t abi_version;  /* RONDO_RT_ABI_VERSION */
  uint64_t features;     /* RONDO_RT_CPU_* bits that must be present */
  uint64_t image_size;   /* bytes of the whole image */
  uint32_t context_size; /* sizeof(rondo_rt_context) it was compiled with */
  uint32_t entry_count;  /* RONDO_RT_ENTRY_COUNT */
  uint64_t entries[RONDO_RT_ENTRY_COUNT]; /* byte offsets from the image's start, multiples of 16 */
} rondo_rt_code_header;
RONDO_RT_STATIC_ASSERT(sizeof(rondo_rt_code_header) == 64, "code header is 64 bytes");

#ifdef __cplusplus
}
#endif
#endif /* RONDO_RT_ABI_H */
