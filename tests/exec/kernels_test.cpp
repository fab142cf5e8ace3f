// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/kernels.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "exec/emulated_tiles.hpp"
#include "exec/whole_case.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"
#include "zoq/exec/instruction_set.hpp"

using zoq::index_t;
using zoq::instruction_set;
using zoq::detail::output_rows;
using zoq::detail::slot_range;

namespace {

#if defined(__x86_64__)
using tile_products = zoq::detail::avx512::amx_products<zoq::test::emulated_tiles>;
#else
using tile_products = zoq::detail::avx512::bf16_products;
#endif

}  // namespace

// Products name their instruction set by their namespace, and its functions are found by it.
#define ZOQ_TEST_FLOAT_PRODUCTS                                         \
  zoq::detail::portable::f32_products, zoq::detail::avx2::f32_products, \
      zoq::detail::avx512::f32_products
#define ZOQ_TEST_PRODUCTS                                                                          \
  ZOQ_TEST_FLOAT_PRODUCTS, zoq::detail::portable::bf16_products, zoq::detail::avx2::bf16_products, \
      zoq::detail::avx512::bf16_products, zoq::detail::portable::i8_products,                      \
      zoq::detail::avx2::i8_products, zoq::detail::avx512::i8_products, tile_products

namespace {

template <class P, class... Of>
constexpr bool one_of = (std::is_same_v<P, Of> || ...);

template <class P>
bool has_machine() {
  namespace portable = zoq::detail::portable;
  namespace avx2 = zoq::detail::avx2;
  const instruction_set set =
      one_of<P, portable::f32_products, portable::bf16_products, portable::i8_products>
          ? instruction_set::portable
      : one_of<P, avx2::f32_products, avx2::bf16_products, avx2::i8_products>
          ? instruction_set::avx2
          : instruction_set::avx512;
  if (!zoq::supports(set)) {
    MESSAGE("this machine has no ", zoq::name_of(set));
    return false;
  }
  return true;
}

/// True when P rounds its inputs: the others know no pairs.
template <class P>
constexpr bool rounds_inputs = requires(const float* x, typename P::input* to) {
  P::round(x, index_t{}, to);
};

/// Columns that a panel holds.
template <class P>
constexpr index_t panel_columns = zoq::detail::panel_floats / (P::words * P::width) * P::columns;

/// Rows as P takes them; of pairs, by slots, the second of two as its difference.
template <class P>
struct inputs {
  index_t stride;
  std::vector<typename P::input> a;

