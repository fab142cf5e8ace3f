// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/linear.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/random/philox.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

/// Entries of a matrix with values for every branch, as a view hands them out.
struct overlay {
  std::vector<std::int32_t> row, column;
  std::vector<float> values;  // [branches, first + n + 2]: other tensors' values stand around
  index_t branches, first;

  overlay(std::vector<index_t> flat, index_t columns, index_t branch_count, zoq::seed_t seed)
      : branches(branch_count), first(5) {
    std::sort(flat.begin(), flat.end());
    flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
    for (const index_t i : flat) {
      row.push_back(static_cast<std::int32_t>(i / columns));
      column.push_back(static_cast<std::int32_t>(i % columns));
    }
    values = uniform(branches * stride(), seed);
  }
  index_t count() const { return static_cast<index_t>(row.size()); }
  index_t stride() const { return first + count() + 2; }
  float& value(index_t branch, index_t j) { return values[at(branch * stride() + first + j)]; }
  zoq::parts part() const {
    return {zoq::sparse_part{{row.data(), {count()}},
                             {column.data(), {count()}},
                             {values.data(), {branches, stride()}},
                             first}};
  }
};

std::vector<index_t> some_entries(index_t n, index_t size, zoq::seed_t seed) {
  std::vector<index_t> out;
  for (index_t i = 0; i < n; ++i) {
    out.push_back(zoq::philox(seed, static_cast<std::uint64_t>(i)).at[1] % size);
  }
  return out;
}

