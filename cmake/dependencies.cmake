# Packages that zoq stands on. A missing one stops with the line that cures it on Debian.
macro(zoq_find package debian)
  find_package(${package} ${ARGN} QUIET)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "zoq needs ${package}. On Debian: apt-get install ${debian}")
  endif()
endmacro()
