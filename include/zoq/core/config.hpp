// The scalar types and the one macro that every other header uses.
//
//     zoq::index_t rows = 576;            // sizes and indices, signed 64 bit
//     ZOQ_HD inline float half(float x) { return 0.5f * x; }   // callable on CPU and CUDA
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define ZOQ_HD __host__ __device__
#else
#define ZOQ_HD
#endif

namespace zoq {

using index_t = std::int64_t;  // sizes, indices, counts
using seed_t = std::uint64_t;  // names a random field; never a generator's state
using token_t = std::int32_t;  // a token id in the vocabulary

}  // namespace zoq
