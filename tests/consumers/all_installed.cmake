# cmake -DSOURCE=... -DINSTALLED=... -P all_installed.cmake
# Every header lies in the installed folder as it does in the sources, and nothing else.
file(GLOB_RECURSE there RELATIVE "${SOURCE}" "${SOURCE}/*")
file(GLOB_RECURSE here RELATIVE "${INSTALLED}" "${INSTALLED}/*")
if(NOT there OR NOT there STREQUAL here)
  foreach(header IN LISTS there here)
    if(NOT EXISTS "${SOURCE}/${header}" OR NOT EXISTS "${INSTALLED}/${header}")
      message(SEND_ERROR "not in both folders: ${header}")
    endif()
  endforeach()
  message(FATAL_ERROR "other headers were installed than there are")
endif()
