/*===- runtime.h - load a bundle, run it, sample from it --------*- C -*-===*\
|* Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.       *|
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception                  *|
\*===--------------------------------------------------------------------===*/
/* Ownership: what a `_create` or `_load` hands out is released by the caller
   with the `_free` of the same noun; whatever a getter returns is borrowed and
   lives as long as its object, or until the object's next step where it says
   so. A session borrows its model, a scheduler its session: free them in the
   opposite order. A `rondo_rt_status *` is null on success, else the caller
   frees it; results are written on success only. Objects are used by one thread
   at a time, except for `rondo_rt_scheduler_cancel`. The library never logs,
   exits or throws. */
#ifndef RONDO_RT_RUNTIME_H
#define RONDO_RT_RUNTIME_H

#include "rondo_rt/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RONDO_RT_API __attribute__((visibility("default")))

/*===-- Status ------------------------------------------------------------===*/

/** What kind of fault a status reports. */
typedef enum rondo_rt_status_code {
  RONDO_RT_STATUS_OK = 0,
  RONDO_RT_STATUS_INVALID_ARGUMENT = 1, /* the caller's values are at fault */
  RONDO_RT_STATUS_INVALID_BUNDLE = 2,   /* the file is malformed or damaged */
  RONDO_RT_STATUS_UNSUPPORTED =
      3,                  /* valid, but not for this machine or model */
  RONDO_RT_STATUS_IO = 4, /* the system could not read the file */
  RONDO_RT_STATUS_OUT_OF_MEMORY =
      5, /* memory, or the limit set on it, is used up */
  RONDO_RT_STATUS_EXHAUSTED = 6, /* sequences or context are used up */
  RONDO_RT_STATUS_CANCELLED =
      7, /* rondo_rt_scheduler_cancel or _cancel_request was called */
  RONDO_RT_STATUS_NUMERIC = 8, /* the model computed a NaN */
} rondo_rt_status_code;

/** A failure: a code and a message that names the cause and the way out. */
typedef struct rondo_rt_status rondo_rt_status;

/** The code; RONDO_RT_STATUS_OK for null. */
RONDO_RT_API rondo_rt_status_code
rondo_rt_status_get_code(const rondo_rt_status *status);
/** The message, one line of UTF-8; empty for null. */
RONDO_RT_API const char *rondo_rt_status_message(const rondo_rt_status *status);
/** Releases a status; null is allowed. */
RONDO_RT_API void rondo_rt_status_free(rondo_rt_status *status);

/*===-- Machine -----------------------------------------------------------===*/

/** Version of this library, such as "0.1.0". */
RONDO_RT_API const char *rondo_rt_version(void);
/** RONDO_RT_CPU_* bits of this machine. */
RONDO_RT_API uint64_t rondo_rt_machine_features(void);
/** Name of the lowest feature bit set in `bit`, such as "x86-64-v3"; null if
 * unknown. */
RONDO_RT_API const char *rondo_rt_machine_feature_name(uint64_t bit);
/** Size of the last-level cache in bytes, 0 if unknown. */
RONDO_RT_API uint64_t rondo_rt_machine_cache_bytes(void);
/** Share of the last-level cache that weights can count on; the rest goes to
    activations and to others. Measured on a shared 32 MiB cache. */
#define RONDO_RT_CACHE_SHARE 0.625
/** Physical cores this process may use, by affinity and cgroup quota. */
RONDO_RT_API uint32_t rondo_rt_machine_cores(void);

/*===-- Model -------------------------------------------------------------===*/

/** A loaded bundle: mapped file, checked manifest, code and schedule. */
typedef struct rondo_rt_model rondo_rt_model;

/** Load for reading only: any CPU will do, nothing can be executed. */
#define RONDO_RT_MODEL_INSPECT 1u

typedef struct rondo_rt_model_options {
  uint32_t flags;           /* RONDO_RT_MODEL_INSPECT */
  uint64_t weightless_seed; /* fills the weights of a weightless bundle */
} rondo_rt_model_options;

/** A result of a model: floats [offset, offset + width) of each row that
   rondo_rt_session_logits returns. */
typedef struct rondo_rt_output {
  const char *name; /* "logits", "last_hidden_state", ... */
  uint32_t offset;
  uint32_t width;
  uint32_t first; /* 1: means something in rows of position 0 only */
} rondo_rt_output;

