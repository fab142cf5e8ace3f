// The bodies that need no more than Eigen, Random123 and threads: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#include "bodies.hpp"

#include <zoq_headers.hpp>  // made by CMake: every header of zoq::zoq
