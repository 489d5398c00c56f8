//===- Generate.cpp - prompts in, tokens, logits and traces out -----------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The scheduler does the work; an observer writes rows to the output files as
// they are computed, so that they need no memory here.
//===----------------------------------------------------------------------===//
#include "Generate.h"
#include "InputTensors.h"
#include "Inputs.h"
#include "TensorFile.h"

#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <unistd.h>

using namespace rondo_run;

namespace {

/// The scheduler that Ctrl-C cancels; null when nothing runs.
rondo_rt_scheduler *volatile runningScheduler = nullptr;

/// The signal that came; 0 if none has.
volatile std::sig_atomic_t caughtSignal = 0;

void onInterrupt(int signal) {
  caughtSignal = signal;
  if (rondo_rt_scheduler *scheduler = runningScheduler)
    rondo_rt_scheduler_cancel(scheduler);
}

/// While it lives, SIGINT and SIGTERM end a run between two steps. It lives
/// longer than files that are half-written.
class InterruptGuard {
public:
  InterruptGuard() {
    struct sigaction action = {};
    action.sa_handler = onInterrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND); // the second one kills
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~InterruptGuard() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  InterruptGuard(const InterruptGuard &) = delete;

private:
  struct sigaction interrupt_;
  struct sigaction terminate_;
};

/// The files of --logits and --trace, fed row by row.
class RowWriter {
public:
  /// The session has the depth of the last run.
  RowWriter(const rondo_rt_model *model, rondo_rt_session *session,
            const OutputOptions &options, const Prompts &prompts);
  /// Begins the run of number `depth` among the prompts' depths.
  void beginDepth(size_t depth) { depth_ = depth; }
  /// Called by the scheduler after each step.
  static void observe(void *self, const rondo_rt_step_view *view);
  /// Gives the files their names; throws what went wrong on the way.
  void publish();

private:
  /// A trace point of one sequence and its tensor.
  struct Traced {
    uint32_t point;
    size_t tensor;
  };
  /// Tensors of one sequence at one depth.
  struct AtDepth {
    size_t logits;
    std::optional<Traced> latent;
  };

  void write(const rondo_rt_step_view &view);
  void addOutputTensors();
  void writeOutputs(uint32_t sequence, uint32_t position, const float *row);
  void writeTrace(uint32_t sequence, uint32_t position, uint32_t row);
  void addTraceTensors(const rondo_rt_model *model);
  void addDepthTensors(const rondo_rt_model *model);
  /// Whether the run is the one that the other outputs are of.
  bool isLast() const { return depth_ + 1 >= prompts_.depths.size(); }

