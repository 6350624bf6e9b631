# install: the program with its manual page, the layers as static libraries, and the headers as <canto/runtime/comm.h>.
include(GNUInstallDirs)
install(FILES ${PROJECT_BINARY_DIR}/canto.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(TARGETS canto RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS canto_runtime canto_parallel canto_layers ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(layer runtime parallel layers)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${layer} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/canto FILES_MATCHING PATTERN "*.h" PATTERN "cmake" EXCLUDE)
endforeach()
