// SPDX-License-Identifier: Apache-2.0
#include "zoq/sparse/algebra.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::delta;
using zoq::index_t;
using zoq::mask;
using zoq::test::message_of;

namespace {

// About `per_mille` of each of the named 8 x 16 matrices.
mask random_mask(const std::vector<std::string>& names, zoq::seed_t seed, std::uint32_t per_mille) {
  mask out;
  for (const std::string& name : names) {
    zoq::tensor_mask t{name, 8, 16, {}};
    for (std::int32_t i = 0; i < 128; ++i) {
      const auto word = zoq::test::random_word(seed, i + 1000 * static_cast<index_t>(name[0]));
      if (word % 1000 < per_mille) {
        t.index.push_back(i);
      }
    }
    out.tensors.push_back(t);
  }
  return out;
}

delta random_delta(const mask& places, zoq::seed_t seed) {
  return {places, zoq::test::uniform(places.count(), seed)};
}

bool equal(const delta& a, const delta& b) {
  return a.places.hash() == b.places.hash() && a.values == b.values;
}

}  // namespace

TEST_CASE("mask algebra: counts, commutation, absorption and the sets' own Jaccard index") {
  for (zoq::seed_t seed = 0; seed < 20; ++seed) {
    const mask a = random_mask({"a", "b", "c"}, seed, 300);
    const mask b = random_mask({"b", "c", "d"}, 100 + seed, 400);
    const mask either = zoq::united(a, b), both = zoq::intersection(a, b);
    for (const mask& m : {either, both, zoq::difference(a, b)}) {
      m.validate();
    }
    CHECK(either.tensors.size() == 4);
    CHECK(either.count() == a.count() + b.count() - both.count());
    CHECK(zoq::difference(a, b).count() == a.count() - both.count());
    CHECK(both.hash() == zoq::intersection(zoq::intersection(a, b), a).hash());
    CHECK(zoq::jaccard(zoq::united(b, a), either) == 1);
    CHECK(zoq::jaccard(zoq::united(a, both), a) == 1);
    CHECK(zoq::jaccard(zoq::united(zoq::difference(a, b), both), a) == 1);
    CHECK(zoq::intersection(zoq::difference(a, b), b).count() == 0);
    CHECK(zoq::jaccard(a, b) ==
          static_cast<double>(both.count()) / static_cast<double>(either.count()));
  }
}

TEST_CASE("mask algebra: restricted to tensors, by name") {
  const mask a = random_mask({"blk.0.attn_q.weight", "blk.1.attn_q.weight"}, 1, 300);
  const mask first =
      zoq::restricted(a, [](std::string_view name) { return name.starts_with("blk.0."); });
  REQUIRE(first.tensors.size() == 1);
  CHECK(first.tensors[0] == a.tensors[0]);
  const delta d = random_delta(a, 3);
  const delta second =
      zoq::restricted(d, [](std::string_view name) { return name.starts_with("blk.1."); });
  const auto skipped = static_cast<std::ptrdiff_t>(a.tensors[0].index.size());
  CHECK(second.values == std::vector<float>(d.values.begin() + skipped, d.values.end()));
}

TEST_CASE("delta algebra: values at places, and sums") {
  const mask a = random_mask({"a", "b"}, 1, 300), b = random_mask({"b", "c"}, 2, 300);
  const delta x = random_delta(a, 3), y = random_delta(b, 4);
  const delta sum = zoq::merged(x, y);
  CHECK(sum.places.hash() == zoq::united(a, b).hash());
  // On what only one has, the sum is that one; on both the sum of two.
  CHECK(zoq::at_places(sum, zoq::difference(a, b)).values ==
        zoq::at_places(x, zoq::difference(a, b)).values);
  const mask both = zoq::intersection(a, b);
  std::vector<float> wanted = zoq::at_places(x, both).values;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    wanted[i] += zoq::at_places(y, both).values[i];
  }
  CHECK(both.count() > 0);
  CHECK(zoq::at_places(sum, both).values == wanted);
  CHECK(equal(zoq::merged(x, delta{}), x));
  CHECK(equal(zoq::at_places(x, a), x));
}

TEST_CASE("refreshed: nothing is lost, places that stay go on, and places that return too") {
  const mask first = random_mask({"a", "b"}, 1, 300), second = random_mask({"b", "a"}, 2, 300);
  zoq::tuned_and_frozen now{random_delta(first, 3), {}};
  const delta start = now.tuned;
  const zoq::tuned_and_frozen next = zoq::refreshed(now, second);
  CHECK(next.tuned.places.hash() == second.hash());
  CHECK(zoq::intersection(next.tuned.places, next.frozen.places).count() == 0);
  // All that the first tuning learnt is there, to the bit; new places begin at 0.
  const delta all = zoq::merged(next.frozen, next.tuned);
  CHECK(zoq::at_places(all, first).values == start.values);
  for (const float v : zoq::at_places(next.tuned, zoq::difference(second, first)).values) {
    CHECK(v == 0);
  }
  // Back to the first mask without a step: the same values as at the beginning.
  const zoq::tuned_and_frozen back = zoq::refreshed(next, first);
  CHECK(equal(back.tuned, start));
  for (const float v : back.frozen.values) {
    CHECK(v == 0);
  }
}

TEST_CASE("mask algebra: other shapes and other models are refused") {
  mask a = random_mask({"a"}, 1, 300), b = random_mask({"a"}, 2, 300);
  b.tensors[0].rows = 16;
  b.tensors[0].columns = 8;
  CHECK(message_of([&] { zoq::united(a, b); }) ==
        "masks: a is 16 x 8 in one and 8 x 16 in the other");
  b = random_mask({"b"}, 2, 300);
  b.model_hash = "b";
  CHECK(zoq::united(a, b).model_hash == "b");
  a.model_hash = "a";
  CHECK(message_of([&] { zoq::intersection(a, b); }) == "masks: made for the models a and b");
  CHECK(message_of([&] { zoq::at_places({a, {}}, a); }).starts_with("delta: 0 values for "));
}