/** Facts of a model that callers need; everything else is in the manifest. */
typedef struct rondo_rt_model_info {
  uint32_t vocabulary;        /* token ids are below it */
  uint32_t context;           /* most positions of a sequence */
  uint32_t sequences;         /* most sequences at once */
  uint32_t rows;              /* most rows of a step */
  uint32_t depth;             /* visits of the shared block; 1: not looped */
  uint32_t trace_point_count; /* 0 unless compiled with trace points */
  uint64_t logits_stride;     /* floats from one row of logits to the next */
  uint64_t weight_bytes;
  uint64_t kv_page_bytes;      /* bytes of RONDO_RT_PAGE_POSITIONS positions */
  const uint32_t *stop_tokens; /* [stop_token_count] */
  uint32_t stop_token_count;
  uint32_t execution_count;
  const rondo_rt_execution *executions; /* [execution_count] */
  uint32_t visit_count;    /* visits of the schedule, looped or not */
  uint32_t rows_in_flight; /* most rows between prelude and coda at once */
  const uint32_t *visit_classes; /* [visit_count] class of each visit; rows at
                                    visits of one class can share a step */
  uint32_t token_types; /* token types are below it; 0: the model takes none */
  uint32_t cohort;      /* 1: all rows of a sequence run in one step, and each
                           sees all of them */
  const rondo_rt_output *outputs; /* [output_count] */
  uint32_t output_count;
} rondo_rt_model_info;

/** Maps and checks the bundle at `path`: header, manifest, hashes of everything
   but the weights, ABI version and CPU. `options` may be null. */
RONDO_RT_API rondo_rt_status *
rondo_rt_model_load(const char *path, const rondo_rt_model_options *options,
                    rondo_rt_model **model);
RONDO_RT_API void rondo_rt_model_free(rondo_rt_model *model);
/** Hashes every weight tensor and compares; reads the whole file. */
RONDO_RT_API rondo_rt_status *
rondo_rt_model_verify(const rondo_rt_model *model);
RONDO_RT_API const rondo_rt_model_info *
rondo_rt_model_get_info(const rondo_rt_model *model);
/** The manifest's JSON text. */
RONDO_RT_API const char *rondo_rt_model_manifest(const rondo_rt_model *model);
/** Bytes of a tensor of the bundle by name; null if it has none of that name.
 */
RONDO_RT_API const void *rondo_rt_model_tensor(const rondo_rt_model *model,
                                               const char *name,
                                               uint64_t *bytes);
/** Name of trace point `index`, its number in that name (-1: none) and its
   width in floats; null if there is no such point. */
RONDO_RT_API const char *rondo_rt_model_trace_point(const rondo_rt_model *model,
                                                    uint32_t index,
                                                    int32_t *number,
                                                    uint32_t *width);

/** What a file is to keep of each row of a trace point. */
typedef enum rondo_rt_trace_form {
  RONDO_RT_TRACE_ROWS = 0,     /* all floats: f32 [rows, width] */
  RONDO_RT_TRACE_NUMBERS = 1,  /* the only one: f32 [rows] */
  RONDO_RT_TRACE_INTEGERS = 2, /* the only one, a whole number: i64 [rows] */
  RONDO_RT_TRACE_PRESENT =
      3, /* the only one, of rows where it is not NaN: f32 [at most rows] */
  RONDO_RT_TRACE_POSITIONS =
      4 /* positions of rows where the only one is not 0: i64 [at most rows] */
} rondo_rt_trace_form;
/** The form of trace point `index`; RONDO_RT_TRACE_ROWS if there is none. */
RONDO_RT_API rondo_rt_trace_form
rondo_rt_model_trace_form(const rondo_rt_model *model, uint32_t index);

/*===-- Session and sequences ---------------------------------------------===*/

/** Memory and threads to run a model: arena, scratch, KV pages, team. */
typedef struct rondo_rt_session rondo_rt_session;

/** Allow more threads than cores; slow, for tests of thread counts. */
#define RONDO_RT_SESSION_OVERSUBSCRIBE 1u
/** Keep the trace of every step; needs a bundle with trace points. */
#define RONDO_RT_SESSION_TRACE 2u