  rondo_rt_session *session_;
  const Prompts &prompts_;
  uint64_t logitsStride_;
  const rondo_rt_output *outputs_;
  uint32_t outputCount_;
  size_t depth_ = 0;
  std::unique_ptr<TensorFile> logits_; // tensor s * outputs + o
  std::unique_ptr<TensorFile> trace_;
  std::vector<std::vector<Traced>> traced_;   // by sequence
  std::vector<std::vector<AtDepth>> atDepth_; // by sequence, then depth
  std::exception_ptr failure_;                // none may cross the C interface
};

RowWriter::RowWriter(const rondo_rt_model *model, rondo_rt_session *session,
                     const OutputOptions &options, const Prompts &prompts)
    : session_(session), prompts_(prompts) {
  const rondo_rt_model_info *info = rondo_rt_model_get_info(model);
  logitsStride_ = info->logits_stride;
  outputs_ = info->outputs;
  outputCount_ = info->output_count;
  if (!options.logitsFile.empty()) {
    logits_ = std::make_unique<TensorFile>(options.logitsFile);
    addOutputTensors();
    logits_->open();
  }
  if (!options.traceFile.empty()) {
    trace_ = std::make_unique<TensorFile>(options.traceFile);
    addTraceTensors(model);
    addDepthTensors(model);
    trace_->open();
  }
}

void RowWriter::addOutputTensors() {
  for (size_t s = 0; s < prompts_.sequences.size(); ++s)
    for (uint32_t o = 0; o < outputCount_; ++o) {
      const rondo_rt_output &output = outputs_[o];
      std::string name = output.name;
      name += "." + std::to_string(s);
      if (output.first)
        logits_->addVector(name, output.width);
      else
        logits_->add(name, prompts_.sequences[s].size(), output.width);
    }
}

void RowWriter::addTraceTensors(const rondo_rt_model *model) {
  uint32_t points = rondo_rt_model_get_info(model)->trace_point_count;
  for (size_t s = 0; s < prompts_.sequences.size(); ++s) {
    traced_.emplace_back();
    for (uint32_t p = 0; p < points; ++p) {
      if (!rondo_rt_session_reaches(session_, p))
        continue;
      int32_t number = -1;
      uint32_t width = 0;
      std::string name = rondo_rt_model_trace_point(model, p, &number, &width);
      name += "." + std::to_string(s);
      if (number >= 0)
        name += "." + std::to_string(number);
      size_t tensor = trace_->add(name, prompts_.sequences[s].size(), width,
                                  rondo_rt_model_trace_form(model, p));
      traced_.back().push_back({p, tensor});
    }
  }
}

/// What the depths of a tokens file ask for: logits, and the state that the
/// recurrence leaves, after its norm.
void RowWriter::addDepthTensors(const rondo_rt_model *model) {
  static const std::string kLatent = "latent";
  const rondo_rt_model_info *info = rondo_rt_model_get_info(model);
  std::optional<uint32_t> latent;
  uint32_t width = 0;
  for (uint32_t p = 0; p < info->trace_point_count && !latent; ++p)
    if (rondo_rt_model_trace_point(model, p, nullptr, &width) == kLatent)
      latent = p;
  for (size_t s = 0; s < prompts_.sequences.size(); ++s) {
    atDepth_.emplace_back();
    uint64_t rows = prompts_.sequences[s].size();
    for (uint32_t depth : prompts_.depths) {
      std::string end = "." + std::to_string(s) + "." + std::to_string(depth);
      AtDepth &tensors = atDepth_.back().emplace_back();
      tensors.logits =
          trace_->add("logits_at_steps" + end, rows, info->vocabulary);
      if (latent)
        tensors.latent = {*latent,
                          trace_->add("latent_at_steps" + end, rows, width)};
    }
  }
}

void RowWriter::observe(void *self, const rondo_rt_step_view *view) {
  auto *writer = static_cast<RowWriter *>(self);
  try {
    if (!writer->failure_)
      writer->write(*view);
  } catch (...) {
    writer->failure_ = std::current_exception();
  }
}

void RowWriter::write(const rondo_rt_step_view &view) {
  for (uint32_t i = 0; i < view.output_count; ++i) {
    uint32_t row = view.output_rows[i];
    uint32_t request = view.requests[row];
    uint32_t position = view.rows[row].position;
    if (position < prompts_.sequences[request].size())
      writeOutputs(request, position, view.logits + i * logitsStride_);
  }
  for (uint32_t row = 0; trace_ && row < view.row_count; ++row) {
    uint32_t request = view.requests[row];
    uint32_t position = view.rows[row].position;
    if (position < prompts_.sequences[request].size())
      writeTrace(request, position, row);
  }
}

/// Writes the outputs of one position; `row` holds all of them.
void RowWriter::writeOutputs(uint32_t sequence, uint32_t position,
                             const float *row) {
  for (uint32_t o = 0; logits_ && isLast() && o < outputCount_; ++o)
    if (!outputs_[o].first || position == 0)
      logits_->writeRow(static_cast<size_t>(sequence) * outputCount_ + o,
                        position, row + outputs_[o].offset);
  if (trace_ && !prompts_.depths.empty())
    trace_->writeRow(atDepth_[sequence][depth_].logits, position, row);
}

void RowWriter::writeTrace(uint32_t sequence, uint32_t position, uint32_t row) {
  auto write = [&](const Traced &traced) {
    trace_->writeRow(traced.tensor, position,
                     rondo_rt_session_trace(session_, traced.point, row));
  };
  if (!prompts_.depths.empty())
    if (const auto &latent = atDepth_[sequence][depth_].latent)
      write(*latent);
  if (isLast())
    for (const Traced &traced : traced_[sequence])
      write(traced);
}

void RowWriter::publish() {
  if (failure_)
    std::rethrow_exception(failure_);
  if (logits_)
    logits_->publish();
  if (trace_)
    trace_->publish();
}

/// Fills in what every request of a run has in common.
rondo_rt_request_options makeRequest(const rondo_rt_model_info &info,
                                     const Options &options,
                                     const Prompts &prompts) {
  const GenerateOptions &generate = options.generate;
  rondo_rt_request_options request = {};
  request.new_tokens = generate.newTokens;
  request.stop_tokens = info.stop_tokens;
  request.stop_token_count = info.stop_token_count;
  if (generate.stopTokens) {
    request.stop_tokens = generate.stopTokens->data();
    request.stop_token_count = generate.stopTokens->size();
  }
  bool tracesLogits =
      !prompts.depths.empty() && !options.output.traceFile.empty();
  if (!options.output.logitsFile.empty() || tracesLogits)
    request.flags |= RONDO_RT_REQUEST_ALL_LOGITS;
  if (generate.recompute)
    request.flags |= RONDO_RT_REQUEST_RECOMPUTE;
  request.sampling = {generate.temperature, generate.topP, generate.topK,
                      generate.seed};
  return request;
}

/// One line on a terminal that is written over; nothing elsewhere.
void showProgress(const rondo_rt_scheduler *scheduler, bool last) {
  if (!isatty(STDERR_FILENO))
    return;
  rondo_rt_timing timing = rondo_rt_scheduler_timing(scheduler);
  if (last)
    std::fprintf(stderr, "\r\033[K");
  else
    std::fprintf(stderr, "\r%llu prompt tokens, %llu new tokens",
                 (unsigned long long)timing.prefill_tokens,
                 (unsigned long long)timing.decode_tokens);
}

void runToEnd(rondo_rt_scheduler *scheduler) {
  for (uint32_t unfinished = 1; unfinished && !caughtSignal;) {
    rondo_rt_status *status = rondo_rt_scheduler_step(scheduler, &unfinished);
    showProgress(scheduler, status || !unfinished);
    if (caughtSignal && status) {
      rondo_rt_status_free(status);
      return;
    }
    check(status);
  }
}

void submitAndRun(rondo_rt_scheduler *scheduler, const Prompts &prompts,
                  rondo_rt_request_options request, bool oneByOne) {
  const std::vector<Prompt> &types = prompts.tokenTypes;
  for (size_t s = 0; s < prompts.sequences.size() && !caughtSignal; ++s) {
    request.tokens = prompts.sequences[s].data();
    request.token_count = prompts.sequences[s].size();
    request.token_types = types.empty() ? nullptr : types[s].data();
    uint32_t number = 0;
    check(rondo_rt_scheduler_submit(scheduler, &request, &number),
          "sequence " + std::to_string(s) + ": ");
    if (oneByOne)
      runToEnd(scheduler);
  }
  runToEnd(scheduler);
}

/// New tokens of each sequence so far; none for those that were not begun.
std::vector<Prompt> collectTokens(const rondo_rt_scheduler *scheduler,
                                  size_t count) {
  std::vector<Prompt> sequences(count);
  for (size_t s = 0; s < count; ++s) {
    uint32_t length = 0;
    const uint32_t *tokens = rondo_rt_scheduler_tokens(scheduler, s, &length);
    sequences[s].assign(tokens, tokens + length);
  }
  return sequences;
}

/// Throws the first fault of a sequence; those that were not begun have none.
void checkRequests(const rondo_rt_scheduler *scheduler, size_t count) {
  for (size_t s = 0; s < count; ++s)
    if (const rondo_rt_status *status =
            rondo_rt_scheduler_request_status(scheduler, s))
      throw InputFailure("sequence " + std::to_string(s) + ": " +
                         rondo_rt_status_message(status));
}

nlohmann::ordered_json timingJson(const rondo_rt_scheduler *scheduler,
                                  uint32_t threads) {
  rondo_rt_timing timing = rondo_rt_scheduler_timing(scheduler);
  return {{"steps", timing.steps},
          {"threads", threads},
          {"prefill_tokens", timing.prefill_tokens},
          {"prefill_seconds", timing.prefill_seconds},
          {"decode_tokens", timing.decode_tokens},
          {"decode_seconds", timing.decode_seconds}};
}

void printJson(const std::vector<Prompt> &sequences,
               const rondo_rt_scheduler *scheduler,
               nlohmann::ordered_json timing) {
  auto array = nlohmann::ordered_json::array();
  for (size_t s = 0; s < sequences.size(); ++s) {
    uint32_t count = 0;
    const uint32_t *visits = rondo_rt_scheduler_visits(scheduler, s, &count);
    array.push_back(
        {{"tokens", sequences[s]},
         {"depths", std::vector<uint32_t>(visits, visits + count)}});
  }
  nlohmann::ordered_json result = {{"sequences", std::move(array)},
                                   {"timing", std::move(timing)}};
  std::printf("%s\n", result.dump().c_str());
}

void printText(const std::vector<Prompt> &sequences) {
  for (const Prompt &tokens : sequences) {
    for (size_t i = 0; i < tokens.size(); ++i)
      std::printf(i ? " %u" : "%u", tokens[i]);
    std::printf("\n");
  }
}

/// What is known at the end of a run, or when a signal ended it.
void printResult(const rondo_rt_scheduler *scheduler,
                 const std::vector<Prompt> &sequences, const Options &options,
                 uint32_t threads) {
  if (options.output.json)
    printJson(sequences, scheduler, timingJson(scheduler, threads));
  else if (options.generate.newTokens)
    printText(sequences);
}

/// Prompts alone are computed, which shows faults, but leave nothing to see.
void reportSilence(const std::vector<Prompt> &prompts, const Options &options) {
  const OutputOptions &output = options.output;
  if (options.generate.newTokens || output.json || !output.logitsFile.empty() ||
      !output.traceFile.empty())
    return;
  size_t tokens = 0;
  for (const Prompt &prompt : prompts)
    tokens += prompt.size();
  std::fprintf(stderr,
               "rondo-run: %zu prompt tokens computed, nothing asked of them; "
               "give --generate, --logits, --trace or --output=json\n",
               tokens);
}

void reportInterrupt(const std::vector<Prompt> &sequences,
                     const OutputOptions &output) {
  size_t tokens = 0;
  for (const Prompt &sequence : sequences)
    tokens += sequence.size();
  bool hasFiles = !output.logitsFile.empty() || !output.traceFile.empty();
  std::fprintf(stderr, "rondo-run: interrupted after %zu new tokens%s\n",
               tokens, hasFiles ? "; no file is written" : "");
}

} // namespace

