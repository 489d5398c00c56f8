//===- Api.cpp - the public C interface -----------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Thin shells around the classes: null checks, default options, and the one
// place where exceptions of the standard library become statuses.
//===----------------------------------------------------------------------===//
#include "Probe.h"
#include "Scheduler.h"

#include <exception>
#include <new>

using namespace rondo_rt;

/// Runs `body`, which returns an Error, and lets no exception out.
template <typename Body> static rondo_rt_status *guarded(Body body) noexcept {
  try {
    return body().release();
  } catch (const std::bad_alloc &) {
    return outOfMemory().release();
  } catch (const std::exception &exception) {
    try {
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "unexpected failure: %s", exception.what())
          .release();
    } catch (...) {
      return outOfMemory().release();
    }
  }
}

/// Makes a public handle of what `create` built.
template <typename Handle, typename Object, typename Create>
static rondo_rt_status *makeHandle(Handle **handle, Create create) noexcept {
  return guarded([&]() -> Error {
    if (!handle)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "a required pointer is null");
    std::unique_ptr<Object> object;
    if (Error error = create(object))
      return error;
    *handle = new Handle{std::move(object)};
    return nullptr;
  });
}

static Error nullArgument() {
  return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                   "a required pointer is null");
}

//===----------------------------------------------------------------------===//
// Model
//===----------------------------------------------------------------------===//

rondo_rt_status *rondo_rt_model_load(const char *path,
                                     const rondo_rt_model_options *options,
                                     rondo_rt_model **model) {
  return makeHandle<rondo_rt_model, Model>(
      model, [&](std::unique_ptr<Model> &object) -> Error {
        if (!path)
          return nullArgument();
        return Model::load(path, options ? *options : rondo_rt_model_options{},
                           object);
      });
}

void rondo_rt_model_free(rondo_rt_model *model) { delete model; }

rondo_rt_status *rondo_rt_model_verify(const rondo_rt_model *model) {
  return guarded([&] { return model->model->verify(); });
}

const rondo_rt_model_info *
rondo_rt_model_get_info(const rondo_rt_model *model) {
  return &model->model->info();
}

const char *rondo_rt_model_manifest(const rondo_rt_model *model) {
  return model->model->manifestText().c_str();
}

const void *rondo_rt_model_tensor(const rondo_rt_model *model, const char *name,
                                  uint64_t *bytes) {
  uint64_t count = 0;
  const char *data = model->model->tensor(name, count);
  if (data && bytes)
    *bytes = count;
  return data;
}

const char *rondo_rt_model_trace_point(const rondo_rt_model *model,
                                       uint32_t index, int32_t *number,
                                       uint32_t *width) {
  const std::vector<TracePoint> &points = model->model->manifest().trace;
  if (index >= points.size())
    return nullptr;
  if (number)
    *number = points[index].index;
  if (width)
    *width = points[index].width;
  return points[index].name.c_str();
}

rondo_rt_trace_form rondo_rt_model_trace_form(const rondo_rt_model *model,
                                              uint32_t index) {
  const std::vector<TracePoint> &points = model->model->manifest().trace;
  return index < points.size() ? points[index].form : RONDO_RT_TRACE_ROWS;
}

//===----------------------------------------------------------------------===//
// Session
//===----------------------------------------------------------------------===//

rondo_rt_status *
rondo_rt_session_create(rondo_rt_model *model,
                        const rondo_rt_session_options *options,
                        rondo_rt_session **session) {
  return makeHandle<rondo_rt_session, Session>(
      session, [&](std::unique_ptr<Session> &object) -> Error {
        if (!model)
          return nullArgument();
        return Session::create(*model->model,
                               options ? *options : rondo_rt_session_options{},
                               object);
      });
}

void rondo_rt_session_free(rondo_rt_session *session) { delete session; }

uint32_t rondo_rt_session_threads(const rondo_rt_session *session) {
  return session->session->team().size();
}

uint64_t rondo_rt_session_kv_bytes(const rondo_rt_session *session) {
  return session->session->kv().committedBytes();
}

rondo_rt_status *rondo_rt_session_set_input(rondo_rt_session *session,
                                            const char *name,
                                            const float *values,
                                            uint32_t positions,
                                            uint32_t width) {
  return guarded([&]() -> Error {
    if (!name || (positions && !values))
      return nullArgument();
    return session->session->setInput(name, values, positions, width);
  });
}

rondo_rt_status *rondo_rt_session_set_input_seed(rondo_rt_session *session,
                                                 uint64_t seed) {
  return guarded([&] { return session->session->setSeed(seed); });
}

rondo_rt_status *rondo_rt_session_set_depth(rondo_rt_session *session,
                                            uint32_t depth) {
  return guarded([&] { return session->session->setDepth(depth); });
}

int rondo_rt_session_reaches(const rondo_rt_session *session, uint32_t point) {
  return session->session->visits().reaches(point);
}

rondo_rt_status *rondo_rt_session_step(rondo_rt_session *session,
                                       const rondo_rt_row *rows,
                                       uint32_t row_count,
                                       const uint32_t *output_rows,
                                       uint32_t output_count) {
  return guarded([&]() -> Error {
    if (!rows || (output_count && !output_rows))
      return nullArgument();
    return session->session->step(rows, row_count, output_rows, output_count);
  });
}

rondo_rt_status *rondo_rt_session_prelude(rondo_rt_session *session,
                                          const rondo_rt_row *rows,
                                          uint32_t row_count) {
  return guarded([&]() -> Error {
    return rows ? session->session->prelude(rows, row_count) : nullArgument();
  });
}

