//===- Diagnostics.cpp - what rondoc tells its user -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Diagnostics.h"

#include "mlir/IR/Location.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Lines
//===----------------------------------------------------------------------===//

void rondo::report(StringRef kind, StringRef message) {
  for (StringRef line : llvm::split(message.rtrim('\n'), '\n'))
    llvm::errs() << "rondoc: " << kind << ": " << line << '\n';
}

void rondo::reportError(llvm::Error error) {
  report("error", llvm::toString(std::move(error)));
}

/// The place in a file that `location` stands for, with a colon behind it;
/// empty if there is none.
static std::string describe(Location location) {
  return llvm::TypeSwitch<LocationAttr, std::string>(location)
      .Case<FileLineColLoc>([](FileLineColLoc place) {
        return (place.getFilename().getValue() + ":" +
                llvm::Twine(place.getLine()) + ":" +
                llvm::Twine(place.getColumn()) + ": ")
            .str();
      })
      .Case<NameLoc>([](NameLoc name) { return describe(name.getChildLoc()); })
      .Case<CallSiteLoc>(
          [](CallSiteLoc call) { return describe(call.getCallee()); })
      .Case<FusedLoc>([](FusedLoc fused) {
        for (Location part : fused.getLocations())
          if (std::string text = describe(part); !text.empty())
            return text;
        return std::string();
      })
      .Default([](auto) { return std::string(); });
}

//===----------------------------------------------------------------------===//
// Diagnostics
//===----------------------------------------------------------------------===//

static StringRef getKind(DiagnosticSeverity severity) {
  switch (severity) {
  case DiagnosticSeverity::Note:
    return "note";
  case DiagnosticSeverity::Warning:
    return "warning";
  case DiagnosticSeverity::Error:
    return "error";
  case DiagnosticSeverity::Remark:
    return "remark";
  }
  llvm_unreachable("covered switch");
}

DiagnosticPrinter::DiagnosticPrinter(MLIRContext *ctx)
    : handler(ctx, [this](Diagnostic &diagnostic) { print(diagnostic); }) {}

void DiagnosticPrinter::print(Diagnostic &diagnostic) {
  errors |= diagnostic.getSeverity() == DiagnosticSeverity::Error;
  report(getKind(diagnostic.getSeverity()),
         describe(diagnostic.getLocation()) + diagnostic.str());
  for (Diagnostic &note : diagnostic.getNotes())
    report("note", describe(note.getLocation()) + note.str());
}

//===----------------------------------------------------------------------===//
// Remarks
//===----------------------------------------------------------------------===//

namespace {

/// Prints the remarks that match a regular expression.
class RemarkPrinter : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit RemarkPrinter(StringRef regex) : regex(regex) {}

  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    std::string text;
    for (const remark::detail::Remark::Arg &part : remark.getArgs())
      text += part.val;
    StringRef pass = remark.getCategoryName();
    if (!regex.match(text) && !regex.match(pass))
      return;
    bool declined = remark.getRemarkType() == llvm::remarks::Type::Missed;
    report("remark", describe(remark.getLocation()) + pass.str() +
                         (declined ? " declined: " : ": ") + text);
  }

private:
  llvm::Regex regex;
};

} // namespace

void rondo::printRemarks(MLIRContext &ctx, StringRef regex) {
  ctx.disableMultithreading();
  // The engine's own filters see names of passes only, and its `all` alone
  // enables no kind.
  remark::RemarkCategories all;
  all.passed = all.missed = all.analysis = all.failed = ".*";
  LogicalResult enabled = remark::enableOptimizationRemarks(
      ctx, std::make_unique<RemarkPrinter>(regex),
      std::make_unique<remark::RemarkEmittingPolicyAll>(), all);
  assert(succeeded(enabled) && "a context has one remark engine");
  (void)enabled;
}
