# Run by cpack between installing and packing: what a Debian package has beside the files of `make install`.
find_program(GZIP gzip REQUIRED)
find_program(STRIP strip REQUIRED)
string(TIMESTAMP canto_date "%a, %d %b %Y %H:%M:%S +0000" UTC)
string(TIMESTAMP canto_year %Y UTC)
set(canto_copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: canto

Files: *
Copyright: ${canto_year} ${CPACK_PACKAGE_VENDOR}
License: Apache-2.0
 On Debian systems the text of the licence is in
 /usr/share/common-licenses/Apache-2.0.
")

foreach(component program development)
  string(TOUPPER ${component} upper)
  set(package ${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
  set(tree ${CPACK_TEMPORARY_DIRECTORY}/${component}/usr)
  file(WRITE ${tree}/share/doc/${package}/copyright "${canto_copyright}")
  file(WRITE ${tree}/share/doc/${package}/changelog
    "${package} (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium\n\n  * What has changed is told in CHANGELOG.md of the package canto.\n\n -- ${CPACK_PACKAGE_CONTACT}  ${canto_date}\n")
  file(REMOVE ${tree}/share/doc/${package}/LICENSE) # is in the file copyright
  file(GLOB archives ${tree}/lib/*.a ${tree}/lib/*/*.a)
  if(archives)
    execute_process(COMMAND ${STRIP} --strip-debug --enable-deterministic-archives ${archives} COMMAND_ERROR_IS_FATAL ANY)
  endif()
  file(GLOB texts ${tree}/share/man/man1/*.1 ${tree}/share/doc/${package}/changelog)
  execute_process(COMMAND ${GZIP} -9nf ${texts} COMMAND_ERROR_IS_FATAL ANY)
  file(GLOB_RECURSE files ${tree}/share/doc/*)
  file(CHMOD ${files} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endforeach()