typedef struct rondo_rt_session_options {
  uint32_t threads;        /* 0: the physical cores that may be used */
  uint32_t flags;          /* RONDO_RT_SESSION_* */
  uint64_t kv_bytes_limit; /* most bytes of KV pages; 0: what memory leaves */
} rondo_rt_session_options;

/** Creates a session. `options` may be null. Fails, with a proposal, if
   weights, arena and one full sequence do not fit the machine's memory. */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_create(rondo_rt_model *model,
                        const rondo_rt_session_options *options,
                        rondo_rt_session **session);
RONDO_RT_API void rondo_rt_session_free(rondo_rt_session *session);
/** Threads of the team; fewer than asked for if there are fewer cores. */
RONDO_RT_API uint32_t rondo_rt_session_threads(const rondo_rt_session *session);
/** Bytes of KV pages committed so far. */
RONDO_RT_API uint64_t
rondo_rt_session_kv_bytes(const rondo_rt_session *session);

/** Rows of an input of the model beside tokens, by the name that its manifest
   says (docs/Inputs.md): `values` [positions][width], copied; row t is for
   position t of every sequence. A step that comes to a position without a row
   fails. Inputs that are not given are zeros, drawn from a seed, or an error,
   as the model says. Not while a sequence is open. */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_set_input(rondo_rt_session *session, const char *name,
                           const float *values, uint32_t positions,
                           uint32_t width);
/** Seed of the inputs that are drawn; 0 unless set. Not while a sequence is
   open. */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_set_input_seed(rondo_rt_session *session, uint64_t seed);

/** Runs `depth` visits of the model's loop over depth, 1 to the `depth` of its
   info, which holds unless this is called. A model with several loops, or one
   that runs all visits of a layer before the next layer, has one depth only.
   Not while a sequence is open. */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_set_depth(rondo_rt_session *session, uint32_t depth);
/** Whether steps come through a trace point of the model: those of visits
   beyond the session's depth have no values. */
RONDO_RT_API int rondo_rt_session_reaches(const rondo_rt_session *session,
                                          uint32_t point);

/** Runs entry `full` on rows sorted by sequence, then position. The rows of a
   sequence continue it without a gap; pages are committed before the code runs.
   Of a model of scope `cohort` they are the whole sequence, and each sees all.
 */
RONDO_RT_API rondo_rt_status *rondo_rt_session_step(rondo_rt_session *session,
                                                    const rondo_rt_row *rows,
                                                    uint32_t row_count,
                                                    const uint32_t *output_rows,
                                                    uint32_t output_count);
/* Rows at mixed depths. A row enters with `prelude`, runs the visits of the
   schedule one by one, each in a `depth_step` with whatever other rows are at a
   visit of the same class, and leaves with `coda`; in between the session keeps
   its state. A row is known by sequence and position. Its bits are those of
   `step`, whatever rows it shared its steps with.

   - Rows may be in any order; `visible` counts positions whose K and V exist.
   - `visit` is the visit that the row comes to next, from 0; in `coda` it is
     `visit_count`.
   - At most `rows` of the model's info are in a call, and at most
     `rows_in_flight` in flight.
   - A sequence enters its positions without a gap. A row runs a visit after, or
     in one step with, all earlier positions of its sequence.
   - `kind`: `full`; `ghost` runs on as before and is never read out; `kv-only`
     writes the K and V of its visits and keeps the state that it had. A row
     that is not `full` any more does not become so again.
   - The model's KV policy must not depend on how a prompt is cut.
   A call that fails has changed nothing but committed pages. */

/** Lets rows enter: tokens become state. Commits the pages of their positions.
 */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_prelude(rondo_rt_session *session, const rondo_rt_row *rows,
                         uint32_t row_count);
/** Runs one visit of each row; all visits are of one class. A row that the
 * model's router does not let through comes to a later visit than the next one;
 * see rondo_rt_session_next_visit. */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_depth_step(rondo_rt_session *session, const rondo_rt_row *rows,
                            uint32_t row_count);
/** Lets rows that have run all visits leave. Logits of the rows of the call
   that `output_rows` lists, ascending; they must be `full`. */
