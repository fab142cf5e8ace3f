// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/attention.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"

using zoq::index_t;
using zoq::segment;
using namespace zoq::test;

namespace {

struct sample {
  std::vector<segment> segments;
  index_t branches, heads, shared, size;
  double spread = 1;                       // of queries and keys
  std::vector<std::int32_t> query_rows{};  // empty: all
  std::vector<std::int32_t> segment_of{};
  std::vector<float> q{}, k{}, v{};

  void fill() {
    for (std::size_t s = 0; s < segments.size(); ++s) {
      for (index_t i = 0; i < segments[s].count; ++i) {
        segment_of.push_back(static_cast<std::int32_t>(s));
      }
    }
    if (query_rows.empty()) {
      for (index_t t = 0; t < rows(); ++t) {
        query_rows.push_back(static_cast<std::int32_t>(t));
      }
    }
    q = uniform(branches * queries() * heads * size, 1, -spread, spread);
    k = uniform(branches * rows() * shared * size, 2, -spread, spread);
    v = uniform(branches * rows() * shared * size, 3);
  }
  index_t rows() const { return static_cast<index_t>(segment_of.size()); }
  index_t queries() const { return static_cast<index_t>(query_rows.size()); }

  zoq::row_layout layout() const {
    return {{segments.data(), {static_cast<index_t>(segments.size())}},
            {segment_of.data(), {rows()}}};
  }

  template <class X>
  std::vector<float> run(const X& exec) const {
    std::vector<float> out(q.size(), -7.0f);
    zoq::attention(exec, {q.data(), {branches * queries(), heads, size}},
                   {k.data(), {branches * rows(), shared, size}},
                   {v.data(), {branches * rows(), shared, size}}, {query_rows.data(), {queries()}},
                   layout(), {out.data(), {branches * queries(), heads, size}});
    return out;
  }

  bool sees(index_t row, index_t other) const {
    if (segment_of[at(row)] == segment_of[at(other)]) {
      return other <= row;
    }
    for (index_t s = segments[at(segment_of[at(row)])].parent; s >= 0; s = segments[at(s)].parent) {
      if (segment_of[at(other)] == s) {
        return true;
      }
    }
    return false;
  }

