// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Command line of the yardstick. It either measures once, or serves requests
// one a line, so that a harness can alternate engines while all stay loaded.

#include "../support/team.h"
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int threads, prefill, decode, at, repeat;
  int check, serve, help;
} Options;

static void usage(void) {
  puts("usage: yardstick [OPTION]...\n"
       "model:\n"
       "  --type=f32|bf16|q8_0|q4_0  storage of the layers' matrices (bf16)\n"
       "  --head=TYPE                storage of the head (that of the layers)\n"
       "  --layers=N                 distinct layers (30)\n"
       "  --visits=N                 executions of the stack of layers (1)\n"
       "run:\n"
       "  --threads=N                members of the team (1)\n"
       "  --prefetch=BYTES           of the next weights per barrier (4096)\n"
       "  --prefill=P --decode=D --at=N --repeat=K\n"
       "                             prompt tokens, new tokens, position of\n"
       "                             the first, times (512, 32, 256, 5)\n"
       "  --serve                    answer lines 'prefill P', 'decode N D',\n"
       "                             'info' with JSON\n"
       "  --check                    compare kernels with plain arithmetic");
}

/// Reads `--name=VALUE` into `value` if `text` is that.
static int readNumber(const char *text, const char *name, int *value) {
  size_t length = strlen(name);
  if (strncmp(text, name, length) || text[length] != '=')
    return 0;
  *value = atoi(text + length + 1);
  return 1;
}

static int readType(const char *text, const char *name, WeightType *type) {
  size_t length = strlen(name);
  if (strncmp(text, name, length) || text[length] != '=')
    return 0;
  for (int i = 0; i < kTypeCount; ++i)
    if (!strcmp(text + length + 1, kTypeKernels[i].name)) {
      *type = i;
      return 1;
    }
  return 0;
}

static int readFlag(const char *text, const char *name, int *value) {
  if (strcmp(text, name))
    return 0;
  *value = 1;
  return 1;
}

static int readOption(const char *text, Options *options, Model *model) {
  return readType(text, "--type", &model->body) ||
         readType(text, "--head", &model->headType) ||
         readNumber(text, "--layers", &model->layers) ||
         readNumber(text, "--visits", &model->visits) ||
         readNumber(text, "--threads", &options->threads) ||
         readNumber(text, "--prefetch", &model->prefetchBytes) ||
         readNumber(text, "--prefill", &options->prefill) ||
         readNumber(text, "--decode", &options->decode) ||
         readNumber(text, "--at", &options->at) ||
         readNumber(text, "--repeat", &options->repeat) ||
         readFlag(text, "--check", &options->check) ||
         readFlag(text, "--serve", &options->serve) ||
         readFlag(text, "--help", &options->help);
}

/// The largest logit's index of all steps: uses the result.
static volatile int lastToken;

static double timeDecode(const Model *model, State *state, int at, int tokens) {
  double start = secondsNow();
  for (int i = 0; i < tokens; ++i)
    lastToken = decodeStep(model, state, at + i);
  return secondsNow() - start;
}

static double timePrefill(const Model *model, State *state, int tokens) {
  double start = secondsNow();
  lastToken = prefillStep(model, state, tokens);
  return secondsNow() - start;
}

static int validDecode(int at, int tokens) {
  return at >= 0 && tokens >= 1 && at + tokens <= kMaxPositions;
}

static int validPrefill(int tokens) {
  return tokens >= 1 && tokens <= kMaxRows;
}

static void printInfo(const Model *model) {
  printf("{\"isa\": \"%s\", \"type\": \"%s\", \"head\": \"%s\", \"kv\": "
         "\"bf16\", \"layers\": %d, \"visits\": %d, \"weight_bytes\": %zu, "
         "\"kv_bytes_per_position\": %zu, \"threads\": %d}\n",
         kIsaName, kTypeKernels[model->body].name,
         kTypeKernels[model->headType].name, model->layers, model->visits,
         weightBytesPerToken(model), kvBytesPerToken(model, 0), teamSize());
}

static void serve(const Model *model, State *state) {
  char line[128];
  while (fgets(line, sizeof line, stdin)) {
    int at, tokens;
    if (sscanf(line, "prefill %d", &tokens) == 1 && validPrefill(tokens))
      printf("{\"tokens\": %d, \"seconds\": %.9f}\n", tokens,
             timePrefill(model, state, tokens));
    else if (sscanf(line, "decode %d %d", &at, &tokens) == 2 &&
             validDecode(at, tokens))
      printf("{\"tokens\": %d, \"seconds\": %.9f}\n", tokens,
             timeDecode(model, state, at, tokens));
    else if (!strncmp(line, "info", 4))
      printInfo(model);
    else
      printf("{\"error\": \"expected 'prefill P', 'decode N D' or 'info'\"}\n");
    fflush(stdout);
  }
}

static void printRates(const char *name, const double *rates, int count) {
  double low = rates[0], high = rates[0];
  printf("\"%s\": {\"tokens_per_second\": [", name);
  for (int i = 0; i < count; ++i) {
    printf("%s%.1f", i ? ", " : "", rates[i]);
    low = rates[i] < low ? rates[i] : low;
    high = rates[i] > high ? rates[i] : high;
  }
  printf("], \"min\": %.1f, \"max\": %.1f}", low, high);
}

static void measure(const Model *model, State *state, const Options *options) {
  double decode[64], prefill[64];
  int count = options->repeat < 64 ? options->repeat : 64;
  timePrefill(model, state, options->prefill);
  timeDecode(model, state, options->at, options->decode);
  for (int i = 0; i < count; ++i) {
    prefill[i] = options->prefill / timePrefill(model, state, options->prefill);
    decode[i] = options->decode /
                timeDecode(model, state, options->at, options->decode);
  }
  printf("{\"bytes_per_token\": %zu, ",
         weightBytesPerToken(model) + kvBytesPerToken(model, options->at));
  printRates("prefill", prefill, count);
  printf(", ");
  printRates("decode", decode, count);
  printf("}\n");
}

int main(int count, char **arguments) {
  Options options = {.threads = 1, .prefill = 512, .decode = 32};
  options.at = 256;
  options.repeat = 5;
  Model model = {.layers = 30, .visits = 1, .body = kBf16};
  model.headType = kTypeCount;
  model.prefetchBytes = 4096;
  for (int i = 1; i < count; ++i)
    if (!readOption(arguments[i], &options, &model) || options.help) {
      usage();
      return options.help ? 0 : 2;
    }
  if (model.headType == kTypeCount)
    model.headType = model.body;
  if (model.layers < 1 || model.visits < 1 || options.repeat < 1 ||
      !validPrefill(options.prefill) ||
      !validDecode(options.at, options.decode)) {
    fprintf(stderr, "a count is out of range\n");
    return 2;
  }
  teamStart(options.threads);
  if (options.check)
    return checkKernels() != 0;
  createModel(&model);
  State *state = createState();
  if (options.serve)
    serve(&model, state);
  else
    measure(&model, state, &options);
  return 0;
}