RONDO_RT_API rondo_rt_status *rondo_rt_session_coda(rondo_rt_session *session,
                                                    const rondo_rt_row *rows,
                                                    uint32_t row_count,
                                                    const uint32_t *output_rows,
                                                    uint32_t output_count);
/** Rows that have entered and not left. */
RONDO_RT_API uint32_t
rondo_rt_session_rows_in_flight(const rondo_rt_session *session);

/** The visit that a row in flight comes to next; RONDO_RT_NONE if it is not. */
RONDO_RT_API uint32_t rondo_rt_session_next_visit(
    const rondo_rt_session *session, uint32_t sequence, uint32_t position);

/** [output_count][logits_stride] of the last step; until the next step. */
RONDO_RT_API const float *
rondo_rt_session_logits(const rondo_rt_session *session);
/** The floats of one trace point and row of the last step, or null if the
   session does not trace or does not reach the point; until the next step. Of a
   step at mixed depths only the points that its rows came through mean
   anything. */
RONDO_RT_API const float *
rondo_rt_session_trace(const rondo_rt_session *session, uint32_t point,
                       uint32_t row);

/** Opens an empty sequence and gives its index. */
RONDO_RT_API rondo_rt_status *
rondo_rt_sequence_create(rondo_rt_session *session, uint32_t *sequence);
/** Ends a sequence; its pages go to others. */
RONDO_RT_API void rondo_rt_sequence_free(rondo_rt_session *session,
                                         uint32_t sequence);
/** Commits the pages of positions [0, length). */
RONDO_RT_API rondo_rt_status *
rondo_rt_sequence_reserve(rondo_rt_session *session, uint32_t sequence,
                          uint32_t length);
/** Forgets the positions from `length` on, in flight or not, and releases their
   pages. */
RONDO_RT_API rondo_rt_status *
rondo_rt_sequence_truncate(rondo_rt_session *session, uint32_t sequence,
                           uint32_t length);
/** Positions computed or in flight. */
RONDO_RT_API uint32_t rondo_rt_sequence_length(const rondo_rt_session *session,
                                               uint32_t sequence);

/** What a probe measures with the session's own threads. */
typedef enum rondo_rt_probe {
  RONDO_RT_PROBE_READ = 0,    /* bytes/s read from a working set of `bytes` */
  RONDO_RT_PROBE_F32_FMA = 1, /* FLOP/s of f32 multiply-adds in registers */
  RONDO_RT_PROBE_BF16_DOT =
      2, /* FLOP/s of bf16 pair products; falls back to f32 */
  RONDO_RT_PROBE_INT8_DOT = 3, /* OP/s of 8-bit products */
} rondo_rt_probe;

/** Measures one ceiling of this machine; takes some 10 ms. */
RONDO_RT_API rondo_rt_status *
rondo_rt_session_measure(rondo_rt_session *session, rondo_rt_probe probe,
                         uint64_t bytes, double *per_second);

/*===-- Scheduler ---------------------------------------------------------===*/

/** Puts prompts and new tokens of many requests into steps, and samples. */
typedef struct rondo_rt_scheduler rondo_rt_scheduler;

/** How a token is drawn. Temperature 0 is greedy, ties to the lowest index.
   Else the candidates are the `top_k` best (0: all), cut to the fewest whose
   probability reaches `top_p`. The random number is a function of (seed,
   request, index of the new token) alone, so it does not depend on the batch.
 */
typedef struct rondo_rt_sampling {
  float temperature; /* >= 0 */
  float top_p;       /* in (0, 1] */
  uint32_t top_k;
  uint64_t seed;
} rondo_rt_sampling;

/** Logits of every position of the prompt are computed, for the observer. */
#define RONDO_RT_REQUEST_ALL_LOGITS 1u
/** Every new token by a prefill of all before it. */
#define RONDO_RT_REQUEST_RECOMPUTE 2u

typedef struct rondo_rt_request_options {
  const uint32_t *tokens;      /* [token_count] prompt, copied */
  uint32_t token_count;        /* at least 1 */
  uint32_t new_tokens;         /* most tokens to generate */
  const uint32_t *stop_tokens; /* [stop_token_count] end the request, copied */
  uint32_t stop_token_count;
  uint32_t flags; /* RONDO_RT_REQUEST_* */
  rondo_rt_sampling sampling;
  const uint32_t
      *token_types; /* [token_count] of the prompt, copied; null: 0 */
} rondo_rt_request_options;

