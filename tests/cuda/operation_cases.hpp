// What every executor must answer as the plain loops do, operation by operation: the same bodies for
// executors of hosts (tests/cuda/cases_test.cpp) and of devices (operations_test.cu).
//
//     zoq::test::linear_agrees(exec, zoq::compute::bf16);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cuda/on_executor.hpp"
#include "cuda/plain.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/ops/attention.hpp"
#include "zoq/ops/embedding.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/rotary.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/rademacher.hpp"

namespace zoq::test {

/// |got - wanted| in units of what rounding may do: a float sum of C products in any order errs by
/// at most C 2^-24 of their sizes, factors rounded to bfloat16 by 2^-7 more.
inline bool product_agrees(const std::vector<float>& got, const std::vector<float>& x,
                           const std::vector<float>& w, index_t rows, index_t outputs,
                           index_t columns, compute products) {
  const double unit = (static_cast<double>(columns) + 4) * 0x1p-24 +
                      (products == compute::bf16 ? 0x1p-7 + 0x1p-16 : 0.0);
  bool good = static_cast<index_t>(got.size()) == rows * outputs;
  for (index_t r = 0; good && r < rows; ++r) {
    for (index_t o = 0; o < outputs; ++o) {
      double sum = 0, size = 0;
      for (index_t c = 0; c < columns; ++c) {
        const double term = static_cast<double>(x[at(r * columns + c)]) *
                            static_cast<double>(w[at(o * columns + c)]);
        sum += term;
        size += std::fabs(term);
      }
      good = good &&
             std::fabs(static_cast<double>(got[at(r * outputs + o)]) - sum) <= unit * size * 1.01;
    }
  }
  return good;
}

/// y = x W^T in every format: few rows, more than a kernel of few rows takes, outputs of no tile's size.
template <class X>
void linear_agrees(const X& exec, compute products) {
  const index_t outputs = 70, columns = 768;  // a multiple of every format's block
  for (const std::string_view format : format_names(columns)) {
    CAPTURE(format);
    for (const index_t rows : {1, 3, 16, 17, 70}) {
      CAPTURE(rows);
      const packed_matrix w = pack(format, uniform(outputs * columns, 5), outputs, columns);
      const std::vector<float> values = uniform(rows * columns, 6);
      const packed_on<X> weight(exec, w.view);
      const on<X, float> x(exec, values), y(exec, unset(rows * outputs));
      exec.linear(x.view(rows, columns), weight.view(), y.view(rows, outputs));
      CHECK(product_agrees(y.values(), values, w.decoded(), rows, outputs, columns, products));
    }
  }
}

/// Pairs of branches, a part with values for each, and two layers of the same inputs.
template <class X>
void stacked_parts_agree(const X& exec, compute products) {
  const index_t branches = 4, per_branch = 37, outputs = 40, columns = 64, k = 6;
  const std::vector<std::int32_t> row = {0, 0, 17, 17, 17, 39}, column = {3, 63, 0, 5, 6, 40};
  const std::vector<float> inputs = uniform(branches * per_branch * columns, 1),
                           added = uniform(branches * k, 2, -9, 9);
  const packed_matrix w = pack("q4_0", uniform(outputs * columns, 3), outputs, columns);
  const auto run = [&](const auto& x) {
    using Y = std::decay_t<decltype(x)>;
    const packed_on<Y> weight(x, w.view);
    const on<Y, float> in(x, inputs), values(x, added);
    const on<Y, float> first(x, unset(branches * per_branch * outputs));
    const on<Y, float> second(x, unset(branches * per_branch * outputs));
    const on<Y, std::int32_t> rows(x, row), columns_of(x, column);
    parts with;
    with.sparse = sparse_part{rows.view(k), columns_of.view(k), values.view(branches, k), 0};
    linear_targets targets;
    targets.add({weight.view(), with, first.view(branches * per_branch, outputs)});
    targets.add({weight.view(), {}, second.view(branches * per_branch, outputs)});
    linear(x, in.view(branches * per_branch, columns), {branches, true}, targets);
    std::vector<float> both = first.values();
    const std::vector<float> more = second.values();
    both.insert(both.end(), more.begin(), more.end());
    return both;
  };
  CHECK(relative_error(run(exec), run(plain{})) <= (products == compute::bf16 ? 5e-3 : 1e-5));
}

/// The two reverses of linear, in an odd shape.
template <class X>
void reverse_products_agree(const X& exec) {
  const index_t rows = 45, outputs = 33, columns = 96;
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 1), outputs, columns);
  const std::vector<float> dy = uniform(rows * outputs, 2), x = uniform(rows * columns, 3);
  const auto run = [&](const auto& e, bool to_input) {
    using Y = std::decay_t<decltype(e)>;
    const packed_on<Y> weight(e, w.view);
    const on<Y, float> from(e, dy), in(e, x);
    const on<Y, float> out(e, unset(to_input ? rows * columns : outputs * columns));
    if (to_input) {
      e.linear_to_input(from.view(rows, outputs), weight.view(), out.view(rows, columns));
    } else {
      e.linear_to_weight(from.view(rows, outputs), in.view(rows, columns),
                         out.view(outputs, columns));
    }
    return out.values();
  };
  CHECK(relative_error(run(exec, true), run(plain{}, true)) <= 1e-5);
  CHECK(relative_error(run(exec, false), run(plain{}, false)) <= 1e-5);
}

