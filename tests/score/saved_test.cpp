// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/saved.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/model/llama.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"

TEST_CASE("saved: the mask is the same, and the file has the scores of all weights") {
  const zoq::test::temporary_folder folder;
  const std::string path = folder / "model.gguf";
  zoq::test::tiny_llama({.config = zoq::test::small_config(), .format = "q4_1"}).write(path);
  const zoq::llama model = zoq::llama::open(path);
  const zoq::magnitude scores(model.tensors());

  const auto matrices = zoq::scored_matrices(model.tensors());
  zoq::score_writer writer(folder / "scores", matrices);
  const zoq::saved kept(scores, writer);
  CHECK(kept.entries() == scores.entries());
  const zoq::mask mask = zoq::top_k(kept, {.density = 0.01});
  writer.commit();
  CHECK(mask.hash() == zoq::top_k(scores, {.density = 0.01}).hash());

  const auto file = zoq::safetensors_file::open(folder / "scores");
  CHECK(file.tensors().size() == matrices.size());
  zoq::index_t all = 0;
  scores.visit([&](std::string_view tensor, zoq::index_t rows, zoq::index_t columns,
                   std::span<const float> values) {
    CHECK(file.values<float>(std::string(tensor)) ==
          std::vector<float>(values.begin(), values.end()));
    CHECK(file.tensor(tensor).shape == std::vector<zoq::index_t>{rows, columns});
    all += rows * columns;
  });
  CHECK(all == zoq::linear_weights(model.tensors()));
}
