// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/changed_weight.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "exec/executors.hpp"
#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/ops/linear.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

// Values of a view around a matrix's factors and offsets, for every branch.
struct changes {
  index_t rows, columns, branches, block;
  std::vector<float> values;  // [branches, 3 + factors + offsets + 2]

  changes(index_t o, index_t c, index_t branch_count, index_t factor_block, zoq::seed_t seed,
          double largest = 0.5)
      : rows(o), columns(c), branches(branch_count), block(factor_block) {
    values = uniform(branches * stride(), seed, -largest, largest);
  }
  index_t factors() const { return rows * (columns / block); }
  index_t stride() const { return 3 + factors() + rows * columns + 2; }
  zoq::part_values at_first(index_t first) const {
    return {{values.data(), {branches, stride()}}, first};
  }
  zoq::parts part(bool factor, bool offset) const {
    zoq::parts p;
    if (factor) {
      p.factor = zoq::factor_part{block, at_first(3)};
    }
    if (offset) {
      p.offset = zoq::offset_part{at_first(3 + factors())};
    }
    return p;
  }
  // The weight of a branch in double, from decoded values.
  std::vector<double> weight(const std::vector<float>& decoded, index_t b, bool factor,
                             bool offset) const {
    std::vector<double> out;
    const float* own = values.data() + b * stride() + 3;
    for (index_t o = 0; o < rows; ++o) {
      for (index_t c = 0; c < columns; ++c) {
        const index_t i = o * columns + c;
        const double f = factor ? own[o * (columns / block) + c / block] : 0.0;
        out.push_back((1 + f) * static_cast<double>(decoded[at(i)]) +
                      (offset ? static_cast<double>(own[factors() + i]) : 0.0));
      }
    }
    return out;
  }
};

std::vector<double> product(const float* x, const std::vector<double>& w, index_t rows,
                            index_t outputs, index_t columns) {
  std::vector<double> y;
  for (index_t r = 0; r < rows; ++r) {
    for (index_t o = 0; o < outputs; ++o) {
      double s = 0;
      for (index_t c = 0; c < columns; ++c) {
        s += static_cast<double>(x[r * columns + c]) * w[at(o * columns + c)];
      }
      y.push_back(s);
    }
  }
  return y;
}

template <class X>
std::vector<float> run(const X& exec, const std::vector<float>& x, const zoq::any_packed& w,
                       const zoq::parts& added, const zoq::branch_stack& stack) {
  const auto rows = static_cast<index_t>(x.size()) / w.columns();
  std::vector<float> y(at(rows * w.rows()), -1.0f);
  zoq::linear(exec, matrix(x, rows, w.columns()), w, added, stack, matrix(y, rows, w.rows()));
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("linear: every branch is multiplied by its own weight, in every format", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t outputs = 17, columns = 256, rows = 5, branches = 3;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  for (const auto format : format_names()) {
    CAPTURE(format);
    const packed_matrix w = pack(format, uniform(outputs * columns, 2), outputs, columns);
    for (const index_t block : {1, 32, 64, 256}) {
      const changes c(outputs, columns, branches, block, 3);
      for (const auto& [factor, offset] : {std::pair{true, false}, {false, true}, {true, true}}) {
        const std::vector<float> y =
            run(exec, x, w.view, c.part(factor, offset), {.count = branches});
        std::vector<double> wanted;
        for (index_t b = 0; b < branches; ++b) {
          const auto one =
              product(x.data() + b * rows * columns, c.weight(w.decoded(), b, factor, offset), rows,
                      outputs, columns);
          wanted.insert(wanted.end(), one.begin(), one.end());
        }
        // Sums of 256 products in float, of weights that are rounded once or twice.
        CHECK(relative_error(y, wanted) <= 1e-6);
      }
    }
  }
}

TEST_CASE_TEMPLATE("linear: offsets and factors of zero change no bit of a product in float", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t outputs = 40, columns = 64, rows = 9, branches = 2;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  for (const auto format : format_names()) {
    CAPTURE(format);
    if (columns % zoq::find_format(format)->block_size != 0) {
      continue;
    }
    const packed_matrix w = pack(format, uniform(outputs * columns, 2), outputs, columns);
    const changes zero(outputs, columns, branches, 32, 3, 0);
    const std::vector<float> plain = run(exec, x, w.view, {}, {.count = branches});
    for (const auto& [factor, offset] : {std::pair{true, false}, {false, true}, {true, true}}) {
      CHECK(same_bits(run(exec, x, w.view, zero.part(factor, offset), {.count = branches}), plain));
    }
  }
}

TEST_CASE("linear: a changed weight is never rounded, and a branch's bits are its own") {
  constexpr index_t outputs = 70, columns = 96, rows = 37, branches = 4;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 2), outputs, columns);
  const changes c(outputs, columns, branches, 32, 3);
  for_each_policy([&](const zoq::cpu_options& options) {
    zoq::cpu_options in_float = options;
    in_float.products = zoq::compute::f32;
    const zoq::branch_stack stack{.count = branches, .pairs = true};
    const std::vector<float> y = run(zoq::cpu(options), x, w.view, c.part(true, true), stack);
    CHECK(same_bits(run(zoq::cpu(in_float), x, w.view, c.part(true, true), stack), y));
    CHECK(same_bits(run(zoq::cpu(with_threads(options, 3)), x, w.view, c.part(true, true), stack),
                    y));
    std::vector<float> apart;
    for (index_t b = 0; b < branches; ++b) {
      changes own = c;
      own.branches = 1;
      own.values.assign(c.values.begin() + b * c.stride(), c.values.begin() + (b + 1) * c.stride());
      const std::vector<float> in(x.begin() + b * rows * columns,
                                  x.begin() + (b + 1) * rows * columns);
      const std::vector<float> one = run(zoq::cpu(options), in, w.view, own.part(true, true), {});
      apart.insert(apart.end(), one.begin(), one.end());
    }
    CHECK(same_bits(apart, y));
  });
}

