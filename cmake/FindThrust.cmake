# Finds the headers of Thrust: the distribution's, else those of a CUDA toolkit.
# Defines the target Thrust::Headers.
find_path(Thrust_INCLUDE_DIR NAMES thrust/for_each.h)
find_path(Thrust_INCLUDE_DIR NAMES thrust/for_each.h
          HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES include/cccl include)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Thrust REQUIRED_VARS Thrust_INCLUDE_DIR)
if(Thrust_FOUND AND NOT TARGET Thrust::Headers)
  add_library(Thrust::Headers INTERFACE IMPORTED)
  target_include_directories(Thrust::Headers SYSTEM INTERFACE "${Thrust_INCLUDE_DIR}")
endif()
mark_as_advanced(Thrust_INCLUDE_DIR)
