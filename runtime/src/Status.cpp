//===- Status.cpp - failures inside the runtime ---------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Builds messages where the fault is seen. The one failure that must not
// allocate is a static object, which rondo_rt_status_free recognises.
//===----------------------------------------------------------------------===//
#include "Status.h"

#include <cstdarg>
#include <cstdio>

using namespace rondo_rt;

/// Made at start-up, since the moment it is needed is too late.
static rondo_rt_status outOfMemoryStatus = {
    RONDO_RT_STATUS_OUT_OF_MEMORY,
    "out of memory; use a smaller model, context or batch"};

/// Bytes of the UTF-8 character at `at`; 0 if there is none.
static size_t characterBytes(const std::string &text, size_t at) {
  unsigned char lead = text[at];
  size_t bytes = lead < 0x80   ? 1
                 : lead < 0xc2 ? 0
                 : lead < 0xe0 ? 2
                 : lead < 0xf0 ? 3
                 : lead < 0xf5 ? 4
                               : 0;
  for (size_t i = 1; i < bytes; ++i)
    if (at + i >= text.size() || (text[at + i] & 0xc0) != 0x80)
      return 0;
  return bytes;
}

/// A message may quote a damaged file: what is no text, or would steer a
/// terminal, becomes a question mark.
static void makePrintable(std::string &text) {
  for (size_t at = 0; at < text.size();) {
    size_t bytes = characterBytes(text, at);
    unsigned char lead = text[at];
    if (bytes == 0 || lead < ' ' || lead == 0x7f)
      text[at] = '?';
    at += bytes ? bytes : 1;
  }
}

Error rondo_rt::makeError(rondo_rt_status_code code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list again;
  va_copy(again, arguments);
  int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::string message(length > 0 ? length : 0, '\0');
  std::vsnprintf(message.data(), message.size() + 1, format, again);
  va_end(again);
  makePrintable(message);
  return Error(new rondo_rt_status{code, std::move(message)});
}

Error rondo_rt::outOfMemory() { return Error(&outOfMemoryStatus); }

/// From here on a number with one decimal would read 1000.0.
static constexpr double kNextUnit = 999.95;

std::string rondo_rt::formatBytes(uint64_t bytes) {
  static const char *const kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  unsigned unit = 0;
  for (; value >= (unit ? kNextUnit : 1000) && unit < 4; ++unit)
    value /= 1000;
  char text[48];
  std::snprintf(text, sizeof(text), unit ? "%.1f %s" : "%.0f %s", value,
                kUnits[unit]);
  return text;
}

rondo_rt_status_code rondo_rt_status_get_code(const rondo_rt_status *status) {
  return status ? status->code : RONDO_RT_STATUS_OK;
}

const char *rondo_rt_status_message(const rondo_rt_status *status) {
  return status ? status->message.c_str() : "";
}

void rondo_rt_status_free(rondo_rt_status *status) {
  if (status != &outOfMemoryStatus)
    delete status;
}
