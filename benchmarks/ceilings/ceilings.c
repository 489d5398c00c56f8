// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Measures what this machine allows, so that results can be given as a
// fraction of it: read bandwidth of L2, L3 and DRAM, and multiply-add rates of
// f32, bf16 and int8, with N threads. Prints one JSON object.
//
// A ceiling has to be the best of several ways, or kernels beat it: every
// memory level is read by loops with several kinds of software prefetch and by
// one without, and the best pass of the best loop counts.

#include "../support/team.h"
#include "loops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int threads;
  double seconds; // spent on each figure
  size_t dramBytes;
  int dramOnly;
} Options;

typedef struct {
  const char *name;
  size_t bytes; // of all threads together
} Level;

/// One timed pass over the working set, or one timed batch of arithmetic.
typedef struct {
  const char *buffer;
  size_t bytesPerThread;
  long repeats;
  ReadLoop read;
  ArithmeticLoop arithmetic;
} Work;

static void doRead(int thread, void *argument) {
  const Work *work = argument;
  const char *begin = work->buffer + thread * work->bytesPerThread;
  for (long i = 0; i < work->repeats; ++i)
    work->read(begin, work->bytesPerThread);
}

static void doArithmetic(int thread, void *argument) {
  (void)thread;
  const Work *work = argument;
  work->arithmetic(work->repeats);
}

/// Shortest of the runs that fit into `seconds` (at least two).
static double bestTime(TeamJob job, Work *work, double seconds) {
  double best = 1e30;
  double end = secondsNow() + seconds;
  for (int runs = 0; runs < 2 || secondsNow() < end; ++runs) {
    double start = secondsNow();
    teamRun(job, work);
    double taken = secondsNow() - start;
    best = taken < best ? taken : best;
  }
  return best;
}

/// Size of a cache of core 0 as the kernel reports it, which for a virtual
/// machine may be less than the C library reads from the processor.
static size_t cacheSize(int level, size_t fallback) {
  char path[96];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size",
           level);
  FILE *file = fopen(path, "r");
  size_t kibibytes = 0;
  if (file && fscanf(file, "%zuK", &kibibytes) != 1)
    kibibytes = 0;
  if (file)
    fclose(file);
  return kibibytes ? kibibytes << 10 : fallback;
}

static void printLevel(const Level *level, const char *buffer,
                       const Options *options) {
  const size_t unit = 4096;
  Work work = {.buffer = buffer};
  work.bytesPerThread = level->bytes / options->threads / unit * unit;
  size_t total = work.bytesPerThread * options->threads;
  // One run reads at least 16 MiB, so that starting it costs nothing.
  work.repeats = (long)((16ul << 20) / total) + 1;
  double best = 0;
  const char *bestLoop = "";
  // In alternation, since the rate of a shared machine drifts.
  enum { kRounds = 3 };
  for (int i = 0; i < kRounds * kReadLoopCount; ++i) {
    const ReadEntry *entry = &kReadLoops[i % kReadLoopCount];
    work.read = entry->loop;
    double each = options->seconds / (kRounds * kReadLoopCount);
    double rate =
        (double)total * work.repeats / bestTime(doRead, &work, each) * 1e-9;
    if (rate > best) {
      best = rate;
      bestLoop = entry->name;
    }
  }
  printf("\"%s\": {\"bytes\": %zu, \"gb_per_s\": %.2f, \"loop\": \"%s\"}",
         level->name, total, best, bestLoop);
}

static void printReads(const Options *options) {
  size_t l2 = cacheSize(2, 512 << 10);
  size_t l3 = cacheSize(3, 16 << 20);
  // Half of each L2; a quarter of L3, which may have other tenants.
  Level levels[] = {{"l2", l2 / 2 * options->threads},
                    {"l3", l3 / 4},
                    {"dram", options->dramBytes}};
  char *buffer = allocateHuge(options->dramBytes);
  memset(buffer, 1, options->dramBytes);
  printf("\"read\": {");
  for (int i = options->dramOnly ? 2 : 0; i < 3; ++i) {
    printLevel(&levels[i], buffer, options);
    printf("%s", i < 2 ? ", " : "}");
  }
}

static void printArithmetic(const Options *options) {
  printf(", \"arithmetic\": {");
  for (int i = 0; i < kArithmeticLoopCount; ++i) {
    const ArithmeticEntry *entry = &kArithmeticLoops[i];
    Work work = {.arithmetic = entry->loop, .repeats = 200000};
    double time = bestTime(doArithmetic, &work, options->seconds);
    double operations =
        2.0 * entry->multiplyAdds * (double)work.repeats * options->threads;
    printf("%s\"%s\": {\"gops_per_s\": %.2f, \"form\": \"%s\"}", i ? ", " : "",
           entry->name, operations / time * 1e-9, entry->form);
  }
  printf("}");
}

static void usage(void) {
  puts("usage: ceilings [--threads=N] [--milliseconds=MS] [--dram-mib=MIB]"
       " [--dram-only]\n"
       "  --threads=N        threads that read or compute together (1)\n"
       "  --milliseconds=MS  time spent on each figure (300)\n"
       "  --dram-mib=MIB     working set of the DRAM figure (256)\n"
       "  --dram-only        measure DRAM bandwidth and nothing else");
}

static int parseOption(const char *text, Options *options) {
  const char *value = strchr(text, '=');
  double number = value ? atof(value + 1) : 0;
  if (!strcmp(text, "--dram-only"))
    options->dramOnly = 1;
  else if (number > 0 && !strncmp(text, "--threads=", 10))
    options->threads = (int)number;
  else if (number > 0 && !strncmp(text, "--milliseconds=", 15))
    options->seconds = number * 1e-3;
  else if (number > 0 && !strncmp(text, "--dram-mib=", 11))
    options->dramBytes = (size_t)number << 20;
  else
    return 0;
  return 1;
}

int main(int count, char **arguments) {
  Options options = {1, 0.3, 256ul << 20, 0};
  for (int i = 1; i < count; ++i) {
    if (parseOption(arguments[i], &options))
      continue;
    usage();
    return strcmp(arguments[i], "--help") ? 2 : 0;
  }
  teamStart(options.threads);
  printf("{\"threads\": %d, \"isa\": \"%s\", ", teamSize(), kIsaName);
  printReads(&options);
  if (!options.dramOnly)
    printArithmetic(&options);
  puts("}");
  return 0;
}
