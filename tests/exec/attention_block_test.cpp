// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/attention_block.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "exec/block_executor.hpp"
#include "random_values.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/ops/attention.hpp"

using zoq::index_t;
using zoq::segment;
using zoq::test::block_executor;
using zoq::test::uniform;

namespace {

struct attention_case {
  std::vector<segment> segments;
  index_t branches, heads, shared, size;
  double spread = 1;
  std::vector<std::int32_t> rows_read = {};  // all, when there are none
  std::vector<std::int32_t> query_row = {}, segment_of = {};
  std::vector<float> q = {}, k = {}, v = {};

  void fill() {
    for (std::size_t s = 0; s < segments.size(); ++s) {
      segment_of.insert(segment_of.end(), static_cast<std::size_t>(segments[s].count),
                        static_cast<std::int32_t>(s));
    }
    for (index_t t = 0; rows_read.empty() && t < rows(); ++t) {
      query_row.push_back(static_cast<std::int32_t>(t));
    }
    query_row.insert(query_row.end(), rows_read.begin(), rows_read.end());
    q = uniform(branches * queries() * heads * size, 1, -spread, spread);
    k = uniform(branches * rows() * shared * size, 2, -spread, spread);
    v = uniform(branches * rows() * shared * size, 3);
  }
  index_t rows() const { return static_cast<index_t>(segment_of.size()); }
  index_t queries() const { return static_cast<index_t>(query_row.size()); }

  template <class X>
  std::vector<float> run(const X& exec) const {
    std::vector<float> out(q.size(), std::numeric_limits<float>::quiet_NaN());
    const zoq::row_layout layout{{segments.data(), {static_cast<index_t>(segments.size())}},
                                 {segment_of.data(), {rows()}}};
    zoq::attention(exec, {q.data(), {branches * queries(), heads, size}},
                   {k.data(), {branches * rows(), shared, size}},
                   {v.data(), {branches * rows(), shared, size}}, {query_row.data(), {queries()}},
                   layout, {out.data(), {branches * queries(), heads, size}});
    return out;
  }
};

attention_case filled(attention_case c) {
  c.fill();
  return c;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double out = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    out = d <= out ? out : d;  // NaN stays
  }
  return out;
}

// A prompt, two options, one that goes on after the first option, and two texts of their own.
const std::vector<segment> tree = {{0, 40, -1, 0}, {40, 3, 0, 40}, {43, 5, 0, 40},
                                   {48, 2, 1, 43}, {50, 9, -1, 0}, {59, 1, -1, 0}};

}  // namespace

TEST_CASE("attention_block: equals attention_head for segments, heads and branches of all kinds") {
  // Rows, heads and coordinates: less than, exactly and more than a tile, a stretch, a block; heads
  // in groups of any size, more in a group than a block takes; only some queries.
  const attention_case cases[] = {
      {{{0, 1, -1, 0}}, 1, 1, 1, 1},
      {{{0, 32, -1, 0}}, 1, 2, 2, 64},
      {{{0, 200, -1, 0}}, 1, 2, 1, 65},
      {{{0, 5, -1, 0}, {5, 1, -1, 0}, {6, 33, -1, 0}}, 2, 3, 3, 4},
      {tree, 3, 6, 2, 8},
      {tree, 2, 9, 3, 128},
      {tree, 2, 4, 1, 80},
      {tree, 1, 4, 4, 256},
      {tree, 1, 70, 1, 12},
      {tree, 1, 33, 1, 130},
      {tree, 2, 4, 2, 16, 1, {0, 39, 42, 47, 49, 49, 58}},
      {tree, 2, 4, 2, 16, 1, {58, 3, 41, 2, 40}},
      {{{0, 90, -1, 0}}, 1, 2, 1, 192, 3},
  };
  for (const attention_case& c : cases) {
    const attention_case full = filled(c);
    CAPTURE(full.heads);
    CAPTURE(full.size);
    // Scores of up to 9 * 256 terms in float err by some 1e-6 of their sizes here; so do the weights.
    CHECK(largest_difference(full.run(block_executor{}), full.run(zoq::serial{})) <= 1e-5);
  }
}

TEST_CASE("attention_block: what stands beside a text changes no bit of it") {
  const attention_case all = filled({tree, 2, 6, 2, 72});
  const std::vector<float> packed = all.run(block_executor{});
  // The text of 9 rows in the second branch, alone.
  attention_case alone = filled({{{0, 9, -1, 0}}, 1, 6, 2, 72});
  const auto part = [](const std::vector<float>& x, index_t first, std::size_t n) {
    return std::vector<float>(x.begin() + first, x.begin() + first + static_cast<index_t>(n));
  };
  const index_t row = 60 + 50;
  alone.q = part(all.q, row * 6 * 72, alone.q.size());
  alone.k = part(all.k, row * 2 * 72, alone.k.size());
  alone.v = part(all.v, row * 2 * 72, alone.v.size());
  CHECK(alone.run(block_executor{}) == part(packed, row * 6 * 72, alone.q.size()));

  // The last row of an option, read alone: the options and rows around it are gone from its block.
  attention_case one = all;
  one.query_row = {47};
  one.q = part(all.q, 47 * 6 * 72, 6 * 72);
  const std::vector<float> second = part(all.q, (60 + 47) * 6 * 72, 6 * 72);
  one.q.insert(one.q.end(), second.begin(), second.end());
  const std::vector<float> read = one.run(block_executor{});
  CHECK(part(read, 0, 6 * 72) == part(packed, 47 * 6 * 72, 6 * 72));
  CHECK(part(read, 6 * 72, 6 * 72) == part(packed, (60 + 47) * 6 * 72, 6 * 72));
}

TEST_CASE("attention_block: a row that sees itself alone takes its value to the bit") {
  const attention_case c = filled({{{0, 1, -1, 0}, {1, 1, -1, 0}}, 1, 2, 2, 6, 50});
  CHECK(c.run(block_executor{}) == c.v);
}

TEST_CASE("attention_block: scores of any size give finite means") {
  const attention_case c = filled({{{0, 45, -1, 0}}, 1, 1, 1, 4, 1e4});
  bool inside = true;
  for (const float y : c.run(block_executor{})) {
    inside = inside && y >= -1.0f && y <= 1.0f;  // a mean of values in [-1, 1]
  }
  CHECK(inside);
}

TEST_CASE("attention_block: shared memory fits every device, 99 KiB a block") {
  using task = zoq::attention_head;
  CHECK(sizeof(zoq::attention_block<64, task>::shared) <= 48 * 1024);
  CHECK(sizeof(zoq::attention_block<128, task>::shared) <= 99 * 1024);
  CHECK(sizeof(zoq::attention_block<256, task>::shared) <= 99 * 1024);
}
