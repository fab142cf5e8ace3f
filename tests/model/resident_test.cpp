// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/resident.hpp"

#include <doctest/doctest.h>

#include <cstring>

#include "counting.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/tensor/memory_part.hpp"

using namespace zoq::test;
using zoq::index_t;

namespace {

/// A space of its own, so that weights are copied to it.
struct other_space : counted_space {
  static constexpr bool on_host = false;
};
struct other : zoq::serial {
  using space = other_space;
  template <class T>
  [[nodiscard]] zoq::buffer<T, other_space> allocate(index_t n) const {
    return zoq::buffer<T, other_space>(n);
  }
};

}  // namespace

TEST_CASE("resident_weights: on the host the model's own") {
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  const zoq::cpu exec;
  const zoq::resident_weights weights(exec, model.tensors());
  for (index_t t = 0; t < static_cast<index_t>(model.tensors().size()); ++t) {
    CHECK(weights[t].bytes() == model.tensor(t).weight.bytes());
  }
  CHECK(weights.byte_count() == 0);
}

TEST_CASE("resident_weights: elsewhere every byte once, shared by all that use them") {
  for (const auto format : format_names()) {
    for (const bool tied : {false, true}) {
      const zoq::llama model = tiny_llama({.format = format, .tied = tied}).model();
      const index_t before = counted_space::live;
      {
        const other exec;
        const zoq::resident_weights weights(exec, model.tensors());
        index_t bytes = 0;
        for (index_t t = 0; t < static_cast<index_t>(model.tensors().size()); ++t) {
          const zoq::any_packed &found = weights[t], &wanted = model.tensor(t).weight;
          CHECK(found.bytes() != wanted.bytes());
          CHECK(found.format().name == wanted.format().name);
          CHECK(found.rows() == wanted.rows());
          CHECK(found.columns() == wanted.columns());
          REQUIRE(found.byte_count() == wanted.byte_count());
          CHECK(std::memcmp(found.bytes(), wanted.bytes(),
                            static_cast<std::size_t>(wanted.byte_count())) == 0);
          bytes += zoq::buffer_bytes<std::byte>(wanted.byte_count());
        }
        CHECK(weights.byte_count() == bytes);
        CHECK(counted_space::live - before == bytes);
        const zoq::llama_forward pass(exec, model, weights);
        const zoq::llama_reverse back(exec, model, pass.weights());
        CHECK(counted_space::live - before == bytes + pass.byte_count());
      }
      CHECK(counted_space::live == before);
    }
  }
}
