// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/tensors.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "samples.hpp"

using namespace zoq::test;
using zoq::model_tensor;
using zoq::tensor_role;

TEST_CASE("tensors: found by name, only the matrices of linear layers are counted") {
  const packed_matrix w = pack("q8_0", uniform(96, 1), 3, 32);
  const packed_matrix g = pack("f32", uniform(32, 2), 1, 32);
  const std::vector<model_tensor> all = {{"embedding", w.view, tensor_role::embedding},
                                         {"norm", g.view, tensor_role::norm},
                                         {"a", w.view, tensor_role::linear},
                                         {"b", w.view, tensor_role::linear},
                                         {"head", w.view, tensor_role::head}};
  CHECK(zoq::find_tensor(all, "embedding") == 0);
  CHECK(zoq::find_tensor(all, "b") == 3);
  CHECK(zoq::find_tensor(all, "c") == -1);
  CHECK(zoq::find_tensor({}, "a") == -1);
  CHECK(zoq::linear_matrices(all) == 2);
  CHECK(zoq::linear_weights(all) == 2 * 96);
  CHECK(zoq::linear_weights({}) == 0);
}

TEST_CASE("hash_of: every part of a model's contents has its share") {
  const packed_matrix w = pack("f16", uniform(12, 1), 3, 4);
  const packed_matrix same = pack("f16", uniform(12, 1), 3, 4);
  const packed_matrix turned{w.bytes, zoq::packed_as(1, w.bytes->data(), 4, 3, "")};
  const packed_matrix other_format{w.bytes, zoq::packed_as(30, w.bytes->data(), 3, 4, "")};
  packed_matrix other_bytes = pack("f16", uniform(12, 1), 3, 4);
  other_bytes.bytes->back() ^= std::byte{1};
  const auto hash = [](const std::vector<model_tensor>& t) { return zoq::hash_of(t); };
  const std::string first = hash({{"a", w.view}, {"b", w.view}});
  CHECK(first.size() == 16);
  CHECK(hash({{"a", same.view}, {"b", same.view}}) == first);
  const std::set<std::string> all = {first,
                                     hash({{"a", w.view}}),
                                     hash({{"a", w.view}, {"c", w.view}}),
                                     hash({{"a", w.view}, {"b", turned.view}}),
                                     hash({{"a", w.view}, {"b", other_format.view}}),
                                     hash({{"a", w.view}, {"b", other_bytes.view}})};
  CHECK(all.size() == 6);
}