  inputs(const std::vector<float>& x, index_t rows, index_t columns, const output_rows& order)
      : stride((columns + P::columns - 1) / P::columns + 1),
        a(static_cast<std::size_t>(rows * stride)) {
    for (index_t s = 0; s < rows; ++s) {
      const float* from = x.data() + order.row(s) * columns;
      auto* to = a.data() + s * stride;
      if constexpr (rounds_inputs<P>) {
        const bool second = order.pairs && s % 2 == 1;
        round_row(P{}, from, second ? x.data() + order.row(s - 1) * columns : nullptr, columns, to);
      } else {
        std::copy_n(from, columns, to);
      }
    }
  }
};

constexpr float untouched = -12345;

/// y of all panels for `slots` of the rows, every run of slots seen once and finished: columns
/// [0, outputs) of [rows, outputs + 2], everything else untouched.
template <class P, class Source>
std::vector<float> multiplied(const Source& source, const inputs<P>& in, index_t rows,
                              const slot_range& slots, output_rows order) {
  const index_t outputs = source.outputs();
  std::vector<float> y(static_cast<std::size_t>(rows * (outputs + 2)), untouched);
  order.data = y.data();
  order.columns = outputs + 2;
  for (index_t first = 0; first < outputs; first += P::width) {
    index_t next = slots.first;
    multiply_panel(P{}, source, first, in.a.data(), in.stride, slots, order,
                   [&](const slot_range& run, index_t width) {
                     CHECK(run.first == next);
                     CHECK(width == std::min<index_t>(P::width, outputs - first));
                     next += run.count;
                     for (index_t s = run.first; s < next; ++s) {  // taken for finished
                       order.slot(s)[first] += 1;
                     }
                   });
    CHECK(next == slots.first + slots.count);
    for (index_t s = slots.first; s < next; ++s) {
      order.slot(s)[first] -= 1;
    }
  }
  return y;
}

/// `y` is `wanted` in the slots and untouched beside them.
bool equals(const std::vector<float>& y, const std::vector<float>& wanted, index_t outputs,
            index_t rows, const slot_range& slots, const output_rows& order) {
  std::vector<bool> inside(static_cast<std::size_t>(rows));
  for (index_t s = slots.first; s < slots.first + slots.count; ++s) {
    inside[static_cast<std::size_t>(order.row(s))] = true;
  }
  for (index_t r = 0; r < rows; ++r) {
    for (index_t o = 0; o < outputs + 2; ++o) {
      const bool written = o < outputs && inside[static_cast<std::size_t>(r)];
      if (y[static_cast<std::size_t>(r * (outputs + 2) + o)] !=
          (written ? wanted[static_cast<std::size_t>(r * outputs + o)] : untouched)) {
        return false;
      }
    }
  }
  return true;
}

template <class P, zoq::quant_scheme S>
void multiplies_exactly(index_t rows, index_t outputs, index_t columns, bool pairs) {
  if (pairs && !rounds_inputs<P>) {
    return;
  }
  CAPTURE(S::name);
  CAPTURE(rows);
  CAPTURE(outputs);
  CAPTURE(columns);
  CAPTURE(pairs);
  const auto w = zoq::test::whole_weights<S>(outputs, columns, 1);
  const zoq::detail::row_panels<S> source{w.view()};
  const index_t branches = pairs ? 2 : 1;
  const std::vector<float> x = pairs ? zoq::test::whole_pairs(branches, rows / 2, columns, 2)
                                     : zoq::test::whole_rows(rows, columns, 2);
  const auto wanted = zoq::test::whole_product(x, w.decoded(), rows, outputs, columns);
  const output_rows order{nullptr, 0, rows / branches, pairs};
  const inputs<P> in(x, rows, columns, order);
  for (const slot_range& slots : {slot_range{0, rows}, slot_range{rows / 4 * 2, rows / 2}}) {
    if (!pairs || slots.count % 2 == 0) {
      CHECK(equals(multiplied<P>(source, in, rows, slots, order), wanted, outputs, rows, slots,
                   order));
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("kernels: a panel of any width times any number of rows, and nothing beside it",
                   P, ZOQ_TEST_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  // An odd depth, less than a block, and several blocks.
  for (const index_t outputs : {index_t{1}, P::width - 1, P::width, 2 * P::width + 1}) {
    for (const index_t rows : {1, 2, P::rows - 1, P::rows, P::rows + 1, 2 * P::rows + 1}) {
      multiplies_exactly<P, zoq::f32_format>(rows, outputs, 13, false);
      multiplies_exactly<P, zoq::q8_0>(rows, outputs, 96, false);
    }
    for (const index_t rows : {2, 4, P::rows, P::rows + 2, 3 * P::rows + 4}) {
      multiplies_exactly<P, zoq::f32_format>(rows, outputs, 13, true);
      multiplies_exactly<P, zoq::q4_1>(rows, outputs, 96, true);
    }
  }
  // Several runs of slots.
  multiplies_exactly<P, zoq::q4_0>(401, P::width + 3, 64, false);
  multiplies_exactly<P, zoq::q4_0>(404, P::width + 3, 64, true);
}

TEST_CASE_TEMPLATE("kernels: a depth of several panels", P, ZOQ_TEST_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  constexpr index_t most = panel_columns<P>;
  for (const bool pairs : {false, true}) {
    for (const index_t columns : {most - 1, most, most + 1, 2 * most + 37}) {
      multiplies_exactly<P, zoq::f32_format>(P::rows + 2, P::width + 1, columns, pairs);
    }
    for (const index_t columns : {most + 32, 2 * most + 96}) {
      multiplies_exactly<P, zoq::q8_0>(P::rows + 2, P::width + 1, columns, pairs);
    }
  }
}

TEST_CASE_TEMPLATE("kernels: panels of a float matrix", P, ZOQ_TEST_FLOAT_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  for (const index_t depth : {index_t{1}, 2 * panel_columns<P> + 100}) {
    for (const index_t outputs : {index_t{1}, P::width, 2 * P::width + 1}) {
      const std::vector<float> w = zoq::test::whole_numbers(depth * outputs, 1, 3);
      std::vector<float> rows_of_w(w.size());  // [outputs, depth]
      for (index_t k = 0; k < depth; ++k) {
        for (index_t o = 0; o < outputs; ++o) {
          rows_of_w[static_cast<std::size_t>(o * depth + k)] =
              w[static_cast<std::size_t>(k * outputs + o)];
        }
      }
      constexpr index_t rows = 2 * P::rows + 1;
      const std::vector<float> a = zoq::test::whole_numbers(rows * depth, 2, 3);
      const output_rows order{nullptr, 0, rows, false};
      const zoq::detail::dense_panels source{{w.data(), {depth, outputs}}};
      const slot_range all{0, rows};
      CHECK(equals(multiplied<P>(source, inputs<P>(a, rows, depth, order), rows, all, order),
                   zoq::test::whole_product(a, rows_of_w, rows, outputs, depth), outputs, rows, all,
                   order));
    }
  }
}

TEST_CASE_TEMPLATE("kernels: a panel of packed rows holds the bits that decode gives", P,
                   ZOQ_TEST_FLOAT_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  zoq::formats::for_each([]<class S>(S) {
    // Less than a panel, and more; from the beginning of the row and from its middle; wild scales,
    // subnormal, infinite and NaN, with the columns of one block or of two and a bit.
    constexpr index_t outputs = P::width + 5, columns = 3 * 32 + (S::block_size == 1 ? 7 : 0);
    zoq::test::packed_matrix<S> w(outputs, columns, 1);
    w.blocks = zoq::test::wild_blocks<S>(outputs * (columns / S::block_size), 2);
    const std::vector<float> decoded = w.decoded();
    const zoq::detail::row_panels<S> source{w.view()};
    for (const index_t begin : {0, 32}) {
      for (const index_t first : {index_t{0}, P::width}) {
        const index_t depth = columns - begin;
        std::vector<float> panel(static_cast<std::size_t>(depth * P::width));
        fill_panel(P{}, source, first, begin, depth, panel.data());
        index_t wrong = 0;
        for (index_t k = 0; k < depth; ++k) {
          for (index_t j = 0; j < P::width && first + j < outputs; ++j) {
            const float found = panel[static_cast<std::size_t>(k * P::width + j)];
            const float wanted =
                decoded[static_cast<std::size_t>((first + j) * columns + begin + k)];
            wrong += !(zoq::test::same_bits(&found, &wanted, 1) ||
                       (std::isnan(found) && std::isnan(wanted)));
          }
        }
        CAPTURE(S::name);
        CHECK(wrong == 0);
      }
    }
  });
}

TEST_CASE_TEMPLATE("kernels: nothing that lay in a panel before is multiplied", P,
                   ZOQ_TEST_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  // A deep panel whose bytes are NaN in every word, then one that fills its first steps only, and
  // of the last one half: the panels of two calls lie in the same place on the stack.
  constexpr index_t deep = panel_columns<P>, columns = 96;
  zoq::test::packed_matrix<zoq::q8_0> nans(P::width, deep, 1);
  for (auto& block : nans.blocks) {
    std::fill(block.q, block.q + 32, std::int8_t{0x7f});  // 0xff, moved by 128
    block.d = {0x7e00};
  }
  const auto w = zoq::test::whole_weights<zoq::q8_0>(P::width, columns, 2);
  const std::vector<float> x = zoq::test::whole_rows(P::rows, columns, 3);
  const std::vector<float> x_deep = zoq::test::whole_rows(P::rows, deep, 4);
  const output_rows order{nullptr, 0, P::rows, false};
  const inputs<P> in(x, P::rows, columns, order), in_deep(x_deep, P::rows, deep, order);
  const auto multiply = [](const auto& matrix, const inputs<P>& from) {
    std::vector<float> y(static_cast<std::size_t>(P::rows * P::width));
    multiply_panel(P{}, zoq::detail::row_panels<zoq::q8_0>{matrix.view()}, 0, from.a.data(),
                   from.stride, slot_range{0, P::rows},
                   output_rows{y.data(), P::width, P::rows, false}, zoq::detail::nothing_after{});
    return y;
  };
  const std::vector<float> before = multiply(nans, in_deep), y = multiply(w, in);
  CHECK(std::isnan(before[0]));
  CHECK(y == zoq::test::whole_product(x, w.decoded(), P::rows, P::width, columns));
}

TEST_CASE_TEMPLATE("kernels: rows are turned, what is not there is 0", P, ZOQ_TEST_FLOAT_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  constexpr index_t lanes = P::lanes, stride = lanes + 5;
  for (const index_t columns : {index_t{1}, lanes - 1, lanes, 3 * lanes + 2}) {
    for (const index_t rows : {index_t{0}, index_t{1}, lanes - 1, lanes}) {
      const std::vector<float> x = zoq::test::uniform(std::max<index_t>(1, rows * columns), 1);
      std::vector<float> out(static_cast<std::size_t>(columns * stride), untouched);
      turn_rows(P{}, x.data(), rows, columns, out.data(), stride);
      index_t wrong = 0;
      for (index_t c = 0; c < columns; ++c) {
        for (index_t r = 0; r < stride; ++r) {
          const float wanted = r < rows    ? x[static_cast<std::size_t>(r * columns + c)]
                               : r < lanes ? 0.0f
                                           : untouched;
          wrong += out[static_cast<std::size_t>(c * stride + r)] != wanted;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE_TEMPLATE("kernels: a part on top of any outputs of any slots, and of nothing beside them",
                   P, ZOQ_TEST_FLOAT_PRODUCTS) {
  if (!has_machine<P>()) {
    return;
  }
  // Whole numbers, so that sums are exact. Entries in runs and alone, in the first output and the
  // last, none in the outputs that stand between; 37 rows are no multiple of a vector.
  constexpr index_t branches = 4, per_branch = 37, columns = 20, k = 9;
  constexpr index_t outputs = 3 * P::lanes + 5, rows = branches * per_branch;
  const std::vector<std::int32_t> column = {0, 19, 4, 4, 5, 11, 0, 18, 19};
  const auto last = static_cast<std::int32_t>(outputs - 1);
  const auto lanes = static_cast<std::int32_t>(P::lanes);
  const std::vector<std::int32_t> output = {0,         0,        lanes - 1, 2 * lanes, 2 * lanes,
                                            2 * lanes, last - 1, last,      last};
  const std::vector<float> values = zoq::test::whole_numbers(branches * (k + 4), 1, 9);
  const zoq::sparse_part part{
      {output.data(), {k}}, {column.data(), {k}}, {values.data(), {branches, k + 4}}, 3};
  const std::vector<float> x = zoq::test::whole_numbers(rows * columns, 2, 9);
  constexpr index_t turned_branch = 48, stride = branches * turned_branch + 16;
  std::vector<float> turned(static_cast<std::size_t>(columns * stride));
  for (index_t r = 0; r < rows; ++r) {
    for (index_t c = 0; c < columns; ++c) {
      turned[static_cast<std::size_t>(c * stride + r / per_branch * turned_branch +
                                      r % per_branch)] =
          x[static_cast<std::size_t>(r * columns + c)];
    }
  }
  const std::vector<float> before = zoq::test::whole_numbers(rows * outputs, 3, 1000);
  for (const bool pairs : {false, true}) {
    for (const slot_range& slots : {slot_range{0, rows}, slot_range{6, 2}, slot_range{32, 64},
                                    slot_range{72, 40}, slot_range{0, 0}}) {
      for (index_t first = 0; first < outputs; first += 2 * P::lanes) {
        const index_t width = std::min(2 * P::lanes, outputs - first);
        std::vector<float> y = before, wanted = before;
        const output_rows order{y.data(), outputs, per_branch, pairs};
        add_part(P{}, first, width, slots, {turned.data(), stride, turned_branch}, part, order);
        for (index_t s = slots.first; s < slots.first + slots.count; ++s) {
          const index_t r = order.row(s);
          for (index_t j = 0; j < k; ++j) {
            const index_t o = output[static_cast<std::size_t>(j)];
            if (o >= first && o < first + width) {
              wanted[static_cast<std::size_t>(r * outputs + o)] +=
                  part.values(r / per_branch, part.first + j) *
                  x[static_cast<std::size_t>(r * columns + column[static_cast<std::size_t>(j)])];
            }
          }
        }
        CHECK(y == wanted);
      }
    }
  }
}

TEST_CASE("kernels: a range runs every index once") {
  const auto runs = [](instruction_set set, auto run_range) {
    if (zoq::supports(set)) {
      std::vector<int> times(50);
      run_range([&](index_t i) { ++times[static_cast<std::size_t>(i)]; }, 7, 41);
      for (index_t i = 0; i < 50; ++i) {
        CHECK(times[static_cast<std::size_t>(i)] == (i >= 7 && i < 41 ? 1 : 0));
      }
    }
  };
  runs(instruction_set::portable, [](const auto& f, index_t begin, index_t end) {
    zoq::detail::portable::run_range(f, begin, end);
  });
  runs(instruction_set::avx2, [](const auto& f, index_t begin, index_t end) {
    zoq::detail::avx2::run_range(f, begin, end);
  });
  runs(instruction_set::avx512, [](const auto& f, index_t begin, index_t end) {
    zoq::detail::avx512::run_range(f, begin, end);
  });
}
