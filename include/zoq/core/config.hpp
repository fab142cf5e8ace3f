// The scalar types and the macros that every other header uses.
//
//     zoq::index_t rows = 576;            // sizes and indices, signed 64 bit
//     ZOQ_HD inline float half(float x) { return 0.5f * x; }   // callable on CPU and CUDA
//
// Functions that are no templates are declared first; their bodies, and the headers that only these need,
// stand at the end of their header:
//
//     index_t count_lines(const std::string& path);
//     ...
//     #if ZOQ_BODIES
//     #include <fstream>
//     ZOQ_BODY index_t count_lines(const std::string& path) { ... }
//     #endif
//
// From headers alone they are inline functions. Where zoq::kernels is linked they are compiled there, and
// programs read no more than the declarations. What runs once for each element stays inline, and
// so does what is short and needs no further header, as in most policies.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define ZOQ_HD __host__ __device__
#else
/// Before a function for CPU and GPU.
#define ZOQ_HD
#endif

// Templates whose arguments are known beforehand, zoq::cpu and the lists of policies, are compiled in zoq::kernels
// as well. They are listed once, in the headers on_cpu.hpp and where the lists are: programs read that as
// declarations, src/passes.cpp and src/views.cpp as definitions.
#ifndef ZOQ_COMPILED
/// Before an instantiation that zoq::kernels has.
#define ZOQ_COMPILED extern template
#endif

// ZOQ_COMPILED_KERNELS: zoq::kernels is linked. Its own sources set the two themselves (src/bodies.hpp).
#ifndef ZOQ_BODIES
#ifdef ZOQ_COMPILED_KERNELS
#define ZOQ_BODIES 0
#else
#define ZOQ_BODIES 1
#define ZOQ_BODY inline
#endif
#endif

namespace zoq {

using index_t = std::int64_t;  // sizes, indices, counts
using seed_t = std::uint64_t;  // names a random field; never a generator's state
using token_t = std::int32_t;  // a token id in the vocabulary

}  // namespace zoq
