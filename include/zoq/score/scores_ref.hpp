// Scores of any type, for functions that are compiled once for all of them.
//
//     mask chosen(zoq::scores_ref scores);       // entries() and visit(f), as every score has them
//     chosen(zoq::magnitude(model.tensors()));
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <type_traits>

#include "zoq/core/config.hpp"
#include "zoq/model/reverse_groups.hpp"

namespace zoq {

/// Owns nothing: the scores must live as long as it is used.
class scores_ref {
 public:
  /// Of scores with entries() and visit(f).
  template <class S>
  requires(!std::same_as<S, scores_ref>)
      scores_ref(const S& scores)  // NOLINT(google-explicit-constructor): any scores are meant
      : of_(&scores),
        entries_([](const void* of) -> index_t { return static_cast<const S*>(of)->entries(); }),
        visit_([](const void* of, gradient_visitor visit) -> double {
          if constexpr (std::is_void_v<decltype(static_cast<const S*>(of)->visit(visit))>) {
            static_cast<const S*>(of)->visit(visit);
            return 0;
          } else {
            return static_cast<const S*>(of)->visit(visit);
          }
        }) {}

  [[nodiscard]] index_t entries() const { return entries_(of_); }  // the scores' own
  /// The scores' own; 0 where that returns nothing.
  double visit(gradient_visitor visit) const { return visit_(of_, visit); }

 private:
  const void* of_;
  index_t (*entries_)(const void*);
  double (*visit_)(const void*, gradient_visitor);
};

}  // namespace zoq