Session rondo_run::createSession(rondo_rt_model *model,
                                 const Options &options) {
  rondo_rt_session_options sessionOptions = {};
  sessionOptions.threads = options.execute.threads;
  if (options.execute.oversubscribe)
    sessionOptions.flags |= RONDO_RT_SESSION_OVERSUBSCRIBE;
  if (!options.output.traceFile.empty())
    sessionOptions.flags |= RONDO_RT_SESSION_TRACE;
  rondo_rt_session *session = nullptr;
  check(rondo_rt_session_create(model, &sessionOptions, &session));
  uint32_t threads = rondo_rt_session_threads(session);
  if (threads < options.execute.threads)
    std::fprintf(stderr,
                 "rondo-run: warning: %u threads asked for, %u cores allowed; "
                 "using %u (--oversubscribe lifts the limit)\n",
                 options.execute.threads, threads, threads);
  Session result(session);
  check(rondo_rt_session_set_input_seed(session, options.generate.seed));
  if (!options.input.inputsFile.empty())
    giveInputs(session, options.input.inputsFile);
  if (options.execute.depth)
    check(rondo_rt_session_set_depth(session, options.execute.depth),
          "--depth: ");
  return result;
}

/// One that can never be drawn is a typing error.
static void checkStopTokens(const GenerateOptions &options,
                            uint32_t vocabulary) {
  if (!options.stopTokens)
    return;
  for (uint32_t token : *options.stopTokens)
    if (token >= vocabulary)
      throw InputFailure("--stop: token " + std::to_string(token) +
                         " is outside the vocabulary of " +
                         std::to_string(vocabulary) + "; leave it out");
}

