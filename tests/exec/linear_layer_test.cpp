// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/linear_layer.hpp"

#include <doctest/doctest.h>

#include <span>
#include <vector>

#include "exec/executors.hpp"
#include "exec/stacked_case.hpp"

using namespace zoq::test;
using zoq::cpu;
using zoq::index_t;

TEST_CASE("linear_layer: layers that share their inputs have the bits of each alone") {
  // Formats, widths and parts of their own; one without outputs, one narrower than any panel.
  constexpr index_t columns = 96, branches = 4;
  const packed_matrix<zoq::q4_1> first(70, columns, 1);
  const packed_matrix<zoq::q8_0> second(3, columns, 2), none(0, columns, 3);
  const packed_matrix<zoq::f16_format> third(129, columns, 4);
  const zoq::any_packed all[] = {first.any(), none.any(), second.any(), third.any(), first.any()};
  const entries to_first(every_entry(0, 70, columns, 41), columns, branches, 5);
  const entries to_third(every_entry(120, 129, columns, 7), columns, branches, 6);
  const zoq::sparse_part part_1 = to_first.part(), part_3 = to_third.part();
  const zoq::sparse_part* const parts[] = {&part_1, nullptr, nullptr, &part_3, nullptr};
  for (const index_t per_branch : {1, 9, 52}) {
    const index_t rows = branches * per_branch;
    const auto x = near_pairs(branches, per_branch, columns, 1e-2, 7);
    for_each_policy([&](const zoq::cpu_options& options) {
      for (const bool pairs : {false, true}) {
        for (const int threads : {1, 2, 5}) {
          const cpu exec{with_threads(options, threads)};
          std::vector<std::vector<float>> together;
          std::vector<zoq::linear_layer> layers;
          for (std::size_t i = 0; i < std::size(all); ++i) {
            together.push_back(linear_case<zoq::q8_0>::output(rows * all[i].rows()));
            layers.push_back({all[i], parts[i], {together[i].data(), {rows, all[i].rows()}}});
          }
          exec.linear({x.data(), {rows, columns}}, {branches, pairs}, layers);
          for (std::size_t i = 0; i < std::size(all); ++i) {
            const auto found = linear_case<zoq::q8_0>::guarded(together[i]);
            const auto alone = stacked_product(exec, {branches, pairs}, x, all[i], parts[i]);
            CHECK(found.size() == static_cast<std::size_t>(rows * all[i].rows()));
            CHECK((found.empty() || same_bits(found, alone)));
          }
        }
      }
    });
  }
}

TEST_CASE("linear_layer: no layers, no rows") {
  const packed_matrix<zoq::q4_1> w(5, 32, 1);
  const std::vector<float> x(32);
  for_each_policy([&](const zoq::cpu_options& options) {
    const cpu exec{options};
    exec.linear({x.data(), {1, 32}}, zoq::branch_stack{}, {});
    const zoq::linear_layer layer{w.any(), nullptr, {nullptr, {0, 5}}};
    exec.linear({x.data(), {0, 32}}, {}, std::span(&layer, 1));
  });
}
