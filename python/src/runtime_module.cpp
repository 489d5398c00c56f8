//===- runtime_module.cpp - Python view of the runtime's C API ------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One class per object of runtime.h. Handles are shared: a scheduler keeps its
// session alive, a session its model, so that Python may drop them in any
// order. Everything that computes or reads files runs without the GIL and under
// the session's lock; the GIL is never waited for while that lock is held.
//===----------------------------------------------------------------------===//

#include "rondo_rt/runtime.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nb = nanobind;

namespace {

//===----------------------------------------------------------------------===//
// Status to exception
//===----------------------------------------------------------------------===//

/// Raises the exception of `rondo.errors` for a status; needs the GIL.
[[noreturn]] void raise(rondo_rt_status_code code, const char *message) {
  nb::object error = nb::module_::import_("rondo.errors")
                         .attr("from_status")(static_cast<int>(code), message);
  PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(error.ptr())),
                  error.ptr());
  throw nb::python_error();
}

struct FreeStatus {
  void operator()(rondo_rt_status *status) const {
    rondo_rt_status_free(status);
  }
};
using Status = std::unique_ptr<rondo_rt_status, FreeStatus>;

/// Runs `call` without the GIL and raises what it returns.
template <typename Call> void check(Call &&call) {
  Status status;
  {
    nb::gil_scoped_release unlocked;
    status.reset(call());
  }
  if (status)
    raise(rondo_rt_status_get_code(status.get()),
          rondo_rt_status_message(status.get()));
}

//===----------------------------------------------------------------------===//
// Model
//===----------------------------------------------------------------------===//

using ModelHandle = std::shared_ptr<rondo_rt_model>;

/// A loaded bundle.
class Model {
public:
  Model(const std::string &path, bool inspect, uint64_t weightlessSeed) {
    rondo_rt_model_options options{};
    options.flags = inspect ? RONDO_RT_MODEL_INSPECT : 0;
    options.weightless_seed = weightlessSeed;
    rondo_rt_model *model = nullptr;
    check([&] { return rondo_rt_model_load(path.c_str(), &options, &model); });
    handle.reset(model, rondo_rt_model_free);
  }

  const rondo_rt_model_info &info() const {
    return *rondo_rt_model_get_info(handle.get());
  }
  std::string manifest() const { return rondo_rt_model_manifest(handle.get()); }
  void verify() const {
    check([&] { return rondo_rt_model_verify(handle.get()); });
  }

  std::optional<nb::bytes> tensor(const std::string &name) const {
    uint64_t size = 0;
    const void *data = rondo_rt_model_tensor(handle.get(), name.c_str(), &size);
    if (!data)
      return std::nullopt;
    return nb::bytes(data, size);
  }

  std::vector<uint32_t> stopTokens() const {
    return {info().stop_tokens, info().stop_tokens + info().stop_token_count};
  }

  ModelHandle handle;
};

//===----------------------------------------------------------------------===//
// Session
//===----------------------------------------------------------------------===//

/// A session with the lock that keeps its users apart, and the model it
/// borrows.
struct SessionState {
  explicit SessionState(ModelHandle model) : model(std::move(model)) {}
  SessionState(const SessionState &) = delete;
  SessionState &operator=(const SessionState &) = delete;
  ~SessionState() { rondo_rt_session_free(session); }

  ModelHandle model;
  rondo_rt_session *session = nullptr;
  std::mutex lock;
};

/// Rows of an input: f32 [positions, width].
using Rows =
    nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

/// Memory and threads to run a model.
class Session {
public:
  Session(const Model &model, uint32_t threads, uint64_t kvBytesLimit)
      : state(std::make_shared<SessionState>(model.handle)) {
    rondo_rt_session_options options{};
    options.threads = threads;
    options.kv_bytes_limit = kvBytesLimit;
    check([&] {
      return rondo_rt_session_create(state->model.get(), &options,
                                     &state->session);
    });
  }

  uint32_t threads() const { return rondo_rt_session_threads(state->session); }

  void setDepth(uint32_t depth) {
    locked([&] { return rondo_rt_session_set_depth(state->session, depth); });
  }
  void setInputSeed(uint64_t seed) {
    locked(
        [&] { return rondo_rt_session_set_input_seed(state->session, seed); });
  }
  /// Rows are copied.
  void setInput(const std::string &name, Rows rows) {
    uint32_t positions = static_cast<uint32_t>(rows.shape(0));
    uint32_t width = static_cast<uint32_t>(rows.shape(1));
    locked([&] {
      return rondo_rt_session_set_input(state->session, name.c_str(),
                                        rows.data(), positions, width);
    });
  }

  std::shared_ptr<SessionState> state;

private:
  /// Runs `call` under the session's lock and raises what it returns.
  template <typename Call> void locked(Call &&call) {
    check([&] {
      std::lock_guard<std::mutex> guard(state->lock);
      return call();
    });
  }
};

//===----------------------------------------------------------------------===//
// Scheduler
//===----------------------------------------------------------------------===//

/// Logits of the prompts of requests that asked for them,
/// [positions][vocabulary].
using PromptLogits = std::map<uint32_t, std::vector<float>>;

