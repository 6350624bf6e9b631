# install: component `program` is the program with its manual pages and completion, component `development` the layers
# as static libraries with headers, find_package(canto) and pkg-config canto, and the examples.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CANTO_INSTALL_DOC ${CMAKE_INSTALL_DATAROOTDIR}/doc/canto)
set(CANTO_INSTALL_CMAKE ${CMAKE_INSTALL_LIBDIR}/cmake/canto)

# --- the program ---
install(TARGETS canto RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(DIRECTORY ${PROJECT_BINARY_DIR}/manual/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT program FILES_MATCHING PATTERN "*.1")
install(FILES ${PROJECT_BINARY_DIR}/manual/canto DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/bash-completion/completions COMPONENT program)
install(FILES README.md CHANGELOG.md LICENSE launch/doc/bench.md launch/doc/memory.md launch/doc/numerics.md launch/doc/observing.md launch/doc/scaling.md launch/doc/scaling.svg launch/doc/layers.svg
    DESTINATION ${CANTO_INSTALL_DOC} COMPONENT program)
install(DIRECTORY launch/configs DESTINATION ${CANTO_INSTALL_DOC} COMPONENT program)

# --- the layers ---
set_target_properties(canto_runtime PROPERTIES EXPORT_NAME runtime)
set_target_properties(canto_parallel PROPERTIES EXPORT_NAME parallel)
set_target_properties(canto_layers PROPERTIES EXPORT_NAME layers)
install(TARGETS canto_runtime canto_parallel canto_layers EXPORT cantoTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT cantoTargets NAMESPACE canto:: DESTINATION ${CANTO_INSTALL_CMAKE} COMPONENT development)
install(CODE "
  set(canto_source \"${PROJECT_SOURCE_DIR}\")
  set(canto_staging \"${PROJECT_BINARY_DIR}/installed-sources\")
  set(canto_headers \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}/canto\")
  set(canto_examples \"\${CMAKE_INSTALL_PREFIX}/${CANTO_INSTALL_DOC}/examples\")
  include(\"${PROJECT_SOURCE_DIR}/runtime/cmake/InstallSources.cmake\")" COMPONENT development)

# --- what the layers are linked with, which a program that uses them needs too ---
set(CANTO_LINKED "")
foreach(layer runtime parallel layers)
  get_target_property(libraries canto_${layer} LINK_LIBRARIES)
  list(FILTER libraries INCLUDE REGEX "^canto_dep_")
  list(TRANSFORM libraries REPLACE "^canto_dep_" "")
  list(APPEND CANTO_LINKED ${libraries})
endforeach()
list(REMOVE_DUPLICATES CANTO_LINKED)
set(CANTO_LINKED_PAIRS "")
set(CANTO_LINKED_PACKAGES ${CANTO_MPI_PACKAGE})
foreach(dependency ${CANTO_LINKED})
  string(TOUPPER ${dependency} upper)
  string(APPEND CANTO_LINKED_PAIRS " ${dependency}=${CANTO_${upper}_MODULE}")
  list(APPEND CANTO_LINKED_PACKAGES ${CANTO_${upper}_PACKAGE})
endforeach()

if(CANTO_DNNL)
  list(APPEND CANTO_LINKED_PACKAGES libdnnl-dev)
endif()

# --- find_package(canto) ---
configure_package_config_file(runtime/cmake/cantoConfig.cmake.in cantoConfig.cmake INSTALL_DESTINATION ${CANTO_INSTALL_CMAKE})
write_basic_package_version_file(cantoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cantoConfig.cmake ${PROJECT_BINARY_DIR}/cantoConfigVersion.cmake
  DESTINATION ${CANTO_INSTALL_CMAKE} COMPONENT development)

# --- pkg-config canto ---
# What the archives need is named as flags: as Requires.private, `--static` would also ask for what those shared
# libraries need in a static program, such as libgfortran and libudev.
set(CANTO_PC_PRIVATE "")
foreach(dependency ${CANTO_LINKED})
  string(TOUPPER ${dependency} upper)
  list(APPEND CANTO_PC_PRIVATE ${CANTO_${upper}_LDFLAGS})
endforeach()
foreach(library ${MPI_C_LIBRARIES})
  cmake_path(GET library PARENT_PATH directory)
  cmake_path(GET library STEM name)
  string(REGEX REPLACE "^lib" "" name "${name}")
  list(APPEND CANTO_PC_PRIVATE -L${directory} -l${name})
endforeach()
if(CANTO_CUDA)
  cmake_path(GET CANTO_NCCL_LIBRARY PARENT_PATH directory)
  list(APPEND CANTO_PC_PRIVATE -L${CUDAToolkit_LIBRARY_DIR} -lcublas -lcudart -L${directory} -lnccl -lstdc++)
endif()
if(CANTO_DNNL)
  cmake_path(GET CANTO_DNNL_LIBRARY PARENT_PATH directory)
  list(APPEND CANTO_PC_PRIVATE -L${directory} -ldnnl)
endif()
if(OpenMP_C_FOUND)
  list(APPEND CANTO_PC_PRIVATE ${OpenMP_C_FLAGS})
endif()
if(CANTO_SANITIZE)
  list(APPEND CANTO_PC_PRIVATE -fsanitize=${CANTO_SANITIZE})
endif()
foreach(directory ${CMAKE_C_IMPLICIT_LINK_DIRECTORIES})
  list(REMOVE_ITEM CANTO_PC_PRIVATE -L${directory})
endforeach()
list(REMOVE_DUPLICATES CANTO_PC_PRIVATE)
string(JOIN " " CANTO_PC_PRIVATE ${CANTO_PC_PRIVATE} -lm)
file(RELATIVE_PATH CANTO_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" CANTO_PC_PREFIX "${CANTO_PC_PREFIX}")
configure_file(runtime/cmake/canto.pc.in canto.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/canto.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
