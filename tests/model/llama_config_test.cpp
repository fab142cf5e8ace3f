// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/llama_config.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "io/temporary_folder.hpp"

using zoq::llama_config;
using zoq::test::message_of;

namespace {

constexpr llama_config llama_2_7b() {
  llama_config c;
  c.layers = 32;
  c.hidden = 4096;
  c.heads = 32;
  c.kv_heads = 32;
  c.head_size = 128;
  c.feed_forward = 11008;
  c.vocabulary = 32000;
  c.context = 4096;
  return c;
}

template <class Change>
std::string error_of(Change&& change) {
  llama_config c = llama_2_7b();
  change(c);
  return message_of([&] { c.validate("x.gguf"); });
}

}  // namespace

TEST_CASE("R16: the sizes of Llama-2-7B make 6,476,005,376 linear weights") {
  static_assert(llama_2_7b().linear_weights() == 6476005376);
  CHECK(llama_2_7b().linear_weights() == 6476005376);
  CHECK(error_of([](llama_config&) {}) == "");
}

TEST_CASE("R16: the sizes of SmolLM2-135M make 106,168,320: heads share keys and values") {
  llama_config c;
  c.layers = 30;
  c.hidden = 576;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_size = 64;
  c.feed_forward = 1536;
  CHECK(c.linear_weights() == 106168320);
}

TEST_CASE("llama_config: sizes that make no sense are refused, naming the source") {
  for (zoq::index_t llama_config::*size :
       {&llama_config::layers, &llama_config::hidden, &llama_config::heads, &llama_config::kv_heads,
        &llama_config::feed_forward, &llama_config::vocabulary, &llama_config::context}) {
    for (const zoq::index_t bad : {0, -1}) {
      CHECK(error_of([&](llama_config& c) { c.*size = bad; }) ==
            "x.gguf: a size of the model is not positive");
    }
    // Products of sizes must not overflow, whatever a file says.
    CHECK(error_of([&](llama_config& c) { c.*size = zoq::index_t{1} << 40; }) ==
          "x.gguf: a size of the model is beyond 2^31");
  }
  CHECK(error_of([](llama_config& c) { c.kv_heads = 5; }) ==
        "x.gguf: 32 heads cannot share 5 heads of keys and values");
  CHECK(error_of([](llama_config& c) { c.head_size = 7; }) ==
        "x.gguf: head size 7, wanted an even number up to 256");
  CHECK(error_of([](llama_config& c) { c.head_size = 0; }) ==
        "x.gguf: head size 0, wanted an even number up to 256");
  CHECK(error_of([](llama_config& c) { c.head_size = 258; }) ==
        "x.gguf: head size 258, wanted an even number up to 256");
  for (const float bad : {1.0f, 0.0f, -1.0f, HUGE_VALF, NAN}) {
    CHECK(error_of([&](llama_config& c) { c.rope_base = static_cast<double>(bad); }) ==
          zoq::text("x.gguf: rope base ", bad, ", wanted a finite number above 1"));
  }
  for (const float bad : {0.0f, -1.0f, HUGE_VALF, NAN}) {
    CHECK(error_of([&](llama_config& c) { c.norm_epsilon = bad; }) ==
          zoq::text("x.gguf: norm epsilon ", bad, ", wanted a finite positive number"));
  }
}
