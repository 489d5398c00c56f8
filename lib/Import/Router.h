//===- Router.h - what chooses the rows of visits ---------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The section `mor` of train_config.yaml: Mixture-of-Recursions (arXiv
// 2507.10524) as its authors train it.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ROUTER_H
#define RONDO_LIB_IMPORT_ROUTER_H

#include "Config.h"
#include "LayerKeys.h"

#include "rondo/Dialect/Rondo/IR/Rondo.h"

namespace rondo {

/// A router of a looped segment.
struct Router {
  RouteRule rule = RouteRule::TopK;
  RouteFunction function = RouteFunction::Sigmoid;
  float alpha = 1;
  /// The weights of what visits add are 1.
  bool additive = false;
  /// Of `RouteRule::TopK`: the share of rows that each visit takes.
  llvm::SmallVector<double> capacities;
  /// Two matrices with a GELU between them instead of one.
  bool isMLP = false;
  /// The router reads the rows divided by it.
  float temperature = 1;
  /// What balances the choice of depths without a loss.
  bool hasBiases = false;
  /// Visits that read the keys and values of the first one.
  bool sharesKV = false;
  /// Another router beside each, which only training reads.
  bool hasAuxiliary = false;
  /// Keys of the routers, of each visit or of all, without the end that a
  /// matrix of theirs has, and of the biases.
  llvm::SmallVector<std::string> keys;
  std::string biasesKey;

  /// Whether rows choose their depth once, not at each visit whether to go on.
  bool isChoice() const { return rule == RouteRule::Choice; }
};

/// Reads the section `mor`; errors stay in `config`.
Router readRouter(ConfigReader &config, const Sharing &sharing,
                  std::optional<RoutingMode> mode);

/// Where the tensors of a routed folder are: visits are modules with a block of
/// layers each.
class RoutedKeys : public LayerKeys {
public:
  RoutedKeys(llvm::StringRef prefix, Sharing sharing, bool ownNorms,
             bool isChoice);

  int64_t getDepths(int64_t layer) const override;
  bool hasOwnNorms(int64_t layer) const override;
  std::string getShared(int64_t layer, llvm::StringRef name) const override;
  llvm::SmallVector<std::string> getCopies(int64_t layer,
                                           llvm::StringRef name) const override;
  bool mayVary(int64_t layer, llvm::StringRef name) const override;
  std::string getAtDepth(int64_t layer, int64_t depth,
                         llvm::StringRef name) const override;

private:
  std::string prefix;
  Sharing sharing;
  bool ownNorms, isChoice;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ROUTER_H
