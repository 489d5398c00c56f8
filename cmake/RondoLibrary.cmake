# rondo_library(Name sources...): a static library of the compiler that shares
# one precompiled header of the dialects (1 s a pass instead of 9).
function(rondo_library name)
  add_library(${name} STATIC ${ARGN})
  add_dependencies(${name} RondoTableGen)
  target_link_libraries(${name} PUBLIC MLIR LLVM)
  if(NOT name STREQUAL "RondoPrecompiled")
    target_precompile_headers(${name} REUSE_FROM RondoPrecompiled)
  endif()
endfunction()

# rondo_tool(name sources...): a program in build/bin.
function(rondo_tool name)
  add_executable(${name} ${ARGN})
  add_dependencies(${name} RondoTableGen)
endfunction()