/// Options that a model cannot follow whose sequences run as a whole.
static void checkCohort(const Options &options,
                        const rondo_rt_model_info &info) {
  if (!info.cohort)
    return;
  auto refuse = [](const std::string &option, const std::string &why) {
    throw InputFailure(option +
                       ": all positions of this model's sequences see "
                       "each other, " +
                       why + "; leave the option out");
  };
  if (options.generate.newTokens)
    refuse("--generate", "so that no token comes next");
  if (options.execute.chunk && options.execute.chunk != info.rows)
    refuse("--chunk", "so that prompts cannot be cut");
  if (options.execute.depthwise)
    refuse("--depthwise", "so that its rows cannot be at different depths");
}

/// Sets the session's depth to each of the prompts' in turn, which checks them;
/// the last one stays.
static void setDepths(rondo_rt_session *session, const Prompts &prompts,
                      const Options &options) {
  if (!prompts.depths.empty() && options.execute.depth)
    throw InputFailure("--depth: '" + options.input.tokensFile +
                       "' says the depths by 'num_steps' already; leave one "
                       "of them out");
  for (uint32_t depth : prompts.depths)
    check(rondo_rt_session_set_depth(session, depth),
          "'" + options.input.tokensFile + "': num_steps: ");
}

/// Runs the prompts to their end, or until a signal.
static Scheduler runPrompts(rondo_rt_session *session, RowWriter &writer,
                            const Prompts &prompts, const Options &options,
                            const rondo_rt_request_options &request) {
  rondo_rt_scheduler_options schedulerOptions = {
      options.execute.chunk, RowWriter::observe, &writer,
      options.execute.depthwise ? RONDO_RT_SCHEDULER_DEPTHWISE : 0u};
  rondo_rt_scheduler *created = nullptr;
  check(rondo_rt_scheduler_create(session, &schedulerOptions, &created));
  Scheduler scheduler(created);
  runningScheduler = created;
  submitAndRun(created, prompts, request, options.execute.oneByOne);
  runningScheduler = nullptr;
  return scheduler;
}