/** What the observer sees after a step; borrowed for the call. */
typedef struct rondo_rt_step_view {
  const rondo_rt_row *rows; /* [row_count] */
  const uint32_t *requests; /* [row_count] request of each row */
  uint32_t row_count;
  uint32_t output_count;
  const uint32_t *output_rows; /* [output_count] */
  const float *logits; /* [output_count][logits_stride], all outputs of a row */
} rondo_rt_step_view;

typedef void (*rondo_rt_observer_fn)(void *user,
                                     const rondo_rt_step_view *view);

/** Continuous depth-wise batching (Bae et al., Relaxed Recursive Transformers,
   ICLR 2025): a step runs one visit for rows at any depth of the
   loop; finished rows leave and waiting ones enter in between. The observer
   sees the rows that leave. Tokens and logits are the same bits. */
#define RONDO_RT_SCHEDULER_DEPTHWISE 1u

typedef struct rondo_rt_scheduler_options {
  uint32_t chunk; /* most prompt tokens of a request that enter a step; 0:
                     `rows` */
  rondo_rt_observer_fn observer; /* called after each step; may be null */
  void *observer_user;
  uint32_t flags; /* RONDO_RT_SCHEDULER_* */
} rondo_rt_scheduler_options;

/** Where the time of a scheduler's steps went. A step with any prompt token
   counts as prefill. */
typedef struct rondo_rt_timing {
  uint64_t steps;
  uint64_t prefill_tokens;
  uint64_t decode_tokens;
  double prefill_seconds;
  double decode_seconds;
} rondo_rt_timing;

/** Creates a scheduler; `options` may be null. */
RONDO_RT_API rondo_rt_status *
rondo_rt_scheduler_create(rondo_rt_session *session,
                          const rondo_rt_scheduler_options *options,
                          rondo_rt_scheduler **scheduler);
/** Ends the sequences of its requests and releases it. */
RONDO_RT_API void rondo_rt_scheduler_free(rondo_rt_scheduler *scheduler);
/** Queues a request; they are numbered from 0. More requests than sequences
 * wait. */
RONDO_RT_API rondo_rt_status *
rondo_rt_scheduler_submit(rondo_rt_scheduler *scheduler,
                          const rondo_rt_request_options *options,
                          uint32_t *request);
/** Runs one step; `*unfinished` is how many requests are left. A fault of one
   request ends that request only and is found in its status. */
RONDO_RT_API rondo_rt_status *
rondo_rt_scheduler_step(rondo_rt_scheduler *scheduler, uint32_t *unfinished);
/** Makes the next step return RONDO_RT_STATUS_CANCELLED. Any thread or signal
 * handler. */
RONDO_RT_API void rondo_rt_scheduler_cancel(rondo_rt_scheduler *scheduler);
/** Ends a request between two steps, whatever it waits for; its fault is
 * RONDO_RT_STATUS_CANCELLED, its new tokens so far stay, and its place is free
 * for another. Nothing happens to one that has ended. */
RONDO_RT_API rondo_rt_status *
rondo_rt_scheduler_cancel_request(rondo_rt_scheduler *scheduler,
                                  uint32_t request);
/** New tokens of a request so far; until the next step. */
RONDO_RT_API const uint32_t *
rondo_rt_scheduler_tokens(const rondo_rt_scheduler *scheduler, uint32_t request,
                          uint32_t *count);
/** How many visits the row took that each new token was drawn from: the depth
 * of the session, or what the model's router gave the row; until the next step.
 */
RONDO_RT_API const uint32_t *
rondo_rt_scheduler_visits(const rondo_rt_scheduler *scheduler, uint32_t request,
                          uint32_t *count);
/** Fault of a request, borrowed; null if there is none. */
RONDO_RT_API const rondo_rt_status *
rondo_rt_scheduler_request_status(const rondo_rt_scheduler *scheduler,
                                  uint32_t request);
RONDO_RT_API rondo_rt_timing
rondo_rt_scheduler_timing(const rondo_rt_scheduler *scheduler);

#ifdef __cplusplus
}
#endif
#endif /* RONDO_RT_RUNTIME_H */