  /// The whole score matrix with a mask, softmax and mean, in double.
  std::vector<double> with_full_mask() const {
    std::vector<double> out;
    for (index_t b = 0; b < branches; ++b) {
      for (index_t i = 0; i < queries(); ++i) {
        for (index_t h = 0; h < heads; ++h) {
          const index_t shared_head = h / (heads / shared);
          std::vector<double> weight;
          double total = 0;
          for (index_t j = 0; j < rows(); ++j) {
            double score = 0;
            for (index_t d = 0; d < size; ++d) {
              score +=
                  static_cast<double>(q[at(((b * queries() + i) * heads + h) * size + d)]) *
                  static_cast<double>(k[at(((b * rows() + j) * shared + shared_head) * size + d)]);
            }
            score /= std::sqrt(static_cast<double>(size));
            weight.push_back(sees(query_rows[at(i)], j) ? std::exp(score) : 0.0);
            total += weight.back();
          }
          for (index_t d = 0; d < size; ++d) {
            double mean = 0;
            for (index_t j = 0; j < rows(); ++j) {
              mean +=
                  weight[at(j)] / total *
                  static_cast<double>(v[at(((b * rows() + j) * shared + shared_head) * size + d)]);
            }
            out.push_back(mean);
          }
        }
      }
    }
    return out;
  }
};

// A prompt, two options, a part that goes on after the first option, and a text of its own.
const std::vector<segment> tree = {
    {0, 40, -1, 0}, {40, 3, 0, 40}, {43, 5, 0, 40}, {48, 2, 1, 43}, {50, 9, -1, 0}};

std::vector<sample> samples() {
  std::vector<sample> all = {
      {{{0, 70, -1, 0}}, 1, 2, 2, 8},                                // more than two tiles
      {{{0, 5, -1, 0}, {5, 1, -1, 0}, {6, 33, -1, 0}}, 1, 3, 3, 4},  // packed texts
      {tree, 1, 6, 2, 8},                                            // parents, grouped heads
      {tree, 3, 4, 1, 10},                                           // branches, one shared head
      {tree, 2, 4, 2, 16, 1, {0, 39, 42, 47, 49, 49, 58}},           // some rows only
      {{{0, 3, -1, 0}}, 1, 1, 1, zoq::largest_head, 0.2},            // the largest head
  };
  for (sample& s : all) {
    s.fill();
  }
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("attention: packed segments with parents equal the naive full mask", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const sample& s : samples()) {
    CAPTURE(s.heads);
    CAPTURE(s.size);
    // Scores err by some 1e-6, which is a relative error of the weights; with 2^-22 of exp_f32 and
    // the float sum of up to 70 values in [-1, 1] the mean errs by less than 1e-5.
    CHECK(largest_difference(s.run(exec), s.with_full_mask()) <= 1e-5);
  }
}

TEST_CASE_TEMPLATE("attention: a row that sees itself alone takes its value to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  sample s{{{0, 1, -1, 0}, {1, 1, -1, 0}}, 1, 2, 2, 6, 50};
  s.fill();
  CHECK(same_bits(s.run(X{}), s.v));
}

TEST_CASE_TEMPLATE("attention: what stands beside a text changes no bit of it", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  sample all{tree, 2, 4, 2, 8};
  all.fill();
  const std::vector<float> packed = all.run(exec);
  sample alone{{{0, 9, -1, 0}}, 1, 4, 2, 8};  // the last text of the second branch
  alone.fill();
  const auto tail = [](const std::vector<float>& x, std::size_t n) {
    return std::vector<float>(x.end() - static_cast<std::ptrdiff_t>(n), x.end());
  };
  alone.q = tail(all.q, alone.q.size());
  alone.k = tail(all.k, alone.k.size());
  alone.v = tail(all.v, alone.v.size());
  CHECK(same_bits(alone.run(exec), tail(packed, alone.q.size())));
}

TEST_CASE(
    "attention: any number of threads gives the same bits, those of serial but for rounding") {
  // The same function object runs everywhere; fused operations change the last bits, no more.
  for (const sample& s : samples()) {
    const std::vector<float> oracle = s.run(zoq::serial{});
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      const std::vector<float> got = s.run(zoq::cpu{{.threads = threads}});
      first = first.empty() ? got : first;
      CHECK(same_bits(got, first));
      CHECK(largest_difference(got, oracle) <= 1e-5);
    }
  }
}

TEST_CASE_TEMPLATE("attention: scores of any size give finite means", X, ZOQ_TEST_EXECUTORS) {
  sample s{{{0, 45, -1, 0}}, 1, 1, 1, 4, 1e4};
  s.fill();
  bool inside = true;
  for (const float y : s.run(X{})) {
    inside = inside && y >= -1.0f && y <= 1.0f;  // a mean of values in [-1, 1]
  }
  CHECK(inside);
}

TEST_CASE("attention: wrong shapes are refused") {
  const zoq::serial exec;
  std::vector<float> x(4096);
  const std::vector<segment> one = {{0, 2, -1, 0}};
  const std::vector<std::int32_t> rows = {0, 1}, segment_of = {0, 0};
  const zoq::row_layout layout{{one.data(), {1}}, {segment_of.data(), {2}}};
  const auto error = [&](index_t queries, index_t heads, index_t size, index_t keys, index_t shared,
                         index_t key_size, index_t row_count) {
    return message_of([&] {
      const zoq::tensor_view<float, 3> q{x.data(), {queries, heads, size}};
      const zoq::tensor_view<float, 3> k{x.data(), {keys, shared, key_size}};
      zoq::attention(exec, q, k, k, {rows.data(), {row_count}}, layout, q);
    });
  };
  CHECK(error(2, 3, 4, 2, 2, 4, 2) == "attention: 3 heads cannot share 2");
  CHECK(error(2, 2, 4, 2, 2, 6, 2) == "attention: heads of 4 and 6 coordinates, at most 256");
  CHECK(error(2, 2, 258, 2, 2, 258, 2) ==
        "attention: heads of 258 and 258 coordinates, at most 256");
  CHECK(error(4, 2, 4, 2, 2, 4, 2) ==
        "attention: 4 queries and 2 keys are not 2 and 2 of the same branches");
  CHECK(error(0, 2, 4, 2, 2, 4, 0) ==
        "attention: 0 queries and 2 keys are not 0 and 2 of the same branches");
}
