//===- KVPolicy.cpp - which visits share keys and values ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/Rondo/Analysis/KVPolicy.h"

#include "llvm/ADT/StringExtras.h"

#include <algorithm>

using namespace rondo;

llvm::Expected<KVPolicy> KVPolicy::parse(llvm::StringRef name) {
  if (name == "per-depth" || name == "last-exited" || name == "recursion-wise")
    return getPerDepth();
  if (name == "first-step" || name == "shared-first")
    return getFirstStep();
  if (name == "hybrid")
    return getHybrid();
  if (name == "none")
    return getNone();
  if (name == "final-shared")
    return KVPolicy(Kind::Modulo, 1);
  auto [head, count] = name.split(':');
  int64_t versions = 0;
  bool isCounted = llvm::to_integer(count, versions, 10) && versions >= 1 &&
                   versions <= UINT16_MAX;
  if (head == "modulo" && isCounted)
    return KVPolicy(Kind::Modulo, versions);
  if (head == "first-then-shared" && isCounted)
    return KVPolicy(Kind::FirstThenShared, versions);
  return llvm::createStringError(
      llvm::inconvertibleErrorCode(),
      "'" + name +
          "' is not a KV policy of models of fixed depth; known: per-depth, "
          "last-exited, first-step, final-shared, modulo:S, "
          "first-then-shared:S (S from 1 to 65535), none; and of models with a "
          "router: recursion-wise, shared-first, hybrid");
}

bool KVPolicy::isChunkInvariant() const {
  return kind == Kind::PerDepth || kind == Kind::FirstStep ||
         kind == Kind::None;
}

int64_t KVPolicy::getVersion(int64_t visit) const {
  switch (kind) {
  case Kind::PerDepth:
  case Kind::Hybrid:
    return visit;
  case Kind::FirstStep:
  case Kind::None:
    return 0;
  case Kind::Modulo:
    return visit % versions;
  case Kind::FirstThenShared:
    return std::min(visit, versions - 1);
  }
  llvm_unreachable("covered switch");
}

bool KVPolicy::appends(int64_t visit) const {
  return kind != Kind::FirstStep || visit == 0;
}

int64_t KVPolicy::getVersionCount(int64_t visits) const {
  return versions ? std::min(versions, visits) : visits;
}

llvm::SmallVector<VisitRange>
KVPolicy::getRanges(int64_t visits, mlir::MLIRContext *context) const {
  mlir::AffineExpr visit = mlir::getAffineDimExpr(0, context);
  auto constant = [&](int64_t version) {
    return mlir::getAffineConstantExpr(version, context);
  };
  llvm::SmallVector<VisitRange> ranges;
  if (kind == Kind::Hybrid) {
    ranges.push_back({/*first=*/0, /*count=*/1, constant(0), /*appends=*/true,
                      /*appendsAhead=*/true});
    if (visits > 1)
      ranges.push_back({/*first=*/1, visits - 1, visit + 1});
    return ranges;
  }
  int64_t own = visits; // visits before those that share a version
  if (kind == Kind::FirstStep)
    own = 1;
  if (kind == Kind::FirstThenShared)
    own = std::min(versions - 1, visits);
  bool isFirst = own == 1 || kind == Kind::None;
  mlir::AffineExpr version = isFirst                ? constant(0)
                             : kind == Kind::Modulo ? visit % versions
                                                    : visit;
  if (own > 0)
    ranges.push_back({/*first=*/0, own, version});
  if (own < visits)
    ranges.push_back({own, visits - own, constant(getVersion(own)),
                      /*appends=*/kind != Kind::FirstStep});
  return ranges;
}
