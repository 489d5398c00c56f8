//===- CommandLine.cpp - the options of rondo-interp ----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"

#include "rondo/Bundle/Bundle.h"

#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>

using namespace rondo;

/// The help text names the values already.
static CLI::Validator isPrecision() {
  CLI::Validator check = CLI::IsMember({"f64", "f32"});
  check.description("");
  return check;
}

static void addOption(CLI::App &app, const std::string &name,
                      std::string &value, const char *help, const char *group,
                      const char *type) {
  app.add_option(name, value, help)->group(group)->type_name(type);
}

static void addFiles(CLI::App &app, InterpCommand &command) {
  const char *group = "Input and output";
  addOption(app, "MODULE", command.module,
            ".mlir file at phase input or rondo, or - for standard input",
            group, "PATH");
  addOption(app, "--inputs", command.inputs,
            "safetensors file: tokens, or a tensor for each argument; perhaps "
            "sequences, positions, steps",
            group, "PATH");
  addOption(app, "--outputs", command.outputs,
            "the safetensors file to write: logits, or results by number, and "
            "traces as NAME.K, or NAME of a single one",
            group, "PATH");
  app.add_option("--archive", command.archives,
                 "file or folder with the parameters of the module")
      ->group(group)
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
}

static void addExecution(CLI::App &app, InterpCommand &command,
                         std::string &precision) {
  const char *group = "Execution";
  addOption(app, "--entry", command.options.entry,
            "the function to execute (default model)", group, "NAME");
  app.add_option("--precision", precision,
                 "f64, or f32 to round the results of every operation "
                 "(default f64)")
      ->group(group)
      ->type_name("TYPE")
      ->check(isPrecision());
}

static int reportUsage(llvm::StringRef message) {
  llvm::errs() << "rondo-interp: error: " << message
               << "\nrondo-interp --help lists the options\n";
  return 2;
}

std::optional<int> rondo::parseCommandLine(int argc, char **argv,
                                           InterpCommand &command) {
  CLI::App app{"Execute a module of the rondo dialect with plain loops, as its "
               "operations are defined.",
               "rondo-interp"};
  app.set_help_flag("-h,--help", "show this help");
  app.set_version_flag("--version", "rondo-interp: " + getProducer(),
                       "show the version");
  app.get_formatter()->column_width(36);
  app.get_formatter()->label("OPTIONS", "options");
  app.get_formatter()->label("POSITIONALS", "Input");
  std::string precision = "f64";
  addFiles(app, command);
  addExecution(app, command, precision);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    llvm::outs() << app.help();
    return 0;
  } catch (const CLI::CallForVersion &version) {
    llvm::outs() << version.what() << '\n';
    return 0;
  } catch (const CLI::ParseError &error) {
    return reportUsage(error.what());
  }
  if (command.module.empty())
    return reportUsage("no module; give an .mlir file");
  if (command.outputs.empty())
    return reportUsage("no output; name a safetensors file with --outputs");
  if (precision == "f32")
    command.options.precision = Precision::F32;
  return std::nullopt;
}
