# canto_layer(name DEPENDS ... SOURCES ...): one of the layers, as a static library with includes from the root.
function(canto_layer name)
  cmake_parse_arguments(arg "" "" "DEPENDS;PRIVATE;SOURCES" ${ARGN})
  add_library(canto_${name} STATIC ${arg_SOURCES})
  target_include_directories(canto_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_compile_options(canto_${name} PRIVATE ${CANTO_C_FLAGS})
  target_link_libraries(canto_${name} PUBLIC ${arg_DEPENDS} m PRIVATE ${arg_PRIVATE})
  if(OpenMP_C_FOUND)
    target_link_libraries(canto_${name} PRIVATE OpenMP::OpenMP_C)
  endif()
endfunction()

# canto_test(name LABELS ... [RANKS n] [TIMEOUT seconds] [SKIPS] COMMAND ...): a test of ctest, run as tests/run runs it.
# SKIPS: exit status 77 means that the test does not apply here.
function(canto_test name)
  cmake_parse_arguments(arg "SKIPS" "RANKS;TIMEOUT" "LABELS;COMMAND" ${ARGN})
  if(arg_RANKS)
    list(PREPEND arg_COMMAND ${CANTO_MPIRUN} ${arg_RANKS})
  else()
    set(arg_RANKS 1)
  endif()
  add_test(NAME ${name} COMMAND ${PROJECT_SOURCE_DIR}/tests/with-environment ${arg_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" PROCESSORS ${arg_RANKS} TIMEOUT "${arg_TIMEOUT}"
    ENVIRONMENT "CANTO=$<TARGET_FILE:canto>;CANTO_BUILD=${PROJECT_BINARY_DIR}")
  if(arg_SKIPS)
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
  endif()
endfunction()

# canto_unit_test(name SOURCES ... [DEPENDS ...]): a cmocka program that runs on one process, tests/unit/NAME in the build.
function(canto_unit_test name)
  cmake_parse_arguments(arg "" "" "DEPENDS;SOURCES" ${ARGN})
  add_executable(unit_${name} ${arg_SOURCES})
  set_target_properties(unit_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/unit)
  target_compile_options(unit_${name} PRIVATE ${CANTO_C_FLAGS} -Wno-missing-prototypes)
  target_link_libraries(unit_${name} PRIVATE canto_testing ${arg_DEPENDS})
  canto_test(${name} LABELS unit TIMEOUT 120 COMMAND $<TARGET_FILE:unit_${name}>)
endfunction()

# canto_mpi_test_module(file...): test files that run inside the one MPI test program, tests/mpi/messages in the build.
function(canto_mpi_test_module)
  target_sources(mpi_all PRIVATE ${ARGN})
endfunction()

# canto_example(name): examples/NAME.c as examples/NAME in the build.
function(canto_example name)
  add_executable(example_${name} ${name}.c)
  set_target_properties(example_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
  target_compile_options(example_${name} PRIVATE ${CANTO_C_FLAGS})
  target_link_libraries(example_${name} PRIVATE canto_layers)
  foreach(ranks 1 3)
    canto_test(example_${name}_${ranks} LABELS example RANKS ${ranks} TIMEOUT 60 COMMAND $<TARGET_FILE:example_${name}>)
  endforeach()
endfunction()
