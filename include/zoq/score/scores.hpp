// The scores by name: what a mask may be made from, for command lines and lists.
//
//     for (const zoq::score_entry& s : zoq::score_entries) { s.name; s.paper; s.needs_text; }
//     zoq::score_named("fisher").needs_reverse;     // throws, naming the choices
//
// A new score is one more line here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/score/fisher_task.hpp"
#include "zoq/score/forward_curvature.hpp"
#include "zoq/score/hessian_trace.hpp"
#include "zoq/score/loss_sensitivity.hpp"
#include "zoq/score/neuron.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// What there is to know of a score before it is made.
struct score_entry {
  std::string_view name,       // for score_named
      summary,                 // one line on what it does
      paper,                   // where it is from
      cost;                    // in passes and bytes
  bool needs_text = false;     // general text; where needs_rows too, either will do
  bool needs_rows = false;     // labelled rows
  bool needs_reverse = false;  // the family's reverse pass
  bool at_values = false;      // looks at tuned values where there are some, not at the base alone
};

namespace detail {
struct no_model {};
template <class Score>
constexpr score_entry entry_of(bool text, bool rows, bool reverse, bool at_values = false) {
  return {Score::name, Score::summary, Score::paper, Score::cost, text, rows, reverse, at_values};
}
using fisher_of_text = fisher<any_executor, no_model>;
}  // namespace detail

/// All scores that score_named knows.
inline constexpr score_entry score_entries[] = {
    detail::entry_of<detail::fisher_of_text>(true, false, true, true),
    detail::entry_of<fisher_task<any_executor, detail::no_model, detail::no_model>>(false, true,
                                                                                    true, true),
    detail::entry_of<loss_sensitivity<any_executor, detail::no_model, text_samples>>(true, true,
                                                                                     true),
    detail::entry_of<neuron<detail::fisher_of_text>>(true, true, true, true),
    detail::entry_of<hessian_trace<any_executor, detail::no_model>>(true, true, false),
    detail::entry_of<forward_curvature<any_executor, detail::no_model>>(true, true, false),
    detail::entry_of<magnitude>(false, false, false),
    detail::entry_of<magnitude_smallest>(false, false, false),
    detail::entry_of<random_score>(false, false, false),
};

/// The score of this name. Throws, naming the choices.
const score_entry& score_named(std::string_view name);

}  // namespace zoq

#if ZOQ_BODIES

#include <string>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY const score_entry& score_named(std::string_view name) {
  std::string choices;
  for (const score_entry& s : score_entries) {
    if (s.name == name) {
      return s;
    }
    choices += (choices.empty() ? "" : ", ") + std::string(s.name);
  }
  fail("unknown score \"", name, "\": ", choices);
}

}  // namespace zoq

#endif
