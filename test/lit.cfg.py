# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The lit suite of Rondo: what is a test, and which programs tests may name."""

import os
import platform

import lit.formats

config.name = "Rondo"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "oracles", "lit.cfg.py", "lit.site.cfg.py.in"]
config.test_source_root = os.path.dirname(os.path.abspath(__file__))

config.environment["PATH"] = os.pathsep.join(
    [config.rondo_tools_dir, config.llvm_tools_dir, os.environ.get("PATH", "")])

config.substitutions.append(("%python", config.python_executable))
config.substitutions.append(("%rondo_source", config.rondo_source_dir))


def cpu_flags():
    """The instruction sets this machine reports, empty where it tells none."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


# Programs that a partial build may lack: their tests are reported as
# unsupported, not as passed.
for tool in ("rondo-opt", "rondo-lsp-server", "rondoc", "rondo-run", "rondo-interp"):
    if os.path.exists(os.path.join(config.rondo_tools_dir, tool)):
        config.available_features.add(tool)
for flag, feature in (("avx2", "avx2"), ("avx512f", "avx512"),
                      ("avx512_bf16", "avx512-bf16"), ("avx512_vnni", "avx512-vnni")):
    if flag in cpu_flags():
        config.available_features.add(feature)
config.available_features.add(platform.machine())
