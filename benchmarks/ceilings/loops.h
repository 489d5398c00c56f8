// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The inner loops of `ceilings`: reads that do nothing else, and multiply-adds
// on registers with enough independent chains to fill the pipelines.

#ifndef RONDO_BENCHMARKS_CEILINGS_LOOPS_H
#define RONDO_BENCHMARKS_CEILINGS_LOOPS_H

#include <stddef.h>

/// Reads `bytes` (a multiple of 4096) from `begin` once.
typedef void (*ReadLoop)(const char *begin, size_t bytes);

/// Does `repeats` times the multiply-adds stated in its table entry.
typedef void (*ArithmeticLoop)(long repeats);

typedef struct {
  const char *name;
  ReadLoop loop;
} ReadEntry;

typedef struct {
  const char *name;
  const char *form; // the instructions that were used
  ArithmeticLoop loop;
  int multiplyAdds; // of one repeat on one thread
} ArithmeticEntry;

enum { kReadLoopCount = 6, kArithmeticLoopCount = 4 };
extern const ReadEntry kReadLoops[kReadLoopCount];
extern const ArithmeticEntry kArithmeticLoops[kArithmeticLoopCount];
extern const char kIsaName[];

#endif // RONDO_BENCHMARKS_CEILINGS_LOOPS_H