/// y = x W^T in double; `sizes` gets sum |x w| of every output.
std::vector<double> direct(const std::vector<float>& x, const std::vector<float>& w, index_t rows,
                           index_t outputs, index_t columns, std::vector<double>* sizes = nullptr) {
  std::vector<double> y;
  for (index_t r = 0; r < rows; ++r) {
    for (index_t o = 0; o < outputs; ++o) {
      double sum = 0;
      double size = 0;
      for (index_t c = 0; c < columns; ++c) {
        const double product = static_cast<double>(x[at(r * columns + c)]) *
                               static_cast<double>(w[at(o * columns + c)]);
        sum += product;
        size += std::fabs(product);
      }
      y.push_back(sum);
      if (sizes != nullptr) {
        sizes->push_back(size);
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("linear: the sums of the formula, in every format", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 7, outputs = 37, columns = 96;
  const std::vector<float> x = uniform(rows * columns, 1);
  const std::vector<float> values = uniform(outputs * columns, 2);
  for (const auto format : format_names()) {
    CAPTURE(format);
    const packed_matrix w = pack(format, values, outputs, columns);
    std::vector<double> size;
    const std::vector<double> wanted = direct(x, w.decoded(), rows, outputs, columns, &size);
    std::vector<float> y(at(rows * outputs), -1.0f);
    zoq::linear(exec, matrix(x, rows, columns), w.view, {}, {}, matrix(y, rows, outputs));
    bool close = true;
    for (std::size_t i = 0; i < y.size(); ++i) {
      // A float sum of C products: at most C + 1 roundings of 2^-24 of the sum of magnitudes.
      close = close && std::fabs(static_cast<double>(y[i]) - wanted[i]) <=
                           static_cast<double>(columns + 1) * 0x1p-24 * size[i];
    }
    CHECK(close);
  }
}

TEST_CASE_TEMPLATE("R7: an overlay against decode-and-scatter in float", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 5, branches = 3, outputs = 40, columns = 64;
  const std::vector<float> x = uniform(branches * rows * columns, 3);
  for (const auto format : format_names()) {
    CAPTURE(format);
    const packed_matrix w = pack(format, uniform(outputs * columns, 4), outputs, columns);
    overlay added(some_entries(50, outputs * columns, 5), columns, branches, 6);
    std::vector<float> y(at(branches * rows * outputs));
    zoq::linear(exec, matrix(x, branches * rows, columns), w.view, added.part(), {branches},
                matrix(y, branches * rows, outputs));
    for (index_t b = 0; b < branches; ++b) {
      std::vector<float> scattered = w.decoded();
      for (index_t j = 0; j < added.count(); ++j) {
        scattered[at(added.row[at(j)] * columns + added.column[at(j)])] += added.value(b, j);
      }
      const auto first = static_cast<std::ptrdiff_t>(b * rows);
      const std::vector<float> mine(x.begin() + first * columns,
                                    x.begin() + (first + rows) * columns);
      const std::vector<float> got(y.begin() + first * outputs,
                                   y.begin() + (first + rows) * outputs);
      // The requirement's bound; float sums of 64 terms err by some 1e-7.
      CHECK(relative_error(got, direct(mine, scattered, rows, outputs, columns)) <= 1e-5);
      const packed_matrix plain = pack("f32", scattered, outputs, columns);
      std::vector<float> in_float(at(rows * outputs));
      zoq::linear(exec, matrix(mine, rows, columns), plain.view, {}, {},
                  matrix(in_float, rows, outputs));
      CHECK(relative_error(got, in_float) <= 1e-5);
    }
  }
}

TEST_CASE_TEMPLATE("R7: an empty mask equals the quantised path bit for bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 6, outputs = 33, columns = 64;
  const std::vector<float> x = uniform(rows * columns, 7);
  for (const auto format : format_names()) {
    CAPTURE(format);
    const packed_matrix w = pack(format, uniform(outputs * columns, 8), outputs, columns);
    std::vector<float> base(at(rows * outputs)), none = base, zero = base;
    exec.linear(matrix(x, rows, columns), w.view, matrix(base, rows, outputs));
    zoq::linear(exec, matrix(x, rows, columns), w.view, overlay({}, columns, 2, 9).part(), {2},
                matrix(none, rows, outputs));
    CHECK(same_bits(none, base));
    // Entries of value zero add 0.0f: no bit changes either.
    overlay zeros(some_entries(20, outputs * columns, 10), columns, 2, 11);
    std::fill(zeros.values.begin(), zeros.values.end(), 0.0f);
    zoq::linear(exec, matrix(x, rows, columns), w.view, zeros.part(), {2},
                matrix(zero, rows, outputs));
    CHECK(same_bits(zero, base));
  }
}

TEST_CASE_TEMPLATE("R7: a full mask equals the float matrix", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 4, outputs = 17, columns = 96;
  const std::vector<float> x = uniform(rows * columns, 12);
  const std::vector<float> values = uniform(outputs * columns, 13);
  std::vector<index_t> all;
  for (index_t i = 0; i < outputs * columns; ++i) {
    all.push_back(i);
  }
  const std::vector<double> wanted = direct(x, values, rows, outputs, columns);
  for (const auto format : format_names()) {
    CAPTURE(format);
    const packed_matrix w = pack(format, values, outputs, columns);
    const std::vector<float> decoded = w.decoded();
    overlay rest(all, columns, 1, 0);
    for (index_t j = 0; j < rest.count(); ++j) {
      rest.value(0, j) = values[at(j)] - decoded[at(j)];
    }
    std::vector<float> y(at(rows * outputs));
    zoq::linear(exec, matrix(x, rows, columns), w.view, rest.part(), {}, matrix(y, rows, outputs));
    CHECK(relative_error(y, wanted) <= 1e-5);
  }
}

TEST_CASE_TEMPLATE("linear: stacked branches equal single branches bit for bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 9, branches = 4, outputs = 50, columns = 64;
  const std::vector<float> x = uniform(branches * rows * columns, 14);
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 15), outputs, columns);
  const overlay added(some_entries(64, outputs * columns, 16), columns, branches, 17);
  std::vector<float> stacked(at(branches * rows * outputs)), single = stacked;
  zoq::linear(exec, matrix(x, branches * rows, columns), w.view, added.part(), {branches},
              matrix(stacked, branches * rows, outputs));
  for (index_t b = 0; b < branches; ++b) {
    zoq::parts one = added.part();
    one.sparse->values = one.sparse->values.rows(b, 1);
    zoq::linear(exec, matrix(x, branches * rows, columns).rows(b * rows, rows), w.view, one, {},
                matrix(single, branches * rows, outputs).rows(b * rows, rows));
  }
  CHECK(same_bits(stacked, single));
}

TEST_CASE("linear: any number of threads gives the same bits, on every instruction set") {
  // 200 rows of 3 panels: with several threads the rows are split too.
  constexpr index_t rows = 200, outputs = 130, columns = 96;
  const std::vector<float> x = uniform(rows * columns, 18);
  const packed_matrix w = pack("q4_0", uniform(outputs * columns, 19), outputs, columns);
  const overlay added(some_entries(90, outputs * columns, 20), columns, 2, 21);
  std::vector<float> oracle(at(rows * outputs));
  zoq::linear(zoq::serial{}, matrix(x, rows, columns), w.view, added.part(), {2},
              matrix(oracle, rows, outputs));
  for (const auto set :
       {zoq::instruction_set::portable, zoq::instruction_set::avx2, zoq::instruction_set::avx512}) {
    if (!zoq::supports(set)) {
      continue;
    }
    CAPTURE(zoq::name_of(set));
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      const zoq::cpu exec{{.threads = threads, .kernels = set}};
      std::vector<float> y(at(rows * outputs));
      zoq::linear(exec, matrix(x, rows, columns), w.view, added.part(), {2},
                  matrix(y, rows, outputs));
      // Float against double sums of 96 terms: some 1e-7.
      CHECK(relative_error(y, oracle) <= 1e-6);
      first = first.empty() ? y : first;
      CHECK(same_bits(y, first));
    }
  }
}

TEST_CASE_TEMPLATE("linear: targets of the same inputs equal each alone, bit for bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 11, branches = 2, columns = 64;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  const packed_matrix first = pack("q4_1", uniform(50 * columns, 2), 50, columns);
  const packed_matrix second = pack("f16", uniform(7 * columns, 3), 7, columns);
  const overlay added(some_entries(40, 50 * columns, 4), columns, branches, 5);
  const overlay none({}, columns, branches, 6);
  const std::vector<std::pair<const packed_matrix*, zoq::parts>> all = {
      {&first, added.part()}, {&second, {}}, {&second, none.part()}, {&first, {}}};
  for (const bool pairs : {false, true}) {
    std::vector<std::vector<float>> together;
    zoq::linear_targets targets;
    for (const auto& [w, part] : all) {
      together.emplace_back(at(branches * rows * w->view.rows()), -1.0f);
      targets.add({w->view, part, matrix(together.back(), branches * rows, w->view.rows())});
    }
    zoq::linear(exec, matrix(x, branches * rows, columns), {branches, pairs}, targets);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto& [w, part] = all[i];
      std::vector<float> alone(together[i].size());
      zoq::linear(exec, matrix(x, branches * rows, columns), w->view, part, {branches, pairs},
                  matrix(alone, branches * rows, w->view.rows()));
      CHECK(same_bits(together[i], alone));
    }
    CHECK(largest_difference(together[0], together[3]) > 0);
    CHECK(same_bits(together[1], together[2]));
  }
  CHECK(message_of([&] {
          zoq::linear_targets many;
          for (int i = 0; i < 5; ++i) {
            many.add({});
          }
        }) == "linear: more than 4 layers of the same inputs");
}