rondo_rt_status *rondo_rt_session_depth_step(rondo_rt_session *session,
                                             const rondo_rt_row *rows,
                                             uint32_t row_count) {
  return guarded([&]() -> Error {
    return rows ? session->session->depthStep(rows, row_count) : nullArgument();
  });
}

rondo_rt_status *rondo_rt_session_coda(rondo_rt_session *session,
                                       const rondo_rt_row *rows,
                                       uint32_t row_count,
                                       const uint32_t *output_rows,
                                       uint32_t output_count) {
  return guarded([&]() -> Error {
    if (!rows || (output_count && !output_rows))
      return nullArgument();
    return session->session->coda(rows, row_count, output_rows, output_count);
  });
}

uint32_t rondo_rt_session_rows_in_flight(const rondo_rt_session *session) {
  return session->session->rowsInFlight();
}

uint32_t rondo_rt_session_next_visit(const rondo_rt_session *session,
                                     uint32_t sequence, uint32_t position) {
  return session->session->nextVisit(sequence, position);
}

const float *rondo_rt_session_logits(const rondo_rt_session *session) {
  return session->session->logits();
}

const float *rondo_rt_session_trace(const rondo_rt_session *session,
                                    uint32_t point, uint32_t row) {
  return session->session->trace(point, row);
}

rondo_rt_status *rondo_rt_sequence_create(rondo_rt_session *session,
                                          uint32_t *sequence) {
  return guarded([&]() -> Error {
    return sequence ? session->session->createSequence(*sequence)
                    : nullArgument();
  });
}

void rondo_rt_sequence_free(rondo_rt_session *session, uint32_t sequence) {
  session->session->freeSequence(sequence);
}

rondo_rt_status *rondo_rt_sequence_reserve(rondo_rt_session *session,
                                           uint32_t sequence, uint32_t length) {
  return guarded([&] { return session->session->reserve(sequence, length); });
}

rondo_rt_status *rondo_rt_sequence_truncate(rondo_rt_session *session,
                                            uint32_t sequence,
                                            uint32_t length) {
  return guarded([&] { return session->session->truncate(sequence, length); });
}

uint32_t rondo_rt_sequence_length(const rondo_rt_session *session,
                                  uint32_t sequence) {
  return session->session->length(sequence);
}

rondo_rt_status *rondo_rt_session_measure(rondo_rt_session *session,
                                          rondo_rt_probe probe, uint64_t bytes,
                                          double *per_second) {
  return guarded([&]() -> Error {
    if (!per_second)
      return nullArgument();
    Team &team = session->session->team();
    return probe == RONDO_RT_PROBE_READ ? measureRead(team, bytes, *per_second)
                                        : measurePeak(team, probe, *per_second);
  });
}

//===----------------------------------------------------------------------===//
// Scheduler
//===----------------------------------------------------------------------===//

rondo_rt_status *
rondo_rt_scheduler_create(rondo_rt_session *session,
                          const rondo_rt_scheduler_options *options,
                          rondo_rt_scheduler **scheduler) {
  return makeHandle<rondo_rt_scheduler, Scheduler>(
      scheduler, [&](std::unique_ptr<Scheduler> &object) -> Error {
        if (!session)
          return nullArgument();
        return Scheduler::create(
            *session->session,
            options ? *options : rondo_rt_scheduler_options{}, object);
      });
}

void rondo_rt_scheduler_free(rondo_rt_scheduler *scheduler) {
  delete scheduler;
}

rondo_rt_status *
rondo_rt_scheduler_submit(rondo_rt_scheduler *scheduler,
                          const rondo_rt_request_options *options,
                          uint32_t *request) {
  return guarded([&]() -> Error {
    if (!options || !request || (options->token_count && !options->tokens) ||
        (options->stop_token_count && !options->stop_tokens))
      return nullArgument();
    return scheduler->scheduler->submit(*options, *request);
  });
}

rondo_rt_status *rondo_rt_scheduler_step(rondo_rt_scheduler *scheduler,
                                         uint32_t *unfinished) {
  return guarded([&]() -> Error {
    return unfinished ? scheduler->scheduler->step(*unfinished)
                      : nullArgument();
  });
}

void rondo_rt_scheduler_cancel(rondo_rt_scheduler *scheduler) {
  scheduler->scheduler->cancel();
}

rondo_rt_status *
rondo_rt_scheduler_cancel_request(rondo_rt_scheduler *scheduler,
                                  uint32_t request) {
  return guarded(
      [&]() -> Error { return scheduler->scheduler->cancelRequest(request); });
}

const uint32_t *rondo_rt_scheduler_tokens(const rondo_rt_scheduler *scheduler,
                                          uint32_t request, uint32_t *count) {
  uint32_t ignored = 0;
  return scheduler->scheduler->tokens(request, count ? *count : ignored);
}

const uint32_t *rondo_rt_scheduler_visits(const rondo_rt_scheduler *scheduler,
                                          uint32_t request, uint32_t *count) {
  uint32_t ignored = 0;
  return scheduler->scheduler->visits(request, count ? *count : ignored);
}

const rondo_rt_status *
rondo_rt_scheduler_request_status(const rondo_rt_scheduler *scheduler,
                                  uint32_t request) {
  return scheduler->scheduler->status(request);
}

rondo_rt_timing rondo_rt_scheduler_timing(const rondo_rt_scheduler *scheduler) {
  return scheduler->scheduler->timing();
}