/// The runs of the depths before the last, of which only the trace tells.
static void runOtherDepths(rondo_rt_session *session, RowWriter &writer,
                           const Prompts &prompts, const Options &options,
                           rondo_rt_request_options request) {
  if (prompts.depths.empty() || options.output.traceFile.empty())
    return;
  request.new_tokens = 0;
  for (size_t i = 0; i + 1 < prompts.depths.size() && !caughtSignal; ++i) {
    check(rondo_rt_session_set_depth(session, prompts.depths[i]));
    writer.beginDepth(i);
    Scheduler scheduler =
        runPrompts(session, writer, prompts, options, request);
    checkRequests(scheduler.get(), prompts.sequences.size());
  }
  if (!caughtSignal)
    check(rondo_rt_session_set_depth(session, prompts.depths.back()));
}

int rondo_run::generate(rondo_rt_model *model, const Options &options) {
  const rondo_rt_model_info &info = *rondo_rt_model_get_info(model);
  checkStopTokens(options.generate, info.vocabulary);
  checkCohort(options, info);
  Prompts prompts = readPrompts(options.input, info);
  Session session = createSession(model, options);
  setDepths(session.get(), prompts, options);
  InterruptGuard guard;
  RowWriter writer(model, session.get(), options.output, prompts);
  rondo_rt_request_options request = makeRequest(info, options, prompts);
  runOtherDepths(session.get(), writer, prompts, options, request);
  writer.beginDepth(prompts.depths.empty() ? 0 : prompts.depths.size() - 1);
  Scheduler scheduler =
      runPrompts(session.get(), writer, prompts, options, request);
  int signal = caughtSignal; // a later one comes too late
  size_t count = prompts.sequences.size();
  checkRequests(scheduler.get(), count);
  std::vector<Prompt> sequences = collectTokens(scheduler.get(), count);
  if (signal) {
    reportInterrupt(sequences, options.output);
  } else {
    writer.publish();
    reportSilence(prompts.sequences, options);
  }
  printResult(scheduler.get(), sequences, options,
              rondo_rt_session_threads(session.get()));
  return signal;
}
