# What a builder may choose. Every option has a default that works on one machine.
option(CANTO_NATIVE "Compile for this machine's processor (OFF for a build that runs elsewhere)" ON)
option(CANTO_WERROR "Treat warnings as errors" OFF)
find_package(PkgConfig REQUIRED)
pkg_check_modules(CANTO_CMOCKA QUIET cmocka)
option(CANTO_TESTS "Build the tests (by default where cmocka is installed)" ${CANTO_CMOCKA_FOUND})
option(CANTO_SHADOW "Build the device `shadow`, which finds mistakes in the use of devices; needs libffi" ${CANTO_TESTS})
option(CANTO_EXAMPLES "Build the examples" ON)
set(CANTO_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined")

set(CANTO_C_FLAGS -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -fno-math-errno -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/= -fno-trapping-math -ffp-contract=fast)
# C11 without extensions would turn contraction off. Contraction changes bits between compilers but never between two runs of one build.
if(CANTO_NATIVE)
  list(APPEND CANTO_C_FLAGS -march=native)
endif()
if(CANTO_WERROR)
  list(APPEND CANTO_C_FLAGS -Werror)
endif()
if(CANTO_SANITIZE)
  list(APPEND CANTO_C_FLAGS -fsanitize=${CANTO_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined -Wno-format-truncation) # which sees no ranges of values then
  add_link_options(-fsanitize=${CANTO_SANITIZE})
endif()
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O3 -g")
if(CANTO_SANITIZE)
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O1 -g") # compiles in half the time, finds the same
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")
