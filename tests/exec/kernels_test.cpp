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
#include "zoq/exec/run_range.hpp"

using zoq::index_t;
using zoq::instruction_set;
using zoq::detail::any_row_panels;
using zoq::detail::output_rows;
using zoq::detail::slot_range;
using zoq::detail::turned_rows;

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
// One of every width of a panel, and of every number of lanes.
#define ZOQ_TEST_WIDTHS ZOQ_TEST_FLOAT_PRODUCTS, zoq::detail::avx512::i8_products, tile_products

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

/// What panels gave, and what was added to them on the way.
struct product {
  std::vector<float> y;    // [rows, outputs + 2]
  std::vector<float> top;  // [rows, outputs]
  index_t runs = 0;        // of slots, in a panel
};

/// All panels for `slots` of the rows: columns [0, outputs) of y, everything else untouched. With
/// `add`, whole numbers are on top of every run of slots but some, and each run is asked for once.
template <class P, class Source>
product multiplied(const Source& source, const inputs<P>& in, index_t rows, const slot_range& slots,
                   output_rows order, bool add) {
  const index_t outputs = source.outputs();
  product out{std::vector<float>(static_cast<std::size_t>(rows * (outputs + 2)), untouched),
              std::vector<float>(static_cast<std::size_t>(rows * outputs))};
  const std::vector<float> values = zoq::test::whole_numbers(rows * outputs, 9, 999);
  order.data = out.y.data();
  order.columns = outputs + 2;
  for (index_t first = 0; first < outputs; first += P::width) {
    if (!add) {
      multiply_panel(P{}, source, first, in.a.data(), in.stride, slots, order,
                     zoq::detail::nothing_added{});
      continue;
    }
    index_t next = slots.first;
    out.runs = 0;
    const auto added = [&](const slot_range& run, float* to) -> const float* {
      CHECK(run.first == next);
      CHECK(run.count > 0);
      CHECK((!order.pairs || run.count % 2 == 0));
      next += run.count;
      // Nothing on every third: the second run of a second panel, the first of a third.
      if ((first / P::width + out.runs++) % 3 == 2) {
        return nullptr;
      }
      for (index_t s = run.first; s < next; ++s) {
        for (index_t o = first; o < first + P::width; ++o, ++to) {
          const index_t at = order.row(s) * outputs + o;
          *to = o < outputs ? values[static_cast<std::size_t>(at)] : std::nanf("");
          if (o < outputs) {
            out.top[static_cast<std::size_t>(at)] = *to;
          }
        }
      }
      return to - run.count * P::width;
    };
    multiply_panel(P{}, source, first, in.a.data(), in.stride, slots, order, added);
    CHECK(next == slots.first + slots.count);
  }
  return out;
}

/// y is `wanted` and what is on top in the slots, and untouched beside them.
bool equals(const product& found, const std::vector<float>& wanted, index_t outputs, index_t rows,
            const slot_range& slots, const output_rows& order) {
  std::vector<bool> inside(static_cast<std::size_t>(rows));
  for (index_t s = slots.first; s < slots.first + slots.count; ++s) {
    inside[static_cast<std::size_t>(order.row(s))] = true;
  }
  for (index_t r = 0; r < rows; ++r) {
    for (index_t o = 0; o < outputs + 2; ++o) {
      const bool written = o < outputs && inside[static_cast<std::size_t>(r)];
      const auto at = static_cast<std::size_t>(r * outputs + o);
      if (found.y[static_cast<std::size_t>(r * (outputs + 2) + o)] !=
          (written ? wanted[at] + found.top[at] : untouched)) {
        return false;
      }
    }
  }
  return true;
}