TEST_CASE("linear: the overlay of a kernel is that of overlay_rows") {
  // Whole numbers, so that every order of sums is exact. Branches of few rows and of many.
  constexpr index_t outputs = 70, columns = 64;
  const packed_matrix w = pack("f32", whole_numbers(outputs * columns, 1, 3), outputs, columns);
  for (const index_t rows : {1, 5, 16, 33, 90}) {
    for (const index_t branches : {1, 2, 3, 6}) {
      const std::vector<float> x = whole_numbers(branches * rows * columns, 2, 9);
      for (const index_t entries : {1, 30, 900}) {
        overlay added(some_entries(entries, outputs * columns, 3), columns, branches, 4);
        added.values = whole_numbers(branches * added.stride(), 5, 9);
        std::vector<float> wanted(at(branches * rows * outputs));
        zoq::linear(zoq::serial{}, matrix(x, branches * rows, columns), w.view, added.part(),
                    {branches}, matrix(wanted, branches * rows, outputs));
        for (const auto set : {zoq::instruction_set::portable, zoq::instruction_set::avx2,
                               zoq::instruction_set::avx512}) {
          if (zoq::supports(set)) {
            const zoq::cpu exec{{.threads = 2, .kernels = set}};
            std::vector<float> y(wanted.size());
            zoq::linear(exec, matrix(x, branches * rows, columns), w.view, added.part(), {branches},
                        matrix(y, branches * rows, outputs));
            CHECK(same_bits(y, wanted));
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("linear: in float, pairs change no bit", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 9, branches = 4, outputs = 50, columns = 64;
  const std::vector<float> x = uniform(branches * rows * columns, 14);
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 15), outputs, columns);
  const overlay added(some_entries(64, outputs * columns, 16), columns, branches, 17);
  std::vector<float> plain(at(branches * rows * outputs)), paired = plain;
  for (const bool pairs : {false, true}) {
    zoq::linear(exec, matrix(x, branches * rows, columns), w.view, added.part(), {branches, pairs},
                matrix(pairs ? paired : plain, branches * rows, outputs));
  }
  CHECK(same_bits(paired, plain));
}

TEST_CASE("linear: wrong shapes are refused, with names and numbers") {
  const zoq::serial exec;
  const packed_matrix w = pack("f32", uniform(12, 0), 3, 4);
  std::vector<float> x(15), y(9);
  CHECK(message_of([&] {
          zoq::linear(exec, matrix(x, 3, 5), w.view, {}, {}, matrix(y, 3, 3),
                      "blk.3.ffn_down.weight");
        }) == "linear: x has 5 columns, blk.3.ffn_down.weight needs 4");
  CHECK(message_of([&] {
          zoq::linear(exec, matrix(x, 3, 4), w.view, {}, {}, matrix(y, 2, 3), "w");
        }) == "linear: y is 2 x 3, w makes 3 x 3");
  const overlay added({1}, 4, 2, 0);
  CHECK(message_of([&] {
          zoq::linear(exec, matrix(x, 3, 4), w.view, added.part(), {3}, matrix(y, 3, 3), "w");
        }) == "linear: w has values for 2 branches, x has rows for 3");
  CHECK(message_of([&] {
          zoq::linear(exec, matrix(x, 3, 4), w.view, added.part(), {2}, matrix(y, 3, 3), "w");
        }) == "linear: x has 3 rows for 2 branches");
  CHECK(message_of([&] {
          zoq::linear(exec, matrix(x, 3, 4), w.view, {}, {0}, matrix(y, 3, 3), "w");
        }) == "linear: x has 3 rows for 0 branches");
  CHECK(message_of([&] {
          zoq::linear(exec, matrix(x, 3, 4), w.view, {}, {3, true}, matrix(y, 3, 3), "w");
        }) == "linear: x has 3 rows for 3 branches");
}

TEST_CASE_TEMPLATE("linear: the overlay's bits do not depend on how many rows stand together", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t branches = 2, outputs = 24, columns = 32;
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 4), outputs, columns);
  overlay added(some_entries(200, outputs * columns, 5), columns, branches, 6);
  // Less than a block of rows, one and more, with and without some left over, in each branch.
  for (const index_t rows : {1, 7, 8, 9, 16, 21}) {
    CAPTURE(rows);
    const std::vector<float> x = uniform(branches * rows * columns, 3);
    std::vector<float> y(at(branches * rows * outputs));
    zoq::linear(exec, matrix(x, branches * rows, columns), w.view, added.part(), {branches},
                matrix(y, branches * rows, outputs));
    for (index_t r = 0; r < rows; ++r) {  // row r of both branches, alone
      std::vector<float> two(at(branches * columns)), alone(at(branches * outputs));
      for (index_t b = 0; b < branches; ++b) {
        std::copy_n(x.data() + (b * rows + r) * columns, columns, two.data() + b * columns);
      }
      zoq::linear(exec, matrix(two, branches, columns), w.view, added.part(), {branches},
                  matrix(alone, branches, outputs));
      for (index_t b = 0; b < branches; ++b) {
        CHECK(std::equal(alone.data() + b * outputs, alone.data() + (b + 1) * outputs,
                         y.data() + (b * rows + r) * outputs));
      }
    }
  }
}
