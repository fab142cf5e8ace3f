// Before headers whose bodies this source of zoq::kernels compiles (core/config.hpp).
// SPDX-License-Identifier: Apache-2.0
#undef ZOQ_BODIES
#undef ZOQ_BODY
#define ZOQ_BODIES 1
#define ZOQ_BODY