/// Every panel of a product, of all its slots and of half of them, each with at least `runs` runs.
template <class P, zoq::quant_scheme S>
void multiplies_exactly(index_t rows, index_t outputs, index_t columns, bool pairs,
                        index_t runs = 1) {
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
      const product plain = multiplied<P>(source, in, rows, slots, order, false);
      CHECK(equals(plain, wanted, outputs, rows, slots, order));
      const product topped = multiplied<P>(source, in, rows, slots, order, true);
      CHECK(equals(topped, wanted, outputs, rows, slots, order));
      CHECK(topped.runs >= (slots.count > 0 ? runs : 0));
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
  multiplies_exactly<P, zoq::q4_0>(801, P::width + 3, 64, false, 2);
  multiplies_exactly<P, zoq::q4_0>(804, P::width + 3, 64, true, 2);
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
    // And several runs of slots in each.
    multiplies_exactly<P, zoq::q8_0>(388, 3, most + 32, pairs);
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
      const inputs<P> in(a, rows, depth, order);
      const auto wanted = zoq::test::whole_product(a, rows_of_w, rows, outputs, depth);
      for (const bool add : {false, true}) {
        CHECK(equals(multiplied<P>(source, in, rows, all, order, add), wanted, outputs, rows, all,
                     order));
      }
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
    // Formats without kernels of their own begin where the stretches of their source do.
    constexpr index_t stretch = zoq::has_own_kernels<S> ? 32 : any_row_panels::granule();
    constexpr index_t tail = S::block_size == 1 ? 7 : stretch == 32 ? 0 : index_t{S::block_size};
    constexpr index_t outputs = P::width + 5, columns = (stretch == 32 ? 3 : 2) * stretch + tail;
    zoq::test::packed_matrix<S> w(outputs, columns, 1);
    w.blocks = zoq::test::wild_blocks<S>(outputs * (columns / S::block_size), 2);
    const std::vector<float> decoded = w.decoded();
    const zoq::any_packed any = w.any();
    const auto source = [&] {
      if constexpr (zoq::has_own_kernels<S>) {
        return zoq::detail::row_panels<S>{w.view()};
      } else {
        return any_row_panels(any);
      }
    }();
    for (const index_t begin : {index_t{0}, stretch}) {
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
                   output_rows{y.data(), P::width, P::rows, false}, zoq::detail::nothing_added{});
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
  constexpr index_t all = turned_rows::rows;
  for (const index_t columns : {index_t{1}, P::lanes - 1, P::lanes, 3 * P::lanes + 2}) {
    for (index_t rows = 0; rows <= all; ++rows) {
      const std::vector<float> x = zoq::test::uniform(rows * columns, 1);
      std::vector<float> wanted(static_cast<std::size_t>((columns + 1) * all), untouched);
      std::vector<float> out = wanted;
      for (index_t c = 0; c < columns; ++c) {
        for (index_t r = 0; r < all; ++r) {
          wanted[static_cast<std::size_t>(c * all + r)] =
              r < rows ? x[static_cast<std::size_t>(r * columns + c)] : 0.0f;
        }
      }
      turn_rows(P{}, x.data(), rows, columns, out.data());
      CAPTURE(columns);
      CAPTURE(rows);
      CHECK(out == wanted);
    }
  }
}

namespace {

// Inputs of several branches, as rows and turned: [branches, per_branch, columns].
struct turned_inputs {
  std::vector<float> x, data;
  turned_rows turned;

  turned_inputs(index_t branches, index_t per_branch, index_t columns)
      : x(zoq::test::whole_numbers(branches * per_branch * columns, 2, 9)) {
    constexpr index_t all = turned_rows::rows;
    turned = {nullptr, (per_branch + all - 1) / all, columns};
    data.resize(static_cast<std::size_t>(branches * turned.blocks * turned.block_size()));
    turned.data = data.data();
    for (index_t r = 0; r < branches * per_branch; ++r) {
      const index_t within = r % per_branch;
      for (index_t c = 0; c < columns; ++c) {
        turned.block(r / per_branch, within / all)[c * all + within % all] =
            x[static_cast<std::size_t>(r * columns + c)];
      }
    }
  }
};

// What a part adds to `width` outputs, by plain loops: [slots.count, width], and `beside` untouched
// floats behind.
std::vector<float> part_sums(const zoq::sparse_part& part, const std::vector<float>& x,
                             index_t columns, const slot_range& slots, const output_rows& order,
                             index_t first, index_t width, index_t beside) {
  std::vector<float> sums(static_cast<std::size_t>(slots.count * width));
  for (index_t s = 0; s < slots.count; ++s) {
    const index_t r = order.row(slots.first + s);
    for (index_t j = 0; j < part.row.shape[0]; ++j) {
      const index_t o = part.row.data[j] - first;
      if (o >= 0 && o < width) {
        sums[static_cast<std::size_t>(s * width + o)] +=
            part.values(r / order.per_branch, part.first + j) *
            x[static_cast<std::size_t>(r * columns + part.column.data[j])];
      }
    }
  }
  sums.resize(sums.size() + static_cast<std::size_t>(beside), untouched);
  return sums;
}

}  // namespace

