# cpack: two Debian packages, the program and what is needed to build on the layers. The preset `portable` is meant for
# it: `cmake --workflow --preset deb`.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "The Canto authors")
set(CPACK_PACKAGE_CONTACT "The Canto authors <canto@example.org>")
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/runtime/cmake/PackageDebian.cmake)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(canto_text "A long sequence is divided over the ranks of an MPI job and read as one:
softmax layers by ring attention or gathered keys and values, linear-attention
layers by LASP-1 or LASP-2, in one hybrid model. Checkpoints are HDF5 and load
on any number of ranks.")

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME canto)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "train and run models of long sequences over MPI")
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "${canto_text}")
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS openmpi-bin)
if(NOT CANTO_MPI_IS_OPEN_MPI)
  set(CPACK_DEBIAN_PROGRAM_PACKAGE_DEPENDS mpich)
endif()
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SUGGESTS gnuplot-nox)

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libcanto-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "${canto_text}\nThis package holds the static libraries, the headers and the examples.")
string(JOIN ", " CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS libc6-dev ${CANTO_LINKED_PACKAGES})
include(CPack)