/// Requests in flight on a session. Freed by `close` or with the last
/// reference.
class Scheduler {
public:
  explicit Scheduler(const Session &session) : state(session.state) {
    const rondo_rt_model_info *info =
        rondo_rt_model_get_info(state->model.get());
    vocabulary = info->vocabulary;
    stride = info->logits_stride;
    hasLogits = info->outputs[0].name == std::string_view("logits");
    rondo_rt_scheduler_options options{};
    options.observer = &Scheduler::observe;
    options.observer_user = this;
    check([&] {
      std::lock_guard<std::mutex> guard(state->lock);
      return rondo_rt_scheduler_create(state->session, &options, &scheduler);
    });
  }
  Scheduler(const Scheduler &) = delete;
  Scheduler &operator=(const Scheduler &) = delete;
  ~Scheduler() { close(); }

  void close() {
    closing = true; // a thread that steps again and again need not hand over
                    // the lock for this
    nb::gil_scoped_release unlocked;
    std::lock_guard<std::mutex> guard(state->lock);
    rondo_rt_scheduler_free(std::exchange(scheduler, nullptr));
  }

  uint32_t submit(const std::vector<uint32_t> &tokens, uint32_t newTokens,
                  const std::vector<uint32_t> &stop, bool allLogits,
                  float temperature, uint32_t topK, float topP, uint64_t seed,
                  const std::vector<uint32_t> &tokenTypes) {
    if (allLogits && !hasLogits)
      raise(RONDO_RT_STATUS_UNSUPPORTED,
            "the model has no logits; rondo-run --logits writes what it has");
    if (!tokenTypes.empty() && tokenTypes.size() != tokens.size())
      raise(RONDO_RT_STATUS_INVALID_ARGUMENT,
            ("there are " + std::to_string(tokenTypes.size()) +
             " token types for " + std::to_string(tokens.size()) +
             " tokens; give one for each")
                .c_str());
    rondo_rt_request_options options{};
    options.tokens = tokens.data();
    options.token_types = tokenTypes.empty() ? nullptr : tokenTypes.data();
    options.token_count = static_cast<uint32_t>(tokens.size());
    options.new_tokens = newTokens;
    options.stop_tokens = stop.data();
    options.stop_token_count = static_cast<uint32_t>(stop.size());
    options.flags = allLogits ? RONDO_RT_REQUEST_ALL_LOGITS : 0;
    options.sampling = {temperature, topP, topK, seed};
    uint32_t request = 0;
    locked([&] {
      rondo_rt_status *status =
          rondo_rt_scheduler_submit(scheduler, &options, &request);
      if (!status && allLogits)
        promptLogits[request].resize(tokens.size() * vocabulary);
      return status;
    });
    return request;
  }

  /// Runs one step and returns how many requests are unfinished. A step that
  /// could not give any row to them means that other schedulers hold all
  /// sequences, and only the caller can end those: that is an error, not a
  /// wait.
  uint32_t step() {
    uint32_t unfinished = 0;
    bool idle = false;
    locked([&] {
      uint64_t before = rondo_rt_scheduler_timing(scheduler).steps;
      rondo_rt_status *status = rondo_rt_scheduler_step(scheduler, &unfinished);
      idle = !status && unfinished &&
             rondo_rt_scheduler_timing(scheduler).steps == before;
      return status;
    });
    if (idle)
      raise(RONDO_RT_STATUS_EXHAUSTED,
            "all sequences of the bundle are in use; finish or close other "
            "iterators, or "
            "compile with more --sequences");
    return unfinished;
  }

  /// New tokens of a request from index `begin` on.
  std::vector<uint32_t> tokens(uint32_t request, uint32_t begin) {
    std::vector<uint32_t> found;
    locked([&]() -> rondo_rt_status * {
      uint32_t count = 0;
      const uint32_t *all =
          rondo_rt_scheduler_tokens(scheduler, request, &count);
      if (begin < count)
        found.assign(all + begin, all + count);
      return nullptr;
    });
    return found;
  }

  /// Raises the fault of a request, if it has one.
  void checkRequest(uint32_t request) {
    rondo_rt_status_code code = RONDO_RT_STATUS_OK;
    std::string message;
    locked([&]() -> rondo_rt_status * {
      if (const rondo_rt_status *fault =
              rondo_rt_scheduler_request_status(scheduler, request)) {
        code = rondo_rt_status_get_code(fault);
        message = rondo_rt_status_message(fault);
      }
      return nullptr;
    });
    if (code != RONDO_RT_STATUS_OK)
      raise(code, message.c_str());
  }

  /// Hands the logits of a prompt over to an array.
  nb::ndarray<nb::numpy, float, nb::ndim<2>> takeLogits(uint32_t request) {
    auto found = promptLogits.find(request);
    if (found == promptLogits.end())
      throw nb::value_error("the request did not ask for logits");
    auto *values = new std::vector<float>(std::move(found->second));
    promptLogits.erase(found);
    nb::capsule owner(values, [](void *data) noexcept {
      delete static_cast<std::vector<float> *>(data);
    });
    return {values->data(), {values->size() / vocabulary, vocabulary}, owner};
  }

private:
  /// Runs `call` under the session's lock and raises what it returns, or that
  /// the scheduler is closed.
  template <typename Call> void locked(Call &&call) {
    bool open = true;
    check([&]() -> rondo_rt_status * {
      std::lock_guard<std::mutex> guard(state->lock);
      open = !closing;
      return open ? call() : nullptr;
    });
    if (!open)
      throw nb::value_error("the model is closed");
  }

