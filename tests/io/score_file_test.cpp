// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/score_file.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "temporary_folder.hpp"

using zoq::score_writer;
using zoq::test::is_one_line;
using zoq::test::message_of;
using zoq::test::temporary_folder;

namespace {
const std::vector<zoq::scored_matrix> matrices = {{"a", 2, 3}, {"b", 1, 2}};
const std::vector<float> of_a = {1, 2, 3, 4, 5, 6}, of_b = {7, 8};
}  // namespace

TEST_CASE("score file: matrices come in any order and lie in the order announced") {
  const temporary_folder folder;
  score_writer last_first(folder / "x", matrices, {{"score", "fisher"}});
  last_first.put("b", 1, 2, of_b);
  last_first.put("a", 2, 3, of_a);
  CHECK_FALSE(std::filesystem::exists(folder / "x"));
  last_first.commit();
  const auto file = zoq::safetensors_file::open(folder / "x");
  CHECK(file.tensors()[0].name == "a");
  CHECK(file.tensor("a").shape == std::vector<zoq::index_t>{2, 3});
  CHECK(file.values<float>("a") == of_a);
  CHECK(file.values<float>("b") == of_b);
  CHECK(file.metadata("score") == "fisher");

  // The bytes are those of tensors that are written at once.
  const std::vector<zoq::safetensor> whole = {zoq::safetensor_of<float>("a", {2, 3}, of_a),
                                              zoq::safetensor_of<float>("b", {1, 2}, of_b)};
  zoq::write_safetensors(folder / "y", whole, {{"score", "fisher"}});
  CHECK(zoq::test::contents(folder / "x") == zoq::test::contents(folder / "y"));
}

TEST_CASE("score file: what does not fit is refused, and no part of a file stays") {
  const temporary_folder folder;
  const std::string path = folder / "x";
  const auto refused = [&](const char* name, zoq::index_t rows, const std::vector<float>& scores) {
    score_writer file(path, matrices);
    file.put("a", 2, 3, of_a);
    const std::string message = message_of([&] { file.put(name, rows, 2, scores); });
    CHECK(is_one_line(message));
    return message;
  };
  CHECK(refused("c", 1, of_b) == path + ": c was not announced");
  CHECK(refused("a", 3, of_a) == path + ": a comes twice");
  CHECK(refused("b", 3, of_a) == path + ": b has 6 scores for 3 x 2, 1 x 2 were announced");
  CHECK(refused("b", 1, of_a) == path + ": b has 6 scores for 1 x 2, 1 x 2 were announced");
  score_writer early(path, matrices);
  early.put("a", 2, 3, of_a);
  CHECK(message_of([&] { early.commit(); }) == path + ": no scores of b");
  CHECK_FALSE(std::filesystem::exists(path));
}
