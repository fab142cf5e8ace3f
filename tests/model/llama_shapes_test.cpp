// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/llama_shapes.hpp"

#include <doctest/doctest.h>

#include "io/temporary_folder.hpp"

using zoq::index_t;
using zoq::llama_shape_named;

namespace {

// All parameters of a model: linear layers, embedding, head, norms.
index_t parameters(std::string_view name) {
  const zoq::llama_shape s = llama_shape_named(name);
  s.config.validate("shape");
  return s.config.linear_weights() + (s.tied ? 1 : 2) * s.config.vocabulary * s.config.hidden +
         (2 * s.config.layers + 1) * s.config.hidden;
}

}  // namespace

TEST_CASE("R16: the shapes have the published numbers of parameters") {
  CHECK(llama_shape_named("7b").config.linear_weights() == 6476005376);
  CHECK(llama_shape_named("135m").config.linear_weights() == 106168320);
  CHECK(parameters("135m") == 134515008);
  CHECK(parameters("360m") == 361821120);
  CHECK(parameters("1.7b") == 1711376384);
  CHECK(parameters("7b") == 6738415616);
  CHECK(parameters("8b") == 8030261248);
  CHECK(parameters("13b") == 13015864320);
}

TEST_CASE("llama_shapes: an unknown name is refused, naming the others") {
  CHECK(zoq::test::message_of([] { static_cast<void>(llama_shape_named("9b")); }) ==
        "unknown shape \"9b\": 135m, 360m, 1.7b, 7b, 8b, 13b");
}