TEST_CASE_TEMPLATE("kernels: what a part adds to any slots of any panel, and nothing beside it", P,
                   ZOQ_TEST_WIDTHS) {
  if (!has_machine<P>()) {
    return;
  }
  // Whole numbers, so that sums are exact. Entries in runs and alone, in the first output of a
  // panel and the last, none in vectors that stand between, none in a panel between and behind;
  // branches of a row, of one block, of two and a bit, and of four.
  constexpr index_t branches = 4, columns = 20, k = 10, beside = 16;
  const std::vector<std::int32_t> column = {0, 19, 4, 4, 5, 11, 0, 18, 0, 19};
  constexpr auto width = static_cast<std::int32_t>(P::width);
  constexpr auto lanes = static_cast<std::int32_t>(P::lanes);
  constexpr std::int32_t in_second = 3 * width + lanes + 1;  // vector of a panel
  const std::vector<std::int32_t> output = {0,         0,         lanes - 1, width - 1,
                                            width - 1, width - 1, 2 * width, 3 * width - 1,
                                            in_second, in_second};
  const std::vector<float> values = zoq::test::whole_numbers(branches * (k + 4), 1, 9);
  const zoq::sparse_part part{
      {output.data(), {k}}, {column.data(), {k}}, {values.data(), {branches, k + 4}}, 3};
  const zoq::sparse_part none{
      {nullptr, {0}}, {nullptr, {0}}, {values.data(), {branches, k + 4}}, 3};
  for (const index_t per_branch : {1, 16, 37, 64}) {
    const index_t rows = branches * per_branch;
    const turned_inputs in(branches, per_branch, columns);
    for (const bool pairs : {false, true}) {
      const output_rows order{nullptr, 0, per_branch, pairs};
      const index_t unit = pairs ? 2 : 1;
      index_t wrong = 0;
      for (index_t begin = 0; begin <= rows; begin += unit) {
        for (const index_t size : {index_t{0}, unit, 6 * unit, 16 * unit, 17 * unit, rows}) {
          const slot_range slots{begin, std::min(size, rows - begin)};
          for (index_t panel = 0; panel < 5; ++panel) {
            const index_t first = panel * P::width;
            const bool some = panel != 1 && panel != 4;
            std::vector<float> sums(static_cast<std::size_t>(slots.count * P::width + beside),
                                    untouched);
            const std::vector<float> before = sums;
            wrong += sum_part(P{}, none, first, in.turned, slots, order, sums.data()) != nullptr ||
                     sums != before;
            const float* found = sum_part(P{}, part, first, in.turned, slots, order, sums.data());
            wrong += found != (some ? sums.data() : nullptr);
            wrong += sums !=
                     (some ? part_sums(part, in.x, columns, slots, order, first, P::width, beside)
                           : before);
          }
        }
      }
      CAPTURE(per_branch);
      CAPTURE(pairs);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("run_range: every set of instructions runs every index once") {
  for (const instruction_set set : zoq::all_instruction_sets) {
    if (zoq::supports(set)) {
      std::vector<int> times(50);
      zoq::detail::run_range(
          set, [&](index_t i) { ++times[static_cast<std::size_t>(i)]; }, 7, 41);
      for (index_t i = 0; i < 50; ++i) {
        CHECK(times[static_cast<std::size_t>(i)] == (i >= 7 && i < 41 ? 1 : 0));
      }
    }
  }
}
