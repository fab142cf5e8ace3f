// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/rounds.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/choice.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/cpu.hpp"

namespace {

std::vector<std::size_t> sizes_of_rounds(std::string_view name, int probes = 0) {
  std::vector<std::size_t> out;
  zoq::for_each_round(zoq::estimator_named(name, {.probes = probes}),
                      [&](std::span<const zoq::query> asked) { out.push_back(asked.size()); });
  return out;
}

}  // namespace

TEST_CASE("rounds: those of a step, and of the second where a state makes it another") {
  using sizes = std::vector<std::size_t>;
  CHECK(sizes_of_rounds("spsa", 3) == sizes{6});
  CHECK(sizes_of_rounds("spsa-one-sided", 3) == sizes{4});
  CHECK(sizes_of_rounds("leave-one-out", 8) == sizes{8});
  CHECK(sizes_of_rounds("conservative") == sizes{2, 3});
  CHECK(sizes_of_rounds("hizoo") == sizes{3, 3});
}

TEST_CASE("rounds: which estimators ask for pairs alone") {
  std::string pairs;
  for (const std::string& name : zoq::names_of<zoq::any_estimator::list>()) {
    pairs += zoq::asks_for_pairs(zoq::estimator_named(name, {})) ? name + " " : "";
  }
  CHECK(pairs == "spsa svrg sign ");
  CHECK(zoq::asks_for_pairs(zoq::spsa{.probes = 5}));
  CHECK_FALSE(zoq::asks_for_pairs(zoq::leave_one_out{.probes = 2}));
}

TEST_CASE("rounds: integers are the default for pairs, where there are dot products of them") {
  using zoq::compute;
  using zoq::compute_for_tuning;
  for (const zoq::instruction_set set : zoq::all_instruction_sets) {
    CAPTURE(zoq::name_of(set));
    const bool dot = set == zoq::instruction_set::avx512 || set == zoq::instruction_set::amx;
    CHECK(compute_for_tuning(set, true) == (dot ? compute::i8 : compute::f32));
    CHECK(compute_for_tuning(set, false) == compute::f32);
  }
}
