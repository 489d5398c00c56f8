//===- Diagnostics.cpp - what rondoc tells its user -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Diagnostics.h"

#include "mlir/IR/Location.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace rondo;

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

DiagnosticPrinter::DiagnosticPrinter(MLIRContext *ctx,
                                     const std::optional<std::string> &regex)
    : handler(ctx, [this](Diagnostic &diagnostic) { print(diagnostic); }) {
  if (regex)
    remarks.emplace(*regex);
}

void DiagnosticPrinter::print(Diagnostic &diagnostic) {
  bool isRemark = diagnostic.getSeverity() == DiagnosticSeverity::Remark;
  if (isRemark && !(remarks && remarks->match(diagnostic.str())))
    return;
  errors |= diagnostic.getSeverity() == DiagnosticSeverity::Error;
  report(getKind(diagnostic.getSeverity()),
         describe(diagnostic.getLocation()) + diagnostic.str());
  for (Diagnostic &note : diagnostic.getNotes())
    report("note", describe(note.getLocation()) + note.str());
}
