// A view's values on top of a product, in float under every policy.
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "exec/executors.hpp"
#include "exec/rounding_bounds.hpp"
#include "exec/stacked_case.hpp"
#include "exec/whole_case.hpp"

using namespace zoq::test;
using zoq::branch_stack;
using zoq::cpu;
using zoq::index_t;

namespace {

constexpr index_t outputs = 70, columns = 96;  // 70: whole panels of every width, and a narrow one

/// Stacks of 1 to 6 branches, of pairs where they are even.
template <class F>
void for_each_stack(F&& f) {
  // Less and more than a vector of rows, whole ones, and enough to be split and run several times.
  constexpr index_t rows[] = {5, 16, 37, 3, 48, 53, 1, 17, 101};
  std::size_t i = 0;
  for (index_t branches = 1; branches <= 6; ++branches) {
    for (const bool pairs : {false, true}) {
      if (!pairs || branches % 2 == 0) {
        const index_t per_branch = rows[i++];
        CAPTURE(branches);
        CAPTURE(pairs);
        CAPTURE(per_branch);
        f(branch_stack{branches, pairs}, per_branch);
      }
    }
  }
}

/// Where entries may be: few, many in a vector of outputs, only in the last ones, everywhere.
std::vector<std::vector<index_t>> patterns() {
  std::vector<index_t> mixed = every_entry(0, 3, columns, 7);
  for (const index_t i : every_entry(66, outputs, columns, 31)) {
    mixed.push_back(i);
  }
  return {{0},
          {outputs * columns - 1},
          every_entry(0, outputs, columns, 83),
          every_entry(16, 24, columns, 3),
          every_entry(64, outputs, columns, 5),
          mixed,
          every_entry(0, outputs, columns, 1)};
}

/// sum of value * x over the entries, in double, and of magnitudes; [R, outputs].
std::vector<double> overlay_of(const entries& added, const std::vector<float>& x,
                               index_t per_branch, std::vector<double>& sizes) {
  const auto rows = static_cast<index_t>(x.size()) / columns;
  std::vector<double> out(static_cast<std::size_t>(rows * outputs));
  sizes = out;
  const zoq::sparse_part part = added.part();
  for (index_t r = 0; r < rows; ++r) {
    for (index_t j = 0; j < part.row.shape[0]; ++j) {
      const double term =
          static_cast<double>(part.values(r / per_branch, part.first + j)) *
          static_cast<double>(x[static_cast<std::size_t>(r * columns + part.column(j))]);
      const auto place = static_cast<std::size_t>(r * outputs + part.row(j));
      out[place] += term;
      sizes[place] += std::fabs(term);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("overlay: whole numbers are added exactly") {
  const auto w = whole_weights<zoq::q8_0>(outputs, columns, 1);
  for_each_stack([&](const branch_stack& stack, index_t per_branch) {
    const index_t rows = stack.count * per_branch;
    const auto x = stack.pairs ? whole_pairs(stack.count, per_branch, columns, 2)
                               : whole_rows(rows, columns, 2);
    const auto base = whole_product(x, w.decoded(), rows, outputs, columns);
    for (const auto& flat : patterns()) {
      const entries added(flat, columns, stack.count, 3, 9);
      std::vector<double> sizes;
      const auto extra = overlay_of(added, x, per_branch, sizes);
      std::vector<float> wanted = base;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        wanted[i] += static_cast<float>(extra[i]);
      }
      const zoq::sparse_part part = added.part();
      for_each_policy([&](const zoq::cpu_options& options) {
        const cpu exec{with_threads(options, 3)};
        CHECK(stacked_product(exec, stack, x, w.any(), &part) == wanted);
      });
    }
  });
}

TEST_CASE("overlay: is a float sum on top of the product, whatever the policy") {
  const packed_matrix<zoq::q4_1> w(outputs, columns, 1);
  for_each_stack([&](const branch_stack& stack, index_t per_branch) {
    const auto x = stack.count % 2 == 0 ? near_pairs(stack.count, per_branch, columns, 1e-2, 2)
                                        : uniform(stack.count * per_branch * columns, 2);
    for (const auto& flat : patterns()) {
      const entries added(flat, columns, stack.count, 3);
      const zoq::sparse_part part = added.part();
      std::vector<double> sizes;
      const auto extra = overlay_of(added, x, per_branch, sizes);
      for_each_policy([&](const zoq::cpu_options& options) {
        const cpu one{options};
        const auto base = stacked_product(one, stack, x, w.any());
        const auto y = stacked_product(one, stack, x, w.any(), &part);
        // A float sum of at most C products, and one rounding of the total.
        std::vector<double> wanted, allowed;
        for (std::size_t i = 0; i < extra.size(); ++i) {
          wanted.push_back(static_cast<double>(base[i]) + extra[i]);
          allowed.push_back(0x1p-24 * static_cast<double>(columns + 1) * sizes[i] +
                            0x1.01p-24 * std::fabs(wanted[i]));
        }
        CHECK(errs_within(y, wanted, allowed));
        // Where there is no entry, no bit changes.
        index_t changed = 0;
        for (std::size_t i = 0; i < y.size(); ++i) {
          changed += sizes[i] == 0 && !same_bits(&y[i], &base[i], 1);
        }
        CHECK(changed == 0);
        CHECK(
            same_bits(stacked_product(cpu{with_threads(options, 5)}, stack, x, w.any(), &part), y));
      });
    }
  });
}

TEST_CASE("overlay: no entries, no change of a bit") {
  const packed_matrix<zoq::q4_0> w(outputs, columns, 1);
  const entries none({}, columns, 4, 1);
  entries zeros(every_entry(0, outputs, columns, 11), columns, 4, 1);
  std::fill(zeros.values.begin(), zeros.values.end(), 0.0f);
  const zoq::sparse_part no_part = none.part(), zero_part = zeros.part();
  const auto x = near_pairs(4, 21, columns, 1e-2, 2);
  for_each_policy([&](const zoq::cpu_options& options) {
    const cpu exec{options};
    for (const bool pairs : {false, true}) {
      const auto base = stacked_product(exec, {4, pairs}, x, w.any());
      CHECK(same_bits(stacked_product(exec, {4, pairs}, x, w.any(), &no_part), base));
      CHECK(same_bits(stacked_product(exec, {4, pairs}, x, w.any(), &zero_part), base));
    }
  });
}

TEST_CASE("overlay: a branch, or a pair, has the same bits whatever is stacked beside it") {
  constexpr index_t branches = 6;
  const packed_matrix<zoq::q4_1> w(outputs, columns, 1);
  const entries added(every_entry(0, outputs, columns, 13), columns, branches, 3);
  const zoq::sparse_part part = added.part();
  for (const index_t per_branch : {1, 16, 37}) {
    const auto x = near_pairs(branches, per_branch, columns, 1e-2, 2);
    for_each_policy([&](const zoq::cpu_options& options) {
      const cpu exec{options};
      for (const bool pairs : {false, true}) {
        const index_t count = pairs ? 2 : 1;
        const auto all = stacked_product(exec, {branches, pairs}, x, w.any(), &part);
        for (index_t first = 0; first < branches; first += count) {
          const zoq::sparse_part mine = added.of(first, count);
          CHECK(same_bits(branches_of(all, branches, first, count),
                          stacked_product(exec, {count, pairs},
                                          branches_of(x, branches, first, count), w.any(), &mine)));
        }
      }
    });
  }
}

TEST_CASE("overlay: at any density, against a matrix with the values put in") {
  constexpr index_t branches = 2, per_branch = 9;
  const packed_matrix<zoq::q4_1> w(outputs, columns, 1);
  const auto x = near_pairs(branches, per_branch, columns, 1e-2, 2);
  const std::vector<float> decoded = w.decoded();
  for (const index_t step : {1, 10, 1000}) {
    const entries added(every_entry(0, outputs, columns, step), columns, branches, 3);
    const zoq::sparse_part part = added.part();
    std::vector<double> sizes;
    overlay_of(added, x, per_branch, sizes);
    std::vector<double> exact;
    for (index_t b = 0; b < branches; ++b) {
      std::vector<double> whole(decoded.begin(), decoded.end());
      for (index_t j = 0; j < part.row.shape[0]; ++j) {
        whole[static_cast<std::size_t>(part.row(j) * columns + part.column(j))] +=
            static_cast<double>(part.values(b, part.first + j));
      }
      for (index_t r = b * per_branch; r < (b + 1) * per_branch; ++r) {
        for (index_t o = 0; o < outputs; ++o) {
          double sum = 0;
          for (index_t c = 0; c < columns; ++c) {
            sum += static_cast<double>(x[static_cast<std::size_t>(r * columns + c)]) *
                   whole[static_cast<std::size_t>(o * columns + c)];
          }
          exact.push_back(sum);
        }
      }
    }
    for_each_policy([&](const zoq::cpu_options& options) {
      auto allowed = rounding_bounds(options.products, w, x, branches * per_branch);
      for (std::size_t i = 0; i < allowed.size(); ++i) {
        allowed[i] += 0x1p-24 * static_cast<double>(columns + 2) * sizes[i] +
                      0x1.01p-24 * (std::fabs(exact[i]) + allowed[i]);
      }
      CHECK(errs_within(stacked_product(cpu{options}, {branches}, x, w.any(), &part), exact,
                        allowed));
    });
  }
}

TEST_CASE("overlay: inputs that are not finite stay in their row") {
  constexpr index_t per_branch = 20;
  const packed_matrix<zoq::q4_1> w(outputs, columns, 1);
  auto x = uniform(2 * per_branch * columns, 2);
  x[static_cast<std::size_t>(7 * columns + 5)] = std::numeric_limits<float>::quiet_NaN();
  const entries added(every_entry(0, outputs, columns, 5), columns, 2, 3);
  const zoq::sparse_part part = added.part();
  for_each_policy([&](const zoq::cpu_options& options) {
    const auto y = stacked_product(cpu{options}, {2}, x, w.any(), &part);
    REQUIRE(y.size() == 2 * per_branch * outputs);
    index_t wrong = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      wrong += std::isfinite(y[i]) == (i / outputs == 7);
    }
    CHECK(wrong == 0);
  });
}
