# Run by install: headers and examples. In the tree an include line starts at the root, so that it shows its layer;
# installed it starts with <canto/...>, so that a program needs one include directory and no name of ours gets in its way.
# What lies in a folder below a layer is private to it.
function(canto_install_sources from to)
  file(GLOB files RELATIVE ${canto_source} ${canto_source}/${from}/*.h)
  if(from STREQUAL "examples")
    file(GLOB files RELATIVE ${canto_source} ${canto_source}/examples/*.[ch])
  endif()
  foreach(file ${files})
    file(READ ${canto_source}/${file} text)
    string(REGEX REPLACE "#include \"((runtime|parallel|layers)/[^\"]*)\"" "#include <canto/\\1>" text "${text}")
    string(REPLACE "#include \"examples/" "#include \"" text "${text}")
    file(WRITE ${canto_staging}/${file} "${text}")
    file(INSTALL ${canto_staging}/${file} DESTINATION "${to}")
  endforeach()
endfunction()

foreach(layer runtime parallel layers)
  canto_install_sources(${layer} "${canto_headers}/${layer}")
endforeach()
canto_install_sources(examples "${canto_examples}")
