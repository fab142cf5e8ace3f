// The CPU kernels of every format and instruction set, compiled once: the target zoq::kernels.
// SPDX-License-Identifier: Apache-2.0
#define ZOQ_COMPILED template
// The bodies of functions that are no templates are zoq.cpp's. Here the kernels may inline them, as in a program
// of headers alone; a copy that is not inlined is the same function.
#define ZOQ_BODIES 1
#define ZOQ_BODY inline

#include <zoq/exec/products.hpp>