/// Packed segments with parents, heads in groups, branches, some rows only; heads of all block sizes.
template <class X>
void attention_agrees(const X& exec) {
  const std::vector<segment> segments = {
      {0, 40, -1, 0}, {40, 3, 0, 40}, {43, 5, 0, 40}, {48, 2, 1, 43}, {50, 90, -1, 0}};
  std::vector<std::int32_t> segment_of, all;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    segment_of.insert(segment_of.end(), at(segments[s].count), static_cast<std::int32_t>(s));
  }
  const index_t rows = 140, branches = 2, heads = 6, shared = 2;
  for (index_t t = 0; t < rows; ++t) {
    all.push_back(static_cast<std::int32_t>(t));
  }
  for (const std::vector<std::int32_t>& read : {all, {0, 39, 42, 47, 49, 139}}) {
    const auto queries = static_cast<index_t>(read.size());
    for (const index_t size : {16, 64, 80, 128, 256}) {
      CAPTURE(size);
      const std::vector<float> q = uniform(branches * queries * heads * size, 1),
                               k = uniform(branches * rows * shared * size, 2),
                               v = uniform(branches * rows * shared * size, 3);
      const auto run = [&](const auto& e) {
        using Y = std::decay_t<decltype(e)>;
        const on<Y, segment> seen(e, segments);
        const on<Y, std::int32_t> of(e, segment_of), row_of(e, read);
        const on<Y, float> qs(e, q), ks(e, k), vs(e, v);
        const on<Y, float> out(e, unset(static_cast<index_t>(q.size())));
        attention(e, qs.view(branches * queries, heads, size),
                  ks.view(branches * rows, shared, size), vs.view(branches * rows, shared, size),
                  row_of.view(queries), {seen.view(5), of.view(rows)},
                  out.view(branches * queries, heads, size));
        return out.values();
      };
      // Scores err by some 1e-6, which is a relative error of the weights of a mean in [-1, 1].
      CHECK(largest_difference(run(exec), run(plain{})) <= 1e-5);
    }
  }
}

/// Norm, rotary, swiglu, embedding and normalisers, one after another.
template <class X>
void rows_agree(const X& exec) {
  const index_t rows = 21, columns = 96, positions = 40, size = 24, words = 30;
  const std::vector<float> x = uniform(rows * columns, 1, -3, 3), y = uniform(rows * columns, 2),
                           gains = uniform(columns, 3), turns = rotary_table(positions, size, 1e4);
  const packed_matrix table = pack("q8_0", uniform(words * columns, 4), words, columns);
  std::vector<std::int32_t> position;
  std::vector<token_t> token;
  for (index_t r = 0; r < rows; ++r) {
    position.push_back(static_cast<std::int32_t>(r * 7 % positions));
    token.push_back(static_cast<token_t>(r * 11 % words));
  }
  const auto run = [&](const auto& e) {
    using Y = std::decay_t<decltype(e)>;
    const on<Y, float> a(e, x), b(e, y), gain(e, gains), turn(e, turns);
    const on<Y, float> c(e, unset(rows * columns));
    const on<Y, double> normaliser(e, std::vector<double>(at(rows)));
    const on<Y, std::int32_t> where(e, position);
    const on<Y, token_t> tokens(e, token);
    const packed_on<Y> embedding(e, table.view);
    embed(e, tokens.view(rows), embedding.view(), 1, c.view(rows, columns));
    add(e, c.view(rows, columns), a.view(rows, columns));
    rms_norm(e, a.view(rows, columns), gain.view(columns), 1e-5f, c.view(rows, columns));
    rotary(e, c.view(rows, columns), where.view(rows), turn.view(positions, size));
    swiglu(e, c.view(rows, columns), b.view(rows, columns));
    log_normalisers(e, c.view(rows, columns), normaliser.view(rows));
    std::vector<float> out = c.values();
    for (const double n : normaliser.values()) {
      out.push_back(static_cast<float>(n));
    }
    return out;
  };
  CHECK(relative_error(run(exec), run(plain{})) <= 1e-6);
}

template <class Field>
struct write_field {
  Field z;
  float* to;
  ZOQ_HD void operator()(index_t block) const {
    const float4v v = z.four(block);
    for (int i = 0; i < 4; ++i) {
      to[4 * block + i] = v.at[i];
    }
  }
};
struct square_of {
  const float* x;
  ZOQ_HD double operator()(index_t i) const {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
};

/// Directions are the same numbers everywhere: Rademacher to the bit, Gaussian within an ulp.
template <class X>
void directions_agree(const X& exec) {
  const auto run = [](const auto& e, const auto& direction) {
    using Y = std::decay_t<decltype(e)>;
    const on<Y, float> z(e, unset(4096));
    const auto field = direction.at(7, {});
    e.for_each(1024, write_field<std::decay_t<decltype(field)>>{field, z.view(4096).data});
    return z.values();
  };
  CHECK(same_bits(run(exec, rademacher{}), run(plain{}, rademacher{})));
  const std::vector<float> a = run(exec, gaussian{}), b = run(plain{}, gaussian{});
  bool near = true;
  for (std::size_t i = 0; i < a.size(); ++i) {
    near = near && std::fabs(a[i] - b[i]) <= 0x1p-23f * std::fabs(b[i]);
  }
  CHECK(near);
}

/// A sum has one order: the bits of plain loops, for any number of terms.
template <class X>
void sums_agree(const X& exec) {
  for (const index_t n : {0, 1, 1024, 5000}) {
    const std::vector<float> x = uniform(n + 1, 3);
    const on<X, float> there(exec, x);
    CHECK(exec.sum(n, square_of{there.view(n + 1).data}) == plain{}.sum(n, square_of{x.data()}));
  }
}

}  // namespace zoq::test
