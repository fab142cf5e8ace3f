// An objective whose loss is a float.
// wanted: objective
// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/evaluate.hpp"

struct rough {
  static constexpr std::string_view name = "rough";
  void pack(const zoq::example&, zoq::packing&) const {}
  float loss(const zoq::example&, std::span<const double>) const { return 0; }
};
struct pass {
  void score(const zoq::packing&, const zoq::branch_parts&, std::span<double>) {}
};

void use(pass& p, std::span<const zoq::example* const> rows) {
  static_cast<void>(zoq::evaluate(p, {}, rough{}, rows));
}
