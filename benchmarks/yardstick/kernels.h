// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels by name; everybody but the table of types uses that table.

#ifndef RONDO_BENCHMARKS_YARDSTICK_KERNELS_H
#define RONDO_BENCHMARKS_YARDSTICK_KERNELS_H

#include "panels.h"

void tileF32(int rows, const char *x, size_t xStride, const char *panel, int K,
             float *y, size_t yStride);
void tileBf16(int rows, const char *x, size_t xStride, const char *panel, int K,
              float *y, size_t yStride);
void streamF32(int count, const char *x, const char *const *panels, int K,
               float *const *y);
void streamBf16(int count, const char *x, const char *const *panels, int K,
                float *const *y);
void streamQ8(int count, const char *x, const char *const *panels, int K,
              float *const *y);
void streamQ4(int count, const char *x, const char *const *panels, int K,
              float *const *y);
void prepareF32(const float *x, int K, char *row);
void prepareBf16(const float *x, int K, char *row);
void prepareQuantised(const float *x, int K, char *row);

#ifdef __AVX512F__
void tileQ8(int rows, const char *x, size_t xStride, const char *panel, int K,
            float *y, size_t yStride);
void tileQ4(int rows, const char *x, size_t xStride, const char *panel, int K,
            float *y, size_t yStride);
#else
/// With AVX2, many rows are multiplied by panels that were widened first, which
/// takes the work off the inner loop.
void tileExpandedQ8(int rows, const char *x, size_t xStride, const char *panel,
                    int K, float *y, size_t yStride);
void tileExpandedQ4(int rows, const char *x, size_t xStride, const char *panel,
                    int K, float *y, size_t yStride);
void expandQ8(const char *panel, int K, char *expanded);
void expandQ4(const char *panel, int K, char *expanded);
void prepareWide(const float *x, int K, char *row);
#endif

#endif // RONDO_BENCHMARKS_YARDSTICK_KERNELS_H
