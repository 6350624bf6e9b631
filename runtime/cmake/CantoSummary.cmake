# What this build will be, printed once at the end.
set(canto_dnnl_text none)
if(CANTO_DNNL)
  set(canto_dnnl_text ${CANTO_DNNL_VERSION})
endif()
message(STATUS "")
message(STATUS "canto ${PROJECT_VERSION}: ${CMAKE_BUILD_TYPE}, ${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}, native ${CANTO_NATIVE}, sanitize '${CANTO_SANITIZE}'")
message(STATUS "  MPI ${MPI_C_VERSION} (${CANTO_MPI_NAME}), OpenBLAS ${CANTO_OPENBLAS_VERSION}, oneDNN ${canto_dnnl_text}, HDF5 ${CANTO_HDF5_VERSION} (${CANTO_HDF5_MODULE}, serial), "
               "libyaml ${CANTO_YAML_VERSION}, jansson ${CANTO_JANSSON_VERSION}, hwloc ${CANTO_HWLOC_VERSION}, xxHash ${CANTO_XXHASH_VERSION}, OpenMP ${OpenMP_C_FOUND}")
message(STATUS "")
