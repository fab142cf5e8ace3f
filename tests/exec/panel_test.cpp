// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/panel.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/random_blocks.hpp"

using namespace zoq::test;
using zoq::index_t;
using zoq::detail::part_of;
using zoq::detail::parts_of_rows;
using zoq::detail::slot_range;

#define ZOQ_TEST_SCHEMES \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1

namespace {

// The panel of `count` outputs from `first` on, at every stretch of the depth: all as `at` says,
// and nothing written beside them.
template <int Width, class Source, class At>
bool fills(const Source& source, index_t stretch, At&& at) {
  std::vector<float> panel(static_cast<std::size_t>(stretch * Width));
  for (index_t first = 0; first < source.outputs(); first += Width) {
    const index_t count = std::min<index_t>(Width, source.outputs() - first);
    for (index_t k = 0; k < source.depth(); k += stretch) {
      const index_t depth = std::min(stretch, source.depth() - k);
      std::fill(panel.begin(), panel.end(), -99.0f);
      source.template fill<Width>(first, count, k, depth, panel.data());
      for (index_t i = 0; i < depth; ++i) {
        for (index_t j = 0; j < Width; ++j) {
          const float found = panel[static_cast<std::size_t>(i * Width + j)];
          if (found != (j < count ? at(first + j, k + i) : -99.0f)) {
            return false;
          }
        }
      }
    }
  }
  return true;
}

}  // namespace

TEST_CASE("panels: slots are rows, of pairs the rows of both branches in turn, and back") {
  const zoq::detail::output_rows plain{nullptr, 0, 3, false}, pairs{nullptr, 0, 3, true};
  const std::vector<index_t> in_turn = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
  for (index_t s = 0; s < 12; ++s) {
    CHECK(plain.row(s) == s);
    CHECK(pairs.row(s) == in_turn[static_cast<std::size_t>(s)]);
  }
  for (const bool both : {false, true}) {
    for (const index_t per_branch : {1, 5, 16}) {
      const zoq::detail::output_rows order{nullptr, 0, per_branch, both};
      for (index_t r = 0; r < 4 * per_branch; ++r) {
        CHECK(order.row(order.slot_of(r / per_branch, r % per_branch)) == r);
      }
    }
  }
}

TEST_CASE("panels: the branches of a run of slots have its rows, each once and in its slot") {
  for (const bool pairs : {false, true}) {
    for (const index_t per_branch : {1, 5, 16}) {
      constexpr index_t branches = 4;
      const index_t rows = branches * per_branch;
      const zoq::detail::output_rows order{nullptr, 0, per_branch, pairs};
      for (index_t first = 0; first <= rows; first += pairs ? 2 : 1) {
        for (index_t count = 0; first + count <= rows; count += pairs ? 2 : 1) {
          std::vector<int> wanted(static_cast<std::size_t>(rows)), found = wanted;
          for (index_t s = first; s < first + count; ++s) {
            ++wanted[static_cast<std::size_t>(order.row(s))];
          }
          index_t misplaced = 0;  // rows that are not in the slot that was said, or outside
          order.for_each_branch({first, count}, [&](const zoq::detail::branch_rows& some) {
            CHECK(some.count > 0);
            for (index_t i = 0; i < some.count; ++i) {
              const index_t row = some.branch * per_branch + some.first + i;
              const index_t slot = some.slot + i * some.step;
              ++found[static_cast<std::size_t>(row)];
              misplaced += order.row(slot) != row || slot < first || slot >= first + count ||
                           some.first + i >= per_branch;
            }
          });
          CHECK(found == wanted);
          CHECK(misplaced == 0);
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("panels: rows and columns of a packed matrix, as decode_row gives them", S,
                   ZOQ_TEST_SCHEMES) {
  const packed_matrix<S> w(37, 96, 1);
  const std::vector<float> decoded = w.decoded();
  const auto weight = [&](index_t o, index_t c) {
    return decoded[static_cast<std::size_t>(o * 96 + c)];
  };
  const zoq::detail::row_panels<S> rows{w.view()};
  CHECK(rows.outputs() == 37);
  CHECK(rows.depth() == 96);
  CHECK(fills<8>(rows, 32, weight));
  CHECK(fills<16>(rows, 96, weight));
  const zoq::detail::column_panels<S> columns{w.view()};
  CHECK(columns.outputs() == 96);
  CHECK(columns.depth() == 37);
  const auto transposed = [&](index_t c, index_t o) { return weight(o, c); };
  CHECK(fills<8>(columns, 5, transposed));
  CHECK(fills<64>(columns, 37, transposed));
}

TEST_CASE("panels: columns of a dense matrix") {
  const std::vector<float> x = uniform(7 * 19, 1);
  const zoq::detail::dense_panels source{{x.data(), {7, 19}}};
  CHECK(source.outputs() == 19);
  CHECK(source.depth() == 7);
  CHECK(fills<8>(source, 3,
                 [&](index_t c, index_t r) { return x[static_cast<std::size_t>(r * 19 + c)]; }));
}

TEST_CASE("panels: the parts of the slots follow each other, pairs stay together") {
  for (const bool pairs : {false, true}) {
    for (const index_t slots : {0, 2, 6, 48, 530}) {
      for (const index_t parts : {1, 2, 3, 7}) {
        index_t next = 0;
        for (index_t part = 0; part < parts; ++part) {
          const slot_range range = part_of(part, parts, slots, pairs);
          CHECK(range.first == next);
          CHECK((!pairs || range.count % 2 == 0));
          next += range.count;
        }
        CHECK(next == slots);
      }
    }
  }
}

TEST_CASE("panels: panels are decoded once, unless threads would wait or rows are few") {
  CHECK(parts_of_rows(1, 1, 1000) == 1);
  CHECK(parts_of_rows(2, 6, 1000) == 1);
  CHECK(parts_of_rows(2, 3, 1000) == 2);
  CHECK(parts_of_rows(2, 1, 1000) == 6);
  CHECK(parts_of_rows(2, 1, 100) == 2);
  CHECK(parts_of_rows(2, 1, 47) == 1);
  CHECK(parts_of_rows(2, 1, 0) == 1);
  CHECK(parts_of_rows(2, 0, 1000) == 1);
}
