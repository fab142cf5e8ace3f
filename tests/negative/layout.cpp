// A view's layout that hands out nothing.
// wanted: view_layout
// SPDX-License-Identifier: Apache-2.0
#include "zoq/exec/serial.hpp"
#include "zoq/view/laid_out.hpp"

struct bare {
  static constexpr std::string_view name = "bare";
};

void use(const zoq::serial& exec) {
  const zoq::laid_out_view<zoq::serial, bare> view(exec, bare{});
}
