//===- make_bundle.cpp - writes a bundle of the hand-written image --------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// usage: rondo-demo-bundle OUT [trace-points] [weightless] [tokenizer]
//===----------------------------------------------------------------------===//
#include "DemoBundle.h"

#include <cstdio>
#include <exception>
#include <fstream>

int main(int argc, char **argv) {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: %s OUT [trace-points] [weightless] "
                 "[tokenizer]\n",
                 argv[0]);
    return 2;
  }
  rondo_rt_demo::DemoOptions options;
  for (int i = 2; i < argc; ++i) {
    std::string word = argv[i];
    options.tracePoints |= word == "trace-points";
    options.weightless |= word == "weightless";
    options.tokenizer |= word == "tokenizer";
  }
  try {
    std::string bytes =
        rondo_rt_demo::assemble(rondo_rt_demo::makeParts(options));
    std::ofstream file(argv[1], std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (file)
      return 0;
    std::fprintf(stderr, "error: cannot write '%s'\n", argv[1]);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}
