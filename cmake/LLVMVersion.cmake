# The one place that names the LLVM/MLIR version Rondo is written against.
set(RONDO_LLVM_VERSION 22)

# Debian's packages are the default; a user's own build works through -DMLIR_DIR.
if(NOT DEFINED MLIR_DIR)
  set(MLIR_DIR "/usr/lib/llvm-${RONDO_LLVM_VERSION}/lib/cmake/mlir"
      CACHE PATH "folder of MLIRConfig.cmake")
endif()
if(NOT EXISTS "${MLIR_DIR}/MLIRConfig.cmake")
  message(FATAL_ERROR "no MLIR ${RONDO_LLVM_VERSION} in '${MLIR_DIR}': install "
          "libmlir-${RONDO_LLVM_VERSION}-dev and mlir-${RONDO_LLVM_VERSION}-tools, "
          "or name another build with -DMLIR_DIR=<folder of MLIRConfig.cmake>")
endif()
find_package(MLIR REQUIRED CONFIG)
if(NOT LLVM_VERSION_MAJOR EQUAL RONDO_LLVM_VERSION)
  message(FATAL_ERROR "MLIR ${LLVM_PACKAGE_VERSION} found in '${MLIR_DIR}', "
          "Rondo needs version ${RONDO_LLVM_VERSION}")
endif()
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)
include(HandleLLVMOptions)
# One string of flags in LLVMConfig.cmake, a list for add_definitions.
separate_arguments(LLVM_DEFINITIONS NATIVE_COMMAND "${LLVM_DEFINITIONS}")
