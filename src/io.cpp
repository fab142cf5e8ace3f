// The bodies that need JSON or regular expressions: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#include <zoq_headers.hpp>  // made by CMake: their bodies are in zoq.cpp

#include "bodies.hpp"

#include <io_headers.hpp>  // made by CMake: every header of zoq::io