  /// Copies logits of prompt rows. Runs inside a step: no GIL, the session's
  /// lock held.
  static void observe(void *user, const rondo_rt_step_view *view) {
    auto *self = static_cast<Scheduler *>(user);
    for (uint32_t output = 0; output < view->output_count; ++output) {
      uint32_t row = view->output_rows[output];
      auto found = self->promptLogits.find(view->requests[row]);
      size_t begin =
          static_cast<size_t>(view->rows[row].position) * self->vocabulary;
      if (found != self->promptLogits.end() && begin < found->second.size())
        std::copy_n(view->logits + output * self->stride, self->vocabulary,
                    found->second.data() + begin);
    }
  }

  std::shared_ptr<SessionState> state;
  rondo_rt_scheduler *scheduler = nullptr;
  std::atomic<bool> closing{false};
  PromptLogits promptLogits;
  size_t vocabulary = 0;
  uint64_t stride = 0;
  bool hasLogits = false;
};

} // namespace

NB_MODULE(_runtime, m) {
  m.doc() = "Python view of the runtime's C API; `rondo.load` is the way in.";
  m.def("version", &rondo_rt_version, "Version of the runtime.");
  m.def("machine_features", &rondo_rt_machine_features,
        "RONDO_RT_CPU_* bits of this machine.");
  m.def("machine_feature_name", &rondo_rt_machine_feature_name, nb::arg("bit"),
        nb::sig("def machine_feature_name(bit: int) -> str | None"),
        "Name of the lowest feature bit set.");
  m.def("machine_cache_bytes", &rondo_rt_machine_cache_bytes,
        "Size of the last-level cache, 0 if unknown.");
  m.attr("ABI_VERSION") = RONDO_RT_ABI_VERSION;
  m.attr("CACHE_SHARE") = RONDO_RT_CACHE_SHARE;

  nb::class_<Model>(m, "Model", "A loaded bundle.")
      .def(nb::init<const std::string &, bool, uint64_t>(), nb::arg("path"),
           nb::kw_only(), nb::arg("inspect") = false,
           nb::arg("weightless_seed") = 0)
      .def("manifest", &Model::manifest, "The manifest's JSON text.")
      .def("tensor", &Model::tensor, nb::arg("name"),
           "Bytes of a tensor of the bundle, None if it has none.")
      .def("verify", &Model::verify, "Compare the hash of every weight tensor.")
      .def_prop_ro("stop_tokens", &Model::stopTokens)
      .def_prop_ro("vocabulary",
                   [](const Model &self) { return self.info().vocabulary; })
      .def_prop_ro("context",
                   [](const Model &self) { return self.info().context; })
      .def_prop_ro("sequences",
                   [](const Model &self) { return self.info().sequences; });

  nb::class_<Session>(m, "Session", "Memory and threads to run a model.")
      .def(nb::init<const Model &, uint32_t, uint64_t>(), nb::arg("model"),
           nb::kw_only(), nb::arg("threads") = 0, nb::arg("kv_bytes_limit") = 0)
      .def_prop_ro("threads", &Session::threads)
      .def("set_depth", &Session::setDepth, nb::arg("depth"),
           "Visits of the loop over depth.")
      .def("set_input_seed", &Session::setInputSeed, nb::arg("seed"),
           "Seed of inputs that are drawn.")
      .def("set_input", &Session::setInput, nb::arg("name"), nb::arg("rows"),
           "Rows [positions, width] of an input beside tokens.");

  nb::class_<Scheduler>(m, "Scheduler", "Requests in flight on a session.",
                        nb::is_weak_referenceable())
      .def(nb::init<const Session &>(), nb::arg("session"))
      .def("submit", &Scheduler::submit, nb::arg("tokens"), nb::kw_only(),
           nb::arg("new_tokens"), nb::arg("stop"),
           nb::arg("all_logits") = false, nb::arg("temperature") = 0.0f,
           nb::arg("top_k") = 0, nb::arg("top_p") = 1.0f, nb::arg("seed") = 0,
           nb::arg("token_types") = std::vector<uint32_t>(),
           "Queue a request; returns its number.")
      .def("step", &Scheduler::step,
           "Run one step; returns how many requests are unfinished.")
      .def("tokens", &Scheduler::tokens, nb::arg("request"),
           nb::arg("begin") = 0, "New tokens of a request.")
      .def("check", &Scheduler::checkRequest, nb::arg("request"),
           "Raise the fault of a request, if it has one.")
      .def("take_logits", &Scheduler::takeLogits, nb::arg("request"),
           "Logits [positions, vocabulary] of a prompt.")
      .def("close", &Scheduler::close, "End all requests; idempotent.");
}