TEST_CASE_TEMPLATE("linear: slices of a large weight are placed side by side", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  // 4096 columns: slices of 1024 outputs, the last one of 52.
  constexpr index_t outputs = 1100, columns = 4096, rows = 2;
  const std::vector<float> x = uniform(rows * columns, 1);
  const packed_matrix w = pack("q4_0", uniform(outputs * columns, 2), outputs, columns);
  const changes zero(outputs, columns, 1, 4096, 3, 0);
  CHECK(same_bits(run(exec, x, w.view, zero.part(true, false), {}), run(exec, x, w.view, {}, {})));
}

TEST_CASE_TEMPLATE("linear: sparse and low-rank parts come on top of a changed weight", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t outputs = 6, columns = 32, rows = 3, branches = 2, rank = 2;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  const packed_matrix w = pack("f32", uniform(outputs * columns, 2), outputs, columns);
  const changes c(outputs, columns, branches, 8, 3);
  const std::vector<std::int32_t> row = {1, 4}, column = {5, 0};
  const index_t more = 2 + rank * (columns + outputs);
  const std::vector<float> values = uniform(branches * more, 4);
  const zoq::tensor_view<const float, 2> all{values.data(), {branches, more}};
  zoq::parts p = c.part(true, true);
  p.sparse = zoq::sparse_part{{row.data(), {2}}, {column.data(), {2}}, all, 0};
  p.low_rank = zoq::low_rank_part{rank, 0.5f, {all, 2}, {all, 2 + rank * columns}};
  const std::vector<float> y = run(exec, x, w.view, p, {.count = branches});
  std::vector<double> wanted;
  for (index_t b = 0; b < branches; ++b) {
    std::vector<double> weight = c.weight(w.decoded(), b, true, true);
    const float* own = values.data() + b * more;
    for (std::size_t j = 0; j < 2; ++j) {
      weight[at(row[j] * columns + column[j])] += static_cast<double>(own[j]);
    }
    for (index_t o = 0; o < outputs; ++o) {
      for (index_t k = 0; k < columns; ++k) {
        for (index_t r = 0; r < rank; ++r) {
          weight[at(o * columns + k)] +=
              0.5 * static_cast<double>(own[2 + rank * columns + o * rank + r]) *
              static_cast<double>(own[2 + r * columns + k]);
        }
      }
    }
    const auto one = product(x.data() + b * rows * columns, weight, rows, outputs, columns);
    wanted.insert(wanted.end(), one.begin(), one.end());
  }
  CHECK(relative_error(y, wanted) <= 1e-6);
}

TEST_CASE("linear: parts that do not fit are refused") {
  const packed_matrix w = pack("f32", uniform(6 * 32, 2), 6, 32);
  const std::vector<float> x(at(4 * 32));
  changes c(6, 32, 3, 8, 3);
  const auto error = [&](const zoq::parts& p) {
    return message_of([&] { (void)run(zoq::serial{}, x, w.view, p, {.count = 2}); });
  };
  CHECK(error(c.part(true, false)) == "linear: weight has values for 3 branches, x has rows for 2");
  CHECK(error(c.part(false, true)) == "linear: weight has values for 3 branches, x has rows for 2");
  zoq::parts p = changes(6, 32, 1, 8, 3).part(true, false);
  p.factor->block = 5;
  CHECK(error(p) == "linear: factors of 5 columns do not divide the 32 of weight");
}
