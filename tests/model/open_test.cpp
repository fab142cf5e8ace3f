// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/open.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "pass_results.hpp"
#include "tiny_hf.hpp"
#include "tiny_llama.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/model/quantize.hpp"

using namespace zoq::test;

TEST_CASE("open_model: a Hugging Face folder computes what its GGUF file does") {
  const temporary_folder folder;
  for (const bool tied : {false, true}) {
    const tiny_llama tiny({.config = small_config(), .format = "bf16", .tied = tied});
    tiny.write(folder / "m.gguf");
    tiny_hf(tiny).write(folder / "m", 2);
    const zoq::llama wanted = zoq::open_model(folder / "m.gguf");
    const zoq::llama found = zoq::open_model(folder / "m");
    CHECK(wanted.hash() == tiny.model().hash());
    CHECK(found.config().rotary_halves);
    CHECK(found.tied() == tied);
    const zoq::serial exec;
    const auto batch = read_all(some_tokens(30, 5, 300));
    // Products over a head go in another order: the error of floats.
    const double error =
        relative_error(logits_of(exec, found, batch), logits_of(exec, wanted, batch));
    CHECK(error < 1e-5);
    CHECK(error > 0);
  }
}

TEST_CASE("open_model: a container computes what its GGUF file does") {
  const temporary_folder folder;
  const tiny_llama tiny({.config = small_config(), .format = "q4_1"});
  tiny.write(folder / "m.gguf");
  zoq::quantize_file(folder / "m.gguf", folder / "m.safetensors", {});
  const zoq::serial exec;
  const auto batch = read_all(some_tokens(30, 5, 300));
  CHECK(same_bits(logits_of(exec, zoq::open_model(folder / "m.safetensors"), batch),
                  logits_of(exec, zoq::open_model(folder / "m.gguf"), batch)));
  // Other formats than GGUF's run as well: this one errs by a sixth of that with 3 bits.
  zoq::quantize_file(folder / "m.gguf", folder / "lut4.safetensors", {.linear = "lut4"});
  CHECK(logits_of(exec, zoq::open_model(folder / "lut4.safetensors"), batch).size() == 30 * 300);
}
