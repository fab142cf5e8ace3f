# What a strict project asks of all headers that it includes, and checks that zoq leaves it alone.
target_compile_options(program PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
                                       -Werror)

get_directory_property(options COMPILE_OPTIONS)
get_directory_property(definitions COMPILE_DEFINITIONS)
if(options OR definitions)
  message(FATAL_ERROR "zoq changed what this project compiles with: ${options} ${definitions}")
endif()
get_target_property(options zoq::zoq INTERFACE_COMPILE_OPTIONS)
get_target_property(definitions zoq::zoq INTERFACE_COMPILE_DEFINITIONS)
if(options OR definitions)
  message(FATAL_ERROR "zoq::zoq brings options or definitions: ${options} ${definitions}")
endif()
