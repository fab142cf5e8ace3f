// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/scores.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "io/temporary_folder.hpp"

TEST_CASE("score_entries: every score once, with all that is to be known of it") {
  std::set<std::string_view> names;
  for (const zoq::score_entry& s : zoq::score_entries) {
    CAPTURE(s.name);
    CHECK(names.insert(s.name).second);
    CHECK_FALSE(s.summary.empty());
    CHECK(s.summary.size() <= 60);
    CHECK(s.paper.starts_with("arXiv "));
    CHECK_FALSE(s.cost.empty());
    CHECK((!s.needs_reverse || s.needs_text || s.needs_rows));
  }
  CHECK(names == std::set<std::string_view>{"fisher", "fisher-task", "forward-curvature",
                                            "hessian-trace", "loss-sensitivity", "magnitude",
                                            "magnitude-smallest", "neuron", "random"});
  CHECK(zoq::score_named("fisher").needs_reverse);
  CHECK_FALSE(zoq::score_named("forward-curvature").needs_reverse);
  CHECK(zoq::test::message_of([] { zoq::score_named("best"); }) ==
        "unknown score \"best\": fisher, fisher-task, loss-sensitivity, neuron, hessian-trace, "
        "forward-curvature, magnitude, magnitude-smallest, random");
}
