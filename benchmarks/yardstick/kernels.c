// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which kernels a type uses.

#include "kernels.h"

#if defined(__AVX512BF16__)
const char kIsaName[] = "avx512 bf16 vnni";
#elif defined(__AVX512VNNI__)
const char kIsaName[] = "avx512 vnni";
#elif defined(__AVX512F__)
const char kIsaName[] = "avx512";
#else
const char kIsaName[] = "avx2";
#endif

#ifdef __AVX512F__
#define MANY_Q8 prepareQuantised, NULL, tileQ8, 6
#define MANY_Q4 prepareQuantised, NULL, tileQ4, 6
#else
#define MANY_Q8 prepareWide, expandQ8, tileExpandedQ8, 6
#define MANY_Q4 prepareQuantised, expandQ4, tileExpandedQ4, 3
#endif

const TypeKernels kTypeKernels[kTypeCount] = {
    {"f32", prepareF32, streamF32, prepareF32, NULL, tileF32, 6},
    {"bf16", prepareBf16, streamBf16, prepareBf16, NULL, tileBf16, 6},
    {"q8_0", prepareQuantised, streamQ8, MANY_Q8},
    {"q4_0", prepareQuantised, streamQ4, MANY_Q4},
};
