# Several files of tests as one translation unit. Most of what a file of tests compiles is the library's
# templates, which its neighbours compile as well: together they do so once. Incremental builds are quicker
# with files by themselves, so that is the default.
set(ZOQ_TEST_BATCH 1 CACHE STRING "Files of tests that are compiled together")

# zoq_batches(OUT ROOM SOURCE...): what to compile for the files of a room. Of a batch, all headers are
# included first; then each file in a namespace of its own, where its includes find nothing left to do.
function(zoq_batches out room)
  # guarded/ replaces the global operator new, which no namespace can hold.
  if(ZOQ_TEST_BATCH LESS 2 OR room STREQUAL "guarded")
    set(${out} ${ARGN} PARENT_SCOPE)
    return()
  endif()
  list(LENGTH ARGN left)
  math(EXPR count "(${left} + ${ZOQ_TEST_BATCH} - 1) / ${ZOQ_TEST_BATCH}")  # batches
  set(units "")
  foreach(number RANGE 1 ${count})
    math(EXPR size "(${left} + ${count} - ${number}) / (${count} - ${number} + 1)")  # all about the same
    math(EXPR left "${left} - ${size}")
    list(SUBLIST ARGN ${left} ${size} sources)
    set(headers "")
    set(bodies "")
    foreach(source IN LISTS sources)
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
      cmake_path(GET source STEM name)
      cmake_path(GET source PARENT_PATH folder)
      file(STRINGS "${source}" includes REGEX "^#include")
      foreach(include IN LISTS includes)
        if(include MATCHES "\"(.*)\"")  # beside the file first, as a compiler looks
          if(EXISTS "${folder}/${CMAKE_MATCH_1}")
            set(include "#include \"${folder}/${CMAKE_MATCH_1}\"")
          endif()
        endif()
        if(TARGET zoq::omp OR NOT include MATCHES "zoq/exec/omp.hpp")
          list(APPEND headers "${include}")
        endif()
      endforeach()
      string(APPEND bodies "\nnamespace ${room}_${name} {\n#include \"${source}\"\n}\n")
      file(READ "${source}" text)
      string(REGEX MATCHALL "\n#define +[A-Za-z0-9_]+" macros "${text}")
      string(REPLACE "#define" "#undef" macros "${macros}")
      string(APPEND bodies ${macros} "\n")
    endforeach()
    list(REMOVE_DUPLICATES headers)
    list(JOIN headers "\n" headers)
    set(unit "${CMAKE_CURRENT_BINARY_DIR}/batches/${room}_${number}.cpp")
    file(CONFIGURE OUTPUT "${unit}" CONTENT "${headers}\n${bodies}" @ONLY)
    list(APPEND units "${unit}")
  endforeach()
  set(${out} ${units} PARENT_SCOPE)
endfunction()
